//! Whole servers on loopback, both protocols.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::task::JoinHandle;

use super::*;
use crate::client::{self, Limits};
use crate::drain::Drainer;
use crate::listen::ListenOptions;
use crate::testing::{Closure, Raw, ok};

const LIMITS: Limits = Limits { timeout: Duration::from_secs(20), body_bytes: 64 << 20 };

struct Running {
    addr: Addr,
    drainer: Drainer,
    task: JoinHandle<Served>,
}

fn start<F, Fut>(answer: F) -> Running
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = Listener::bind(&Addr::Tcp("127.0.0.1:0".parse().unwrap()), &ListenOptions::default());
    let listener = listener.unwrap();
    let addr = listener.local_addr().clone();
    let (drainer, signal) = Drainer::new();
    let task = tokio::spawn(serve(listener, Arc::new(Closure::new(answer)), Settings::named("test"), signal));
    Running { addr, drainer, task }
}

/// Says what it was asked, in our form of request.
async fn describe(request: Request<Body>) -> Response<Body> {
    let host = request.headers().get("host").map_or("-", |host| host.to_str().unwrap()).to_owned();
    let line = format!("{} {} {host} ", request.method(), request.uri());
    let (body, trailers) = request.into_body().collect(64 << 20).await.unwrap();
    let mut response = ok(format!("{line}{} {}", body.len(), trailers.map_or(0, |map| map.len())));
    response.headers_mut().insert("connection", "x-drop".parse().unwrap());
    response
}

fn ask(path: &str) -> Request<Body> {
    Request::get(path).header("host", "shop.example").body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_share_a_port_and_a_form() {
    let server = start(describe);
    let first = client::request(&server.addr, ask("/a?b"), LIMITS).await.unwrap();
    assert_eq!(first.body(), "GET /a?b shop.example 0 0");
    let (second, _) = client::request_h2(&server.addr, ask("/a?b"), LIMITS).await.unwrap();
    assert_eq!(second.body(), "GET /a?b shop.example 0 0");
    assert_eq!(second.version(), http::Version::HTTP_2);
    assert!(!second.headers().contains_key("connection"));
    let fetched = client::get(&server.addr, "h", "/c", LIMITS).await.unwrap();
    assert_eq!(fetched.body(), "GET /c h 0 0");
    server.drainer.drain(Duration::from_secs(5));
    assert_eq!(server.task.await.unwrap(), Served { accepted: 3, cut: 0 });
}

#[tokio::test]
async fn anything_but_the_whole_preface_is_http_1() {
    let server = start(describe);
    for (start, expected) in [
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "HTTP/1.1 505 "),
        ("PRI / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 "),
        ("P", ""),
        ("", ""),
    ] {
        let mut raw = Raw::new(Stream::connect(&server.addr, LIMITS.timeout).await.unwrap());
        for octet in start.bytes() {
            raw.send([octet]).await;
        }
        if expected.is_empty() {
            raw.close_writing().await;
            assert_eq!(raw.rest().await, "", "{start:?}");
        } else {
            assert!(raw.until("\r\n\r\n").await.starts_with(expected), "{start:?}");
        }
    }
}

/// Sends the body and trailers back as they come.
async fn reflect(request: Request<Body>) -> Response<Body> {
    ok(request.into_body())
}

