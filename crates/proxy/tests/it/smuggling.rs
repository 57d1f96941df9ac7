//! What one reader takes for one request and another for two never reaches an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Response;
use tutti_net::Body;

use crate::harness::*;

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_reaches_the_upstream() {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let upstream = upstream(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Response::new(Body::from("reached")) }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let long = "x".repeat(80 << 10);
    let many = "X: y\r\n".repeat(200);
    for bad in [
        // Two lengths, or a length and chunks.
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 4\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x4\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n{smuggled}"),
        // Codings that are not chunked, or not last, or spelt oddly.
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n{smuggled}"),
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // Fields that are not.
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\n X: a\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: a\0\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\nHost: h\n\n{smuggled}"),
        // Hosts.
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
        // First lines.
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET /\t HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 x\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(),
        "G(T / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        // Too much.
        format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
    ] {
        let answer = raw(tutti.edge, &bad).await;
        let shown: String = bad.chars().take(90).collect();
        // A refusal closes the connection; what a client had still to send may then reset it, answer and all.
        let refused =
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5") || answer.is_empty();
        assert!(refused && answer.matches("HTTP/1.1 ").count() <= 1, "{shown:?}: {answer}");
        assert_eq!(seen.load(Ordering::SeqCst), 0, "{shown:?}");
    }
    // What is whole is served: the upstream was there all the time.
    assert_eq!(text(&get(tutti.edge, "/").await), "reached");
}

#[tokio::test]
async fn a_broken_chunk_ends_the_upstreams_request_unfinished() {
    let whole = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&whole);
    let upstream = upstream(move |request| {
        let count = Arc::clone(&count);
        async move {
            if request.into_body().collect(1 << 20).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            Response::new(Body::empty())
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    for chunks in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "g\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = raw(
            tutti.edge,
            format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{chunks:?}: {answer}");
        assert_eq!(whole.load(Ordering::SeqCst), 0, "{chunks:?}");
    }
}

#[tokio::test]
async fn what_follows_an_answered_request_is_a_request_of_its_own() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let two = "POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /two HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = raw(tutti.edge, two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    assert!(answer.contains("POST /one\n") && answer.contains("GET /two\n"), "{answer}");
}
