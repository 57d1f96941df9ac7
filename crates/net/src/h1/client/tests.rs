//! The client connection against scripted servers.

use std::sync::{Arc, Mutex};

use http_body::Body as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{Raw, tcp_pair};

#[derive(Default)]
struct Pool(Mutex<Vec<Connection>>);

impl Home for Pool {
    fn come_home(&self, connection: Connection) {
        self.0.lock().unwrap().push(connection);
    }
}

impl Pool {
    fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap().pop()
    }
}

fn start() -> (Connection, Raw, Arc<Pool>) {
    let (near, far) = Stream::pair().unwrap();
    start_on(near, far)
}

fn start_on(near: Stream, far: Stream) -> (Connection, Raw, Arc<Pool>) {
    let pool = Arc::new(Pool::default());
    let home: Arc<dyn Home> = pool.clone();
    let connection = Connection::new(near, &Settings::default(), Arc::downgrade(&home));
    (connection, Raw::new(far), pool)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "h").body(Body::empty()).unwrap()
}

fn post(body: Body) -> Request<Body> {
    Request::post("/").header("host", "h").body(body).unwrap()
}

/// Sends a GET and lets the server answer with `answer`, then close if asked to.
async fn ask(answer: &str, close: bool) -> (Result<Response<Body>, SendError>, Raw, Arc<Pool>) {
    let (connection, mut server, pool) = start();
    let serve = async {
        server.until("\r\n\r\n").await;
        server.send(answer).await;
        if close {
            server.close_writing().await;
        }
    };
    let (response, ()) = tokio::join!(connection.send(get("/")), serve);
    (response, server, pool)
}

#[tokio::test]
async fn a_connection_comes_home_when_the_response_has_been_read() {
    let (connection, mut server, pool) = start();
    let serve = async {
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    };
    let (response, ()) = tokio::join!(connection.send(get("/a")), serve);
    // All of it was there, so the connection is home before the body is looked at.
    let connection = pool.take().unwrap();
    assert!(connection.is_usable());
    let body = response.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.collect(10).await.unwrap().0, "hello");

    let serve = async {
        let asked = server.until("\r\n\r\n").await;
        assert!(asked.starts_with("GET /b HTTP/1.1\r\nhost: h\r\n"), "{asked}");
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(get("/b")), serve);
    let mut body = response.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
    assert!(pool.take().is_none(), "the response is not over");
    server.send("0\r\nx-t: 1\r\n\r\n").await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()["x-t"], "1");
    assert!(body.frame().await.is_none());
    assert_eq!(pool.take().unwrap().requests(), 2);
}

#[tokio::test]
async fn connections_that_cannot_be_used_again_do_not_come_home() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    ] {
        let (response, _server, pool) = ask(answer, false).await;
        response.unwrap().into_body().collect(10).await.unwrap();
        assert!(pool.take().is_none(), "{answer:?}");
    }
    let (response, _server, pool) = ask("HTTP/1.1 200 OK\r\n\r\nuntil the end", true).await;
    assert_eq!(response.unwrap().into_body().collect(100).await.unwrap().0, "until the end");
    assert!(pool.take().is_none());
    let (response, _server, pool) = ask("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nab", false).await;
    drop(response);
    assert!(pool.take().is_none(), "a response that was given up");
}

