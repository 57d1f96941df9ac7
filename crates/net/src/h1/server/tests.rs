//! The server connection against scripted clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::task::JoinHandle;

use super::*;
use crate::drain::Drainer;
use crate::error::BodyError;
use crate::testing::{Closure, Raw, info, ok, tcp_pair};

/// Serves one connection in the background; the raw client's end, and the task that hands the handler back.
fn start_with<F, Fut>(settings: Settings, drain: DrainSignal, answer: F) -> (Raw, JoinHandle<Closure<F>>)
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let (near, far) = Stream::pair().unwrap();
    start_on(near, far, settings, drain, answer)
}

fn start_on<F, Fut>(
    near: Stream,
    far: Stream,
    settings: Settings,
    drain: DrainSignal,
    answer: F,
) -> (Raw, JoinHandle<Closure<F>>)
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let task = tokio::spawn(async move {
        let handler = Closure::new(answer);
        serve(far, &handler, &info(), &settings, &drain).await;
        handler
    });
    (Raw::new(near), task)
}

fn start<F, Fut>(answer: F) -> (Raw, JoinHandle<Closure<F>>)
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    start_with(Settings::default(), DrainSignal::never(), answer)
}

/// Answers with what was asked, body included.
async fn mirror(request: Request<Body>) -> Response<Body> {
    let line = format!("{} {} ", request.method(), request.uri());
    match request.into_body().collect(1 << 20).await {
        Ok((body, trailers)) => {
            ok(format!("{line}{} {}", String::from_utf8_lossy(&body), trailers.map_or(0, |map| map.len())))
        }
        Err(error) => {
            let mut response = ok(format!("{error}"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other_on_one_connection() {
    let (mut client, server) = start(mirror);
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.until("GET /a  0").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ndate: "), "{answer}");
    assert!(answer.contains("\r\ncontent-length: 9\r\n\r\n"), "{answer}");
    client.send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel").await;
    client.send("lo").await;
    client.until("POST /b hello 0").await;
    client.send("GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let last = client.rest().await;
    assert!(last.contains("connection: close\r\n") && last.ends_with("GET /c  0"), "{last}");
    server.await.unwrap();
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_even_when_later_ones_are_faster() {
    let (mut client, _server) = start(|request: Request<Body>| async move {
        if request.uri().path() == "/slow" {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        mirror(request).await
    });
    let requests: String = ["/slow", "/1", "/slow", "/2", "/3"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .concat();
    // With the client's end closed behind them, in one piece and byte by byte.
    client.send(&requests).await;
    for path in ["/slow", "/1", "/slow", "/2"] {
        client.until(&format!("GET {path}  0")).await;
    }
    client.until("GET /3  0").await;
    for octet in requests.bytes() {
        client.send([octet]).await;
    }
    for path in ["/slow", "/1", "/slow", "/2", "/3"] {
        client.until(&format!("GET {path}  0")).await;
    }
}

#[tokio::test]
async fn an_answer_held_back_for_a_pipelined_request_is_not_lost_when_that_one_never_arrives() {
    let (mut client, _server) = start(mirror);
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HT").await;
    client.until("GET /a  0").await;
    client.close_writing().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn chunked_bodies_arrive_with_their_trailers() {
    let (mut client, _server) = start(mirror);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.send("2;x=y\r\nde\r\n0\r\nx-t: 1\r\n\r\n").await;
    client.until("POST / abcde 1").await;
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.until("GET /next  0").await;
}

#[tokio::test]
async fn malformed_requests_are_refused_in_fixed_words_and_the_connection_ends() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
            "400 Bad Request",
        ),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505 HTTP Version Not Supported"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501 Not Implemented"),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n", "417 Expectation Failed"),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "501 Not Implemented"),
    ] {
        let (mut client, server) = start(mirror);
        client.send(request).await;
        client.close_writing().await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        let refusals = server.await.unwrap().refusals.into_inner().unwrap();
        assert_eq!(refusals.len(), 1);
        assert!(answer.ends_with(&format!("{}\n", refusals[0].reason)), "{answer}");
    }
}

#[tokio::test]
async fn a_body_whose_chunks_are_malformed_fails_and_ends_the_connection() {
    let (mut client, _server) = start(mirror);
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")
        .await;
    client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.close_writing().await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(!answer.contains("smuggled"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_cut_fails() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let (mut client, _server) = start(move |request: Request<Body>| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            let _ = sender.send(request.into_body().collect(100).await);
            ok("")
        }
    });
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc").await;
    client.close_writing().await;
    assert!(matches!(receiver.await.unwrap(), Err(BodyError::Incomplete(tutti_core::Origin::Client))));
}

#[tokio::test]
async fn the_client_is_told_to_continue_only_when_the_body_is_read() {
    const HEAD: &str = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let (mut client, _server) = start(mirror);
    client.send(HEAD).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    client.until("POST / hello 0").await;

    // A handler that does not want the body answers at once, and what the client sends next is not taken for a request.
    let (mut client, _server) = start(|_| async { ok("no") });
    client.send(HEAD).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");

    // A body that comes without being asked for is not asked for.
    let (mut client, _server) = start(mirror);
    client.send(format!("{HEAD}hello")).await;
    let answer = client.until("POST / hello 0").await;
    assert!(!answer.contains("100 Continue"), "{answer}");

    // A response that is made of the body asks first: nothing can be said after its head.
    let (mut client, _server) = start(|request: Request<Body>| async move { ok(request.into_body()) });
    client.send(HEAD).await;
    client.until("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n").await;
    client.send("hello").await;
    assert!(client.until("hello").await.ends_with("content-length: 5\r\n\r\nhello"));
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_idle_connections_end() {
    let settings = Settings {
        head_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    let (mut client, _server) = start_with(settings.clone(), DrainSignal::never(), mirror);
    assert_eq!(client.rest().await, "", "a client that says nothing is told nothing");

    let (mut client, server) = start_with(settings.clone(), DrainSignal::never(), mirror);
    client.send("GET / HTTP/1.1\r\n").await;
    let began = tokio::time::Instant::now();
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(began.elapsed() <= Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(server.await.unwrap().refusals.into_inner().unwrap()[0].status, 408);

    let (mut client, _server) = start_with(settings, DrainSignal::never(), mirror);
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.until("GET /a  0").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.until("GET /b  0").await;
    let began = tokio::time::Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_not_waited_for_longer_than_one_that_stalls() {
    let settings = Settings { head_timeout: Duration::from_secs(5), ..Settings::default() };
    let (mut client, server) = start_with(settings, DrainSignal::never(), mirror);
    let began = tokio::time::Instant::now();
    for octet in "GET / HTTP/1.1\r\nHost: h\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyy".bytes() {
        if server.is_finished() {
            break;
        }
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &[octet]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    server.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let settings = Settings { write_timeout: Duration::from_secs(30), ..Settings::default() };
    let (mut client, server) =
        start_with(settings, DrainSignal::never(), |_| async { ok(vec![b'x'; 8 << 20]) });
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let began = tokio::time::Instant::now();
    server.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 30);
}

fn failing(parts: &[&'static str]) -> Body {
    let (mut sender, body) = Body::channel(8);
    let parts = parts.to_vec();
    tokio::spawn(async move {
        for part in parts {
            sender.send(Bytes::from_static(part.as_bytes())).await.unwrap();
        }
        sender.abort("the source is dry".into()).await.unwrap();
    });
    body
}

#[tokio::test]
async fn a_response_whose_body_fails_never_looks_whole() {
    let (mut client, _server) = start(|_| async { ok(failing(&["abc"])) });
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(client.rest().await.ends_with("\r\n\r\n3\r\nabc\r\n"), "no last chunk");

    let (mut client, _server) = start(|_| async {
        let mut response = ok(failing(&["abc"]));
        response.headers_mut().insert("content-length", 5.into());
        response
    });
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(client.rest().await.ends_with("content-length: 5\r\n\r\nabc"));

    // To an HTTP/1.0 client only a reset can show it.
    let (near, far) = tcp_pair().await;
    let settings = Settings::default();
    let (mut client, _server) =
        start_on(near, far, settings, DrainSignal::never(), |_| async { ok(failing(&["abc"])) });
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut got = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut got).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_body_that_is_longer_or_shorter_than_announced_is_cut() {
    for (parts, sent) in [(&["abc", "def"][..], "abc"), (&["ab"], "ab")] {
        let (mut client, _server) = start(move |_| async move {
            let (mut sender, body) = Body::channel(8);
            tokio::spawn(async move {
                for part in parts {
                    let _ = sender.send(Bytes::from_static(part.as_bytes())).await;
                }
                let _ = sender.finish().await;
            });
            let mut response = ok(body);
            response.headers_mut().insert("content-length", 5.into());
            response
        });
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.ends_with(&format!("content-length: 5\r\n\r\n{sent}")), "{answer}");
    }
}

#[tokio::test]
async fn streams_are_chunked_with_trailers_and_keep_the_connection() {
    let (mut client, _server) = start(|_| async {
        let (mut sender, body) = Body::channel(1);
        tokio::spawn(async move {
            for part in ["a", "bc"] {
                sender.send(Bytes::from_static(part.as_bytes())).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "3".parse().unwrap());
            sender.finish_with(trailers).await.unwrap();
        });
        ok(body)
    });
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        assert_eq!(client.until("\r\n\r\n").await, "1\r\na\r\n2\r\nbc\r\n0\r\nx-sum: 3\r\n\r\n");
    }
}

#[tokio::test]
async fn head_gets_no_body_and_the_connection_goes_on() {
    let (mut client, _server) = start(|_| async { ok("hello") });
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let first = client.until("\r\n\r\n").await;
    assert!(first.contains("content-length: 5\r\n"), "{first}");
    assert!(client.until("hello").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_body_that_nobody_wanted_is_read_if_it_is_short_and_ends_the_connection_if_it_is_long() {
    let (mut client, _server) = start(|_| async { ok("first") });
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n").await;
    client.send(vec![b'x'; 1000]).await;
    client.until("first").await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.until("first").await;

    let (mut client, _server) = start(|_| async { ok("first") });
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("first"), "{answer}");
}

#[tokio::test]
async fn a_long_body_is_not_read_ahead_of_its_handler() {
    let (near, far) = tcp_pair().await;
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = Arc::new(tokio::sync::Mutex::new(Some(released)));
    let (mut client, _server) =
        start_on(near, far, Settings::default(), DrainSignal::never(), move |request: Request<Body>| {
            let released = Arc::clone(&released);
            async move {
                let waiting = released.lock().await.take().unwrap();
                let _ = waiting.await;
                let (body, _) = request.into_body().collect(64 << 20).await.unwrap();
                ok(format!("{}", body.len()))
            }
        });
    const LENGTH: usize = 48 << 20;
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // What the system's buffers take is taken; then it stands still, and nothing of it is in our memory.
    while let Ok(written) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::io::AsyncWriteExt::write(&mut client.stream, &chunk),
    )
    .await
    {
        sent += written.unwrap();
        assert!(sent < LENGTH, "all of it was read ahead");
    }
    release.send(()).unwrap();
    while sent < LENGTH {
        let part = (LENGTH - sent).min(chunk.len());
        sent += tokio::io::AsyncWriteExt::write(&mut client.stream, &chunk[..part]).await.unwrap();
    }
    client.until(&format!("\r\n\r\n{LENGTH}")).await;
}

/// Counts its drops.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_handler_ends_when_its_client_goes_away_unless_half_closing_is_allowed() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut client, server) = start({
        let drops = Arc::clone(&drops);
        move |_| {
            let guard = Guard(Arc::clone(&drops));
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    drop(client);
    server.await.unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);

    let settings = Settings { half_close: true, ..Settings::default() };
    let (mut client, _server) = start_with(settings, DrainSignal::never(), |request| async move {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        mirror(request).await
    });
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.close_writing().await;
    assert!(client.rest().await.ends_with("GET /a  0"));
}

#[tokio::test]
async fn an_upgrade_hands_over_the_stream_with_what_was_sent_ahead() {
    let (mut client, server) = start(|request: Request<Body>| async move {
        assert_eq!(request.headers()["upgrade"], "echo");
        let mut response = ok("");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        upgrade::accept(&mut response, |mut stream| async move {
            let (mut read, mut write) = tokio::io::split(&mut stream);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        response
    });
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && !head.contains("content-length"), "{head}");
    client.send("late").await;
    client.close_writing().await;
    assert_eq!(client.rest().await, "early late");
    server.await.unwrap();
}

#[tokio::test]
async fn interim_responses_and_upgrades_without_their_pair_are_internal_errors() {
    for status in [100, 101, 103] {
        let (mut client, _server) = start(move |_| async move {
            let mut response = ok("");
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 500 "));
    }
}

#[tokio::test]
async fn draining_ends_idle_connections_and_the_next_answer_says_close() {
    let (drainer, drain) = Drainer::new();
    let (mut client, _server) = start_with(Settings::default(), drain.clone(), mirror);
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.until("GET /a  0").await;
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = std::sync::Mutex::new(Some(released));
    let (mut busy, _busy_server) = start_with(Settings::default(), drain, move |request| {
        let released = released.lock().unwrap().take().unwrap();
        async move {
            let _ = released.await;
            mirror(request).await
        }
    });
    busy.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await;
    tokio::task::yield_now().await;
    drainer.drain(Duration::from_secs(60));
    assert_eq!(client.rest().await, "");
    release.send(()).unwrap();
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("GET /b  0"), "{answer}");
}

#[tokio::test]
async fn an_error_answer_survives_a_client_that_is_still_sending() {
    let (near, far) = tcp_pair().await;
    let (mut client, _server) = start_on(near, far, Settings::default(), DrainSignal::never(), mirror);
    client.send("POST / HTTP/1.1\r\nHost : h\r\nContent-Length: 300000\r\n\r\n").await;
    let answer = client.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    // Were the connection closed by now, the first piece would be answered with a reset and the second would fail.
    for _ in 0..10 {
        client.send(vec![b'x'; 30_000]).await;
        tokio::task::yield_now().await;
    }
    client.close_writing().await;
    assert_eq!(client.rest().await, "whitespace stands before the colon of a field\n");
}

#[tokio::test]
async fn http_1_0_is_kept_alive_only_on_demand() {
    let (mut client, _server) = start(mirror);
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = client.until("GET /a  0").await;
    assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    client.send("GET /b HTTP/1.0\r\n\r\n").await;
    assert!(client.rest().await.contains("connection: close\r\n"));
}

#[tokio::test]
async fn long_bodies_pass_unharmed_through_a_slow_reader() {
    let payload: Vec<u8> = (0..3_000_000_u32).flat_map(|n| [(n % 251) as u8]).collect();
    let shared = Bytes::from(payload.clone());
    let (near, far) = tcp_pair().await;
    let (mut client, _server) = start_on(near, far, Settings::default(), DrainSignal::never(), move |_| {
        let shared = shared.clone();
        async move {
            let (mut sender, body) = Body::channel(4);
            tokio::spawn(async move {
                let mut rest = shared;
                // Long, short and middling pieces.
                for size in [100_000, 3, 5_000, 70_000, 1].into_iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let part = rest.split_to(rest.len().min(size));
                    sender.send(part).await.unwrap();
                }
                sender.finish().await.unwrap();
            });
            ok(body)
        }
    });
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut got = Vec::new();
    let mut buffer = vec![0; 7000];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        got.extend_from_slice(&buffer[..read]);
    }
    let head = memchr::memmem::find(&got, b"\r\n\r\n").unwrap() + 4;
    assert!(got[head..] == payload[..]);
}
