//! A service for tests, as badly behaved as it is told to be. It reads `PORT` and:
//!
//! | variable | does |
//! |---|---|
//! | `START_DELAY_MS` | listens only after so long |
//! | `IGNORE_TERM` | ignores SIGTERM |
//! | `EXIT_AFTER_MS` | exits with `EXIT_STATUS` (1 if not set) after so long |
//! | `SPAWN_CHILD` | starts a grandchild in a session of its own that sleeps for ever |
//! | `UNHEALTHY` | answers 503 at `/healthz` |
//! | `UNHEALTHY_IF` | the same, if this file is there when it starts |
//! | `OWN_PORT` | listens there, whatever `PORT` says |
//!
//! `/` answers the instance's pid, `/slow?ms=N` after N ms, `/env/NAME` a variable, `/call/NAME/PATH` what the URL in variable
//! NAME answers for PATH, `/drip?N` N lines in so many tenths of a second, `/bytes?N` N bytes, `/echo/…` what was asked for, `/print?TEXT` prints a line, `/healthz` 200.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use tutti_net::client::{self, Limits};
use tutti_net::{Addr, Body, ConnectionInfo, Drainer, Handler, ListenOptions, Listener, server};

struct Fixture {
    healthy: bool,
}

impl Handler for Fixture {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/drip" {
            let lines = request.uri().query().and_then(|lines| lines.parse().ok()).unwrap_or(10_u32);
            let drops = futures_util::stream::iter(0..lines).then(|line| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(http_body::Frame::data(bytes::Bytes::from(format!("{line}\n"))))
            });
            return Response::new(Body::boxed(http_body_util::StreamBody::new(drops)));
        }
        let (status, text) = match path.split('/').nth(1) {
            Some("healthz") if !self.healthy => (StatusCode::SERVICE_UNAVAILABLE, "unwell".into()),
            Some("echo") => (StatusCode::OK, echo(&request)),
            _ => answer(&path, request.uri().query().unwrap_or_default()).await,
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    }
}

async fn answer(path: &str, query: &str) -> (StatusCode, String) {
    let parts: Vec<&str> = path.trim_matches('/').splitn(3, '/').collect();
    match parts.as_slice() {
        ["slow"] => {
            let ms = query.strip_prefix("ms=").and_then(|ms| ms.parse().ok()).unwrap_or(100);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            (StatusCode::OK, std::process::id().to_string())
        }
        ["print"] => {
            say(&percent_encoding::percent_decode_str(query).decode_utf8_lossy());
            (StatusCode::OK, String::new())
        }
        ["bytes"] => (StatusCode::OK, "x".repeat(query.parse().unwrap_or(1))),
        ["env", name] => (StatusCode::OK, std::env::var(name).unwrap_or_default()),
        ["call", name, rest] => call(name, rest).await,
        _ => (StatusCode::OK, std::process::id().to_string()),
    }
}

/// The request line's target, then the fields, a line each.
fn echo(request: &Request<Body>) -> String {
    let fields = request.headers().iter();
    let fields =
        fields.map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    format!("{}\n{}", request.uri(), fields.collect::<String>())
}

async fn call(name: &str, rest: &str) -> (StatusCode, String) {
    let url = std::env::var(name).unwrap_or_default();
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let Ok(addr) = authority.parse::<std::net::SocketAddr>() else {
        return (StatusCode::BAD_GATEWAY, format!("{url:?} is no address"));
    };
    let limits = Limits { timeout: Duration::from_secs(10), body_bytes: 1 << 20 };
    match client::get(&Addr::from(addr), authority, &format!("/{rest}"), limits).await {
        Ok(answer) => (answer.status(), String::from_utf8_lossy(answer.body()).into_owned()),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    if std::env::var_os("SPAWN_CHILD").is_some() {
        std::process::Command::new("setsid").args(["sleep", "1000000"]).spawn()?;
    }
    tokio::time::sleep(Duration::from_millis(number("START_DELAY_MS").unwrap_or(0))).await;
    let port = match number("OWN_PORT") {
        Some(port) => u16::try_from(port)?,
        None => std::env::var("PORT")?.parse()?,
    };
    let unhealthy = std::env::var_os("UNHEALTHY").is_some()
        || std::env::var_os("UNHEALTHY_IF").is_some_and(|file| std::path::Path::new(&file).exists());
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let listener = Listener::bind(&Addr::from(addr), &ListenOptions::default())?;
    say(&format!("{{\"level\":\"info\",\"msg\":\"listening\",\"port\":{port}}}"));
    let (drainer, signal) = Drainer::new();
    let end = async {
        if let Some(ms) = number("EXIT_AFTER_MS") {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            say("giving up");
            std::process::exit(i32::try_from(number("EXIT_STATUS").unwrap_or(1)).unwrap_or(1));
        }
        loop {
            term.recv().await;
            if std::env::var_os("IGNORE_TERM").is_none() {
                break;
            }
            say("ignoring SIGTERM");
        }
        drainer.drain(Duration::from_secs(5));
    };
    let fixture = Arc::new(Fixture { healthy: !unhealthy });
    tokio::join!(server::serve(listener, fixture, server::Settings::named("fixture"), signal), end);
    Ok(())
}

/// Standard output is a pipe to Tutti: a line at a time.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
