//! The HTTP/2 client against frames written by hand.

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn ask(body: Body) -> Request<Body> {
    Request::post("/a?b").header("host", "h:1").header("connection", "x").body(body).unwrap()
}

#[test]
fn a_request_has_the_same_form_after_going_there_and_back() {
    let mut request = ask(Body::empty());
    to_their_form(&mut request).unwrap();
    assert_eq!(request.uri(), "http://h:1/a?b");
    assert!(!request.headers().contains_key("host") && !request.headers().contains_key("connection"));
    let request = in_our_form(request);
    assert_eq!(
        (request.uri().to_string().as_str(), &request.headers()["host"]),
        ("/a?b", &HeaderValue::from_static("h:1"))
    );
    assert!(to_their_form(&mut Request::new(Body::empty())).is_err());
    let mut connect =
        Request::builder().method("CONNECT").uri("h:1").header("host", "h:1").body(Body::empty()).unwrap();
    assert!(to_their_form(&mut connect).is_err());
}

/// A frame of RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A server that settles, waits for a request, and then says what it was given.
async fn against(script: Vec<u8>, body: Body) -> SendError {
    let (near, mut far) = Stream::pair().unwrap();
    let server = tokio::spawn(async move {
        far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut got = Vec::new();
        // HEADERS on stream 1: its type and flags are followed by the stream's number.
        while !got.windows(5).any(|window| window[0] & 4 == 4 && window[1..] == [0, 0, 0, 1]) {
            assert!(far.read_buf(&mut got).await.unwrap() > 0);
        }
        far.write_all(&script).await.unwrap();
        far.shutdown().await.unwrap();
        let _ = far.read_to_end(&mut got).await;
    });
    let (mut connection, driver) = handshake(near, &Settings::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    let error = connection.send(ask(body)).await.unwrap_err();
    drop(connection);
    driver.await.unwrap();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn only_a_request_that_was_not_processed_counts_as_not_sent() {
    let refused = frame(3, 0, 1, &7_u32.to_be_bytes());
    let error = against(refused, Body::full("body")).await;
    assert_eq!(error.stage, Stage::NothingSent, "{error:?}");
    let request = error.request.expect("its body is in memory");
    assert_eq!(request.uri(), "/a?b");

    let cancelled = frame(3, 0, 1, &8_u32.to_be_bytes());
    assert_eq!(against(cancelled, Body::empty()).await.stage, Stage::Sent);

    // GOAWAY: last stream 0, NO_ERROR. Stream 1 is above it.
    let error = against(frame(7, 0, 0, &[0; 8]), Body::empty()).await;
    assert_eq!(error.stage, Stage::NothingSent, "{error:?}");

    // The end without a word.
    assert_eq!(against(Vec::new(), Body::empty()).await.stage, Stage::Sent);
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_not_given_back() {
    let (sender, body) = Body::channel(1);
    let refused = frame(3, 0, 1, &7_u32.to_be_bytes());
    let error = against(refused, body).await;
    assert_eq!(error.stage, Stage::NothingSent);
    assert!(error.request.is_none());
    drop(sender);
    let _: Frame<Bytes> = Frame::data(Bytes::new());
}
