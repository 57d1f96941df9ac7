//! Against programs of others: `cargo xtask interop` installs them below `target/interop` and runs these tests. Where one
//! is not there, its test says so and is counted as skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::{Request, Response};
use tutti_net::Body;

use crate::harness::*;

mod autobahn;

/// A program that `cargo xtask interop` has installed.
fn program(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let program = root.join("target/interop").join(path);
    if program.exists() {
        return Some(program);
    }
    println!("skipped: {} is not there; `cargo xtask interop` installs it", program.display());
    None
}

/// Runs a program to its end, beside the servers of the test.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What h2spec expects otherwise, and why it is as it is.
///
/// - 3.5/2: an invalid preface is to end the connection without a word. What does not begin as HTTP/2 does is HTTP/1.1
///   here, one port speaking both, and gets its 400 before the connection ends.
const H2SPEC_DIFFERENCES: &[&str] = &["Sends invalid connection preface"];

#[tokio::test]
#[ignore = "needs a program of others"]
async fn h2spec() {
    let Some(h2spec) = program("go/bin/h2spec") else { return };
    let upstream = upstream(|request: Request<Body>| async move {
        // Some of its requests break off.
        let answer = request.into_body().collect(1 << 20).await.unwrap_or_default().0;
        Response::new(if answer.is_empty() { Body::from("hello") } else { Body::from(answer) })
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    let port = tutti.edge.port().to_string();
    let mut command = Command::new(h2spec);
    command.args(["--host", "127.0.0.1", "--port", &port, "--strict", "--timeout", "5"]);
    let output = run(command).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = text.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_default();
    println!("h2spec, strict: {summary}");
    assert!(summary.starts_with("146 tests, "), "{text}");
    let failed: std::collections::BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.split_once("\u{d7} ").and_then(|(_, case)| case.split_once(": ")))
        .map(|(_, title)| title.trim().to_owned())
        .collect();
    let expected = H2SPEC_DIFFERENCES.iter().map(|title| (*title).to_owned()).collect();
    assert_eq!(failed, expected, "{text}");
}

#[tokio::test]
#[ignore = "starts nginx, HAProxy and Envoy"]
async fn smuggling() {
    crate::strict::differential::smuggling().await;
}

/// A service of gRPC for the client of browsers.
async fn cart(request: Request<Body>) -> Response<Body> {
    let (path, own) = (request.uri().path().to_owned(), request.headers().contains_key("x-own"));
    let answer = Response::builder().header("content-type", "application/grpc");
    let (mut sender, body) = Body::channel(1);
    if path.ends_with("None") {
        return answer
            .header("grpc-status", "5")
            .header("grpc-message", "no%20cart")
            .body(Body::empty())
            .unwrap();
    }
    tokio::spawn(async move {
        let sent = request.into_body().collect(1 << 20).await.unwrap().0;
        let many = if path.ends_with("Add") { 1 } else { 3 };
        for _ in 0..many {
            let _ = sender.send(sent.clone()).await;
        }
        if path.ends_with("Break") {
            let _ = sender.abort("gone".into()).await;
            return;
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", if own || many > 1 { "0" } else { "3" }.parse().unwrap());
        let _ = sender.finish_with(trailers).await;
    });
    answer.body(body).unwrap()
}

#[tokio::test]
#[ignore = "needs the JavaScript client of gRPC-Web"]
async fn grpc_web() {
    use tutti_ports::catalog::AppProtocol;
    use tutti_ports::routing::{Backend, Match, PathMatch, Route};

    let Some(modules) = program("grpc-web/node_modules") else { return };
    let cart = upstream(cart).await;
    let path = PathMatch::Grpc { service: Some("shop.Cart".into()), method: None };
    let matches = vec![Match { path: Some(path), ..Match::default() }];
    let route = Route { matches, ..Route::to("cart", Backend::new(name("cart"), 80, AppProtocol::H2c)) };
    let tutti = Tutti::start(options(), vec![route], vec![passing("cart", 1, cart.addr)]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop/grpc_web.js");
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(script).arg(format!("http://{}", tutti.edge));
    let output = run(command).await;
    let heard = String::from_utf8_lossy(&output.stdout).into_owned();
    let calls = "answer hi\nerror 5 no cart\nerror 12 TUT0501: ";
    let expected = ["binary", "text"]
        .map(|format| calls.lines().map(|line| format!("{format} {line}")).collect::<Vec<_>>());
    let mut lines = heard.lines();
    for line in expected.iter().flatten() {
        assert!(
            lines.next().is_some_and(|heard| heard.starts_with(line)),
            "{line}: {heard}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(lines.next(), Some("stream hi,hi,hi end"), "{heard}");
    assert_eq!(lines.next(), Some("stream hi,hi,hi error 14 TUT0504: the answer broke off"), "{heard}");
    println!("grpc-web: 8 calls of the JavaScript client, {heard}");
}

#[tokio::test]
#[ignore = "starts nginx and HAProxy"]
async fn proxy_protocol() {
    use crate::proxied_peers as peers;
    peers::haproxy_in_front().await;
    peers::haproxy_behind().await;
    peers::nginx_in_front().await;
    peers::nginx_behind().await;
}

/// What slowhttptest (Debian) does to a server, and the switches for it: each with 400 connections for ten seconds.
const SLOW: &[(&str, &[&str])] = &[
    ("slow headers", &["-H", "-i", "1"]),
    ("slow body", &["-B", "-i", "1", "-s", "8192"]),
    ("slow read", &["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"]),
    ("range", &["-R", "-a", "5", "-b", "3000"]),
];

/// Another client is unharmed while slowhttptest holds connections: each of its requests is answered, and soon.
#[tokio::test]
#[ignore = "starts slowhttptest"]
async fn slowhttptest() {
    let Some(program) = ["/usr/bin/slowhttptest", "/usr/local/bin/slowhttptest"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
    else {
        println!("skipped: slowhttptest is not installed (Debian: apt install slowhttptest)");
        return;
    };
    let upstream = upstream(|request: Request<Body>| async move {
        let _ = request.into_body().collect(1 << 20).await;
        Response::new(Body::from(vec![b'x'; 64 << 10]))
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    for (name, switches) in SLOW {
        let mut command = Command::new(program);
        command.args(["-c", "400", "-r", "200", "-l", "10", "-u", &format!("http://{}/", tutti.edge)]);
        command.args(*switches);
        let attack = tokio::spawn(run(command));
        let (mut took, mut failed) = (Vec::new(), 0);
        while !attack.is_finished() {
            let began = std::time::Instant::now();
            if get(tutti.edge, "/").await.status() != 200 {
                failed += 1;
            }
            took.push(began.elapsed());
        }
        let output = attack.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        took.sort();
        let p99 = took[took.len() * 99 / 100];
        println!("slowhttptest, {name}: {} other requests, {failed} failed, p99 {p99:?}", took.len());
        assert!(failed == 0 && took.len() > 100, "{name}");
        assert!(p99 < std::time::Duration::from_secs(1), "{name}: {p99:?}");
    }
}