#[tokio::test]
async fn an_idle_connection_that_is_closed_or_speaks_unasked_is_not_usable() {
    for close in [true, false] {
        let (response, mut server, pool) = ask("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
        response.unwrap();
        let connection = pool.take().unwrap();
        assert!(connection.is_usable());
        if close {
            server.close_writing().await;
        } else {
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        // The reactor has to hear of it.
        tokio::time::timeout(Duration::from_secs(5), async {
            while connection.is_usable() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let error = connection.send(post("again".into())).await.unwrap_err();
        assert_eq!(error.stage, Stage::NothingSent);
        let request = error.request.unwrap();
        assert_eq!(request.headers()["host"], "h");
        assert_eq!(request.into_body().collect(10).await.unwrap().0, "again");
    }
}

#[tokio::test]
async fn an_error_says_how_far_the_request_got() {
    let (response, ..) = ask("", true).await;
    let error = response.unwrap_err();
    assert_eq!(error.stage, Stage::Sent);
    assert!(matches!(error.cause, SendCause::Closed));
    assert_eq!(error.request.unwrap().uri(), "/", "an idempotent request can be sent again");

    let (response, ..) = ask("HTTP/1.1 20", true).await;
    let error = response.unwrap_err();
    assert_eq!((error.stage, error.request.is_none()), (Stage::ResponseBegan, true));

    let (connection, mut server, _pool) = start();
    let (mut sender, body) = Body::channel(1);
    let serve = async {
        server.until("\r\n\r\n").await;
        sender.send(Bytes::from_static(b"part")).await.unwrap();
        server.until("part").await;
        drop(server);
    };
    let (response, ()) = tokio::join!(connection.send(post(body)), serve);
    let error = response.unwrap_err();
    assert_eq!(error.stage, Stage::Sent);
    assert!(error.request.is_none(), "a stream cannot be sent again");

    let (connection, _server, _pool) = start();
    let error = connection.send(Request::new(Body::empty())).await.unwrap_err();
    assert_eq!(error.stage, Stage::NothingSent);
    assert!(matches!(error.cause, SendCause::Request(_)));
}

#[tokio::test]
async fn malformed_and_oversized_responses_are_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "garbage\r\n\r\n",
        "\u{16}\u{3}",
    ] {
        let (response, ..) = ask(answer, false).await;
        let error = response.unwrap_err();
        assert!(matches!(error.cause, SendCause::Malformed(_)), "{answer:?}: {error:?}");
        assert_eq!(error.stage, Stage::ResponseBegan);
    }
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(limits::HTTP_HEAD_BYTES));
    assert!(matches!(ask(&large, false).await.0.unwrap_err().cause, SendCause::TooLarge(_)));
}

#[tokio::test]
async fn bodies_that_are_cut_or_malformed_fail() {
    for (answer, malformed) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", true),
    ] {
        let (response, _server, pool) = ask(answer, true).await;
        let error = response.unwrap().into_body().collect(100).await.unwrap_err();
        let (is_malformed, origin) = match error {
            BodyError::Malformed(origin, _) => (true, origin),
            BodyError::Incomplete(origin) => (false, origin),
            other => panic!("{other}"),
        };
        assert_eq!((is_malformed, origin), (malformed, Origin::Upstream), "{answer:?}");
        assert!(pool.take().is_none());
    }
}

#[tokio::test]
async fn interim_responses_are_passed_over_but_not_for_ever() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (response, _server, pool) = ask(&format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{last}"), false).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("link"));
    assert!(pool.take().is_some());
    let (response, ..) = ask(&hints.repeat(limits::HTTP_INTERIM_RESPONSES + 1), false).await;
    assert!(matches!(response.unwrap_err().cause, SendCause::Malformed(_)));
}

#[tokio::test]
async fn a_response_to_head_has_no_body_and_the_connection_comes_home() {
    let (connection, mut server, pool) = start();
    let head = Request::head("/").header("host", "h").body(Body::empty()).unwrap();
    let serve = async {
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(head), serve);
    let response = response.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert!(response.body().is_end_stream() && pool.take().is_some());
}

