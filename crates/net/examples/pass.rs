//! The two smallest servers, to measure the crate by: `pass hello ADDR` answers 200 with a short body, `pass through ADDR
//! UPSTREAM` passes every request to one upstream over kept-alive connections. One thread each.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderValue, Request, Response, StatusCode};
use tutti_net::h1::client::{Connection, Home};
use tutti_net::{
    Addr, Body, ConnectionInfo, DrainSignal, ListenOptions, Listener, LocalHandler, Stream, h1, server,
};

struct Hello;

impl LocalHandler for Hello {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let body = if request.method() == http::Method::POST {
            request.into_body()
        } else {
            "hello, world\n".into()
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    }
}

thread_local! {
    static IDLE: RefCell<Vec<Connection>> = const { RefCell::new(Vec::new()) };
}

/// Keeps idle connections of this thread.
struct Pool;

impl Home for Pool {
    fn come_home(&self, connection: Connection) {
        IDLE.with_borrow_mut(|idle| idle.push(connection));
    }
}

struct Through {
    upstream: Addr,
    pool: Arc<Pool>,
    settings: h1::Settings,
}

impl Through {
    async fn connection(&self) -> Option<Connection> {
        while let Some(idle) = IDLE.with_borrow_mut(Vec::pop) {
            if idle.is_usable() {
                return Some(idle);
            }
        }
        let stream = Stream::connect(&self.upstream, Duration::from_secs(2)).await.ok()?;
        let pool: Arc<dyn Home> = self.pool.clone();
        let home: Weak<dyn Home> = Arc::downgrade(&pool);
        Some(Connection::new(stream, &self.settings, home))
    }
}

impl LocalHandler for Through {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let answer = match self.connection().await {
            Some(connection) => connection.send(request).await.ok(),
            None => None,
        };
        answer.unwrap_or_else(|| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }
}

async fn serve<H: LocalHandler>(addr: SocketAddr, handler: H) -> anyhow::Result<()> {
    let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let listener = Listener::bind(&addr.into(), &options)?;
    let settings = server::Settings::named("pass");
    tutti_net::serve_local(listener, Arc::new(handler), settings, DrainSignal::never()).await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::LocalRuntime::new()?;
    match words.as_slice() {
        ["hello", addr] => runtime.block_on(serve(addr.parse()?, Hello)),
        ["through", addr, upstream] => {
            let upstream = upstream.parse::<SocketAddr>().context("the upstream's address")?.into();
            let through = Through { upstream, pool: Arc::new(Pool), settings: h1::Settings::default() };
            runtime.block_on(serve(addr.parse()?, through))
        }
        _ => anyhow::bail!("usage: pass hello ADDR | pass through ADDR UPSTREAM"),
    }
}