#[tokio::test]
async fn bodies_and_trailers_stream_over_http_2() {
    let server = start(reflect);
    let (mut sender, body) = Body::channel(2);
    let request = Request::post("/").header("host", "h").header("te", "trailers").body(body).unwrap();
    let stream = Stream::connect(&server.addr, LIMITS.timeout).await.unwrap();
    let (mut connection, driver) = h2::client::handshake(stream, &h2::Settings::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut answer = connection.send(request).await.unwrap().into_body();
    for part in ["one", "two"] {
        sender.send(Bytes::from_static(part.as_bytes())).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sender.finish_with(trailers.clone()).await.unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(answer.frame().await.is_none());

    // Long bodies meet flow control both ways.
    let long = Request::post("/").header("host", "h").body(Body::full(vec![b'x'; 4 << 20])).unwrap();
    let (body, _) = connection.send(long).await.unwrap().into_body().collect(8 << 20).await.unwrap();
    assert_eq!(body.len(), 4 << 20);
    // The last clone and the last response.
    drop((connection, answer));
    driver.await.unwrap();
}

#[tokio::test]
async fn draining_lets_http_2_streams_end_and_cuts_those_that_do_not() {
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let server = start(move |request: Request<Body>| {
        let (began, mut released) = (began.clone(), released.clone());
        async move {
            began.send(()).unwrap();
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            released.wait_for(|open| *open).await.unwrap();
            ok("done")
        }
    });
    let addr = server.addr.clone();
    let slow = tokio::spawn(async move { client::request_h2(&addr, ask("/slow"), LIMITS).await });
    let addr = server.addr.clone();
    let never = tokio::spawn(async move { client::request_h2(&addr, ask("/never"), LIMITS).await });
    begun.recv().await.unwrap();
    begun.recv().await.unwrap();
    server.drainer.drain(Duration::from_secs(2));
    let refused = async {
        while Stream::connect(&server.addr, LIMITS.timeout).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), refused).await.expect("the listener closes at once");
    release.send(true).unwrap();
    assert_eq!(slow.await.unwrap().unwrap().0.body(), "done");
    assert_eq!(server.task.await.unwrap().cut, 1);
    assert!(never.await.unwrap().is_err());
}

#[tokio::test]
async fn what_http_2_cannot_carry_is_answered_as_our_error() {
    let server = start(|request: Request<Body>| async move {
        let mut response = ok("");
        match request.uri().path() {
            "/early" => *response.status_mut() = StatusCode::EARLY_HINTS,
            "/empty" => {
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.body_mut() = "not sent".into();
            }
            _ => crate::upgrade::accept(&mut response, |_| async {}),
        }
        response
    });
    for (path, status) in [("/early", 500), ("/upgrade", 500), ("/empty", 204)] {
        let (response, _) = client::request_h2(&server.addr, ask(path), LIMITS).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert!(response.body().is_empty());
    }
}

#[tokio::test]
async fn http_2_requests_with_two_readings_are_refused_too() {
    let server = start(describe);
    let mut many = ask("/");
    for n in 0..tutti_core::limits::HTTP_FIELDS + 1 {
        many.headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "y".parse().unwrap());
    }
    let (response, _) = client::request_h2(&server.addr, many, LIMITS).await.unwrap();
    assert_eq!(response.status(), 431);
    for path in ["/a\"b", "/%zz"] {
        let (response, _) = client::request_h2(&server.addr, ask(path), LIMITS).await.unwrap();
        assert_eq!(response.status(), 400, "{path}");
    }
}

/// Keeps a count that no other thread may see.
struct Counting(std::cell::Cell<usize>);

impl LocalHandler for Counting {
    async fn handle(&self, _: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        self.0.set(self.0.get() + 1);
        tokio::task::yield_now().await;
        ok(self.0.get().to_string())
    }
}

#[test]
fn a_handler_may_be_of_one_thread() {
    let runtime = tokio::runtime::LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let listener = Listener::bind(&Addr::Tcp("127.0.0.1:0".parse().unwrap()), &ListenOptions::default());
        let listener = listener.unwrap();
        let addr = listener.local_addr().clone();
        let (drainer, signal) = Drainer::new();
        #[expect(clippy::arc_with_non_send_sync, reason = "it never leaves this thread")]
        let handler = Arc::new(Counting(std::cell::Cell::new(0)));
        let server =
            tokio::task::spawn_local(serve_local(listener, handler, Settings::named("test"), signal));
        assert_eq!(client::request(&addr, ask("/"), LIMITS).await.unwrap().body(), "1");
        assert_eq!(client::request_h2(&addr, ask("/"), LIMITS).await.unwrap().0.body(), "2");
        drainer.drain(Duration::from_secs(5));
        assert_eq!(server.await.unwrap(), Served { accepted: 2, cut: 0 });
    });
}

struct Shout;

impl StreamHandler for Shout {
    async fn handle(&self, mut stream: Stream, _: &ConnectionInfo) {
        let first = stream.peek(1).await.unwrap().to_ascii_uppercase();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &first).await.unwrap();
    }
}

#[test]
fn plain_streams_are_accepted() {
    let runtime = tokio::runtime::LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let addr = Addr::unix(folder.path().join("s"));
        let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
        let (drainer, signal) = Drainer::new();
        let served = serve_streams(listener, Arc::new(Shout), Settings::named("test"), signal);
        let server = tokio::task::spawn_local(served);
        let mut raw = Raw::new(Stream::connect(&addr, LIMITS.timeout).await.unwrap());
        raw.send("hello").await;
        assert_eq!(raw.rest().await, "HELLO");
        drainer.drain(Duration::from_secs(5));
        assert_eq!(server.await.unwrap(), Served { accepted: 1, cut: 0 });
    });
}