#[tokio::test]
async fn a_body_is_streamed_while_the_response_is_awaited_and_read() {
    let (connection, mut server, pool) = start();
    let (mut sender, body) = Body::channel(1);
    let serve = async {
        server.until("transfer-encoding: chunked\r\n\r\n").await;
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(server.until("one\r\n").await, "3\r\none\r\n");
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nONE\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(post(body)), serve);
    let mut body = response.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ONE");
    // The response has begun; the request goes on.
    sender.send(Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(server.until("two\r\n").await, "3\r\ntwo\r\n");
    sender.finish().await.unwrap();
    assert_eq!(server.until("\r\n\r\n").await, "0\r\n\r\n");
    // The task that sent the end has to be seen to be over before the response is.
    tokio::task::yield_now().await;
    server.send("0\r\n\r\n").await;
    assert!(body.frame().await.is_none());
    let connection = pool.take().expect("both directions are over");
    assert!(connection.is_usable());
}

#[tokio::test]
async fn an_early_refusal_is_not_hidden_by_the_upload_that_it_breaks() {
    let (near, far) = tcp_pair().await;
    let (connection, mut server, pool) = start_on(near, far);
    let serve = async {
        server.until("\r\n\r\n").await;
        server
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong")
            .await;
        let mut sink = vec![0; 1 << 16];
        // It reads a little more and closes, which resets what is under way.
        let _ = server.stream.read(&mut sink).await.unwrap();
        drop(server);
    };
    let (response, ()) = tokio::join!(connection.send(post(Body::full(vec![b'x'; 32 << 20]))), serve);
    let response = response.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.into_body().collect(10).await.unwrap().0, "long");
    assert!(pool.take().is_none());
}

#[tokio::test]
async fn a_request_whose_body_fails_says_so() {
    let (connection, mut server, _pool) = start();
    let (mut sender, body) = Body::channel(1);
    let serve = async {
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        server.until("one").await;
        sender.abort("gone".into()).await.unwrap();
        assert!(!server.rest().await.contains("0\r\n\r\n"), "it must not look whole");
    };
    let (error, ()) = tokio::join!(async { connection.send(post(body)).await.unwrap_err() }, serve);
    assert!(matches!(error.cause, SendCause::RequestBody(BodyError::Aborted(Some(_)))));
    assert_eq!(error.stage, Stage::Sent);
}

fn expecting(body: &'static str) -> Request<Body> {
    let mut request = post(body.into());
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_the_word_to_continue_but_not_for_ever() {
    let (connection, mut server, pool) = start();
    let began = tokio::time::Instant::now();
    let serve = async {
        server.until("\r\n\r\n").await;
        let held = tokio::time::timeout(CONTINUE_TIMEOUT / 2, server.stream.peek(1)).await;
        assert!(held.is_err(), "the body was not held back");
        server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        server.until("hello").await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(expecting("hello")), serve);
    response.unwrap();
    assert!(began.elapsed() < CONTINUE_TIMEOUT);
    let connection = pool.take().unwrap();

    let serve = async {
        server.until("hello").await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(expecting("hello")), serve);
    response.unwrap();
    assert_eq!(began.elapsed().as_secs(), CONTINUE_TIMEOUT.as_secs());
    let connection = pool.take().unwrap();

    // A refusal before the body: nothing is sent, and the connection is not used again.
    let serve = async {
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (response, ()) = tokio::join!(connection.send(expecting("hello")), serve);
    assert_eq!(response.unwrap().status(), 401);
    assert!(pool.take().is_none());
    assert_eq!(server.rest().await, "");
}

#[tokio::test]
async fn an_upgrade_gives_the_stream_with_what_came_behind_the_head() {
    let (connection, mut server, _pool) = start();
    let mut request = get("/");
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let serve = async {
        assert!(server.until("\r\n\r\n").await.contains("connection: upgrade\r\n"));
        server
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly")
            .await;
    };
    let (response, ()) = tokio::join!(connection.send(request), serve);
    let mut response = response.unwrap();
    let mut stream = upgrade::take(&mut response).unwrap();
    assert!(upgrade::take(&mut response).is_none());
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    stream.write_all(b"late").await.unwrap();
    server.until("late").await;
}

#[tokio::test]
async fn a_hostless_pool_is_no_obstacle() {
    let (response, _server, pool) = {
        let (connection, mut server, pool) = start();
        let weak = Arc::downgrade(&pool);
        drop(pool);
        let serve = async {
            server.until("\r\n\r\n").await;
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        };
        let (response, ()) = tokio::join!(connection.send(get("/")), serve);
        (response, server, weak)
    };
    assert_eq!(response.unwrap().status(), 200);
    assert!(pool.upgrade().is_none());
}
