//! The HTTP/2 client against frames written by hand.

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::h2::testing::{PREFACE, frame, setting, until};
use crate::tls::server::{Options as ServerOptions, Server, Tickets};
use crate::tls::tests::{Authority, Shelf, client};

fn ask(body: Body) -> Request<Body> {
    Request::post("/a?b").header("host", "h:1").header("connection", "x").body(body).unwrap()
}

#[test]
fn a_request_has_the_same_form_after_going_there_and_back() {
    let mut request = ask(Body::empty());
    to_their_form(&mut request, Scheme::HTTP).unwrap();
    assert_eq!(request.uri(), "http://h:1/a?b");
    assert!(!request.headers().contains_key("host") && !request.headers().contains_key("connection"));
    let request = in_our_form(request);
    assert_eq!(
        (request.uri().to_string().as_str(), &request.headers()["host"]),
        ("/a?b", &HeaderValue::from_static("h:1"))
    );
    assert!(to_their_form(&mut Request::new(Body::empty()), Scheme::HTTP).is_err());
    let mut connect =
        Request::builder().method("CONNECT").uri("h:1").header("host", "h:1").body(Body::empty()).unwrap();
    assert!(to_their_form(&mut connect, Scheme::HTTP).is_err());
}

/// RFC 9113 section 8.3.1; some servers refuse what does not fit the connection.
#[tokio::test]
async fn the_scheme_of_a_request_is_that_of_its_connection() {
    let authority = Authority::new();
    let keys = Shelf::with("localhost", authority.issue(&["localhost"]));
    let server = Server::new(keys, &ServerOptions::default(), &Tickets::new().unwrap()).unwrap();
    let client = client(&authority, "localhost", &["h2"]);
    for secure in [false, true] {
        let (mut near, mut far) = Stream::pair().unwrap();
        if secure {
            let (ours, theirs) = tokio::join!(client.connect(near), server.accept(far));
            (near, far) = (ours.unwrap().0, theirs.unwrap().0);
        }
        let server = tokio::spawn(async move {
            far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            far.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            until(&mut far, 1).await.unwrap().payload
        });
        let (mut connection, driver) = handshake(near, &Settings::default()).await.unwrap();
        let asked = driven(driver, connection.send(ask(Body::empty())));
        tokio::select! {
            _ = asked => panic!("nobody answers"),
            // POST, and http or https, by their numbers in the static table (RFC 7541 appendix A).
            seen = server => assert_eq!(seen.unwrap()[..2], [0x83, if secure { 0x87 } else { 0x86 }]),
        }
    }
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

/// A server that repeats itself, a little more often than the client should bear; what became of the request, and the
/// code of the client's farewell.
async fn insisting(head: Vec<u8>, again: Vec<u8>, most: usize) -> (SendError, Option<u32>) {
    let (near, mut far) = crate::testing::tcp_pair().await;
    let server = tokio::spawn(async move {
        far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        far.read_exact(&mut [0; 24]).await.unwrap();
        crate::h2::testing::until(&mut far, 1).await.unwrap();
        far.write_all(&head).await.unwrap();
        for _ in 0..most + 100 {
            if far.write_all(&again).await.is_err() {
                break;
            }
        }
        // Its side stays open: only the client can end it.
        crate::h2::testing::goodbye(&mut far).await
    });
    let (mut connection, driver) = handshake(near, &Settings::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    let error = connection.send(ask(Body::empty())).await.unwrap_err();
    drop(connection);
    driver.await.unwrap();
    (error, server.await.unwrap())
}

/// `:status 103`, as a literal (RFC 7541 section 6.2.2).
const EARLY_HINTS: &[u8] = b"\x08\x03103";

#[tokio::test]
async fn a_hostile_service_is_given_up() {
    for (what, head, again, most) in [
        ("PING", vec![], frame(6, 0, 0, &[0; 8]), limits::HTTP2_CONTROL_FRAMES as usize),
        ("SETTINGS", vec![], frame(4, 0, 0, &[]), limits::HTTP2_CONTROL_FRAMES as usize),
        ("1xx without end", vec![], frame(1, 4, 1, EARLY_HINTS), 10 * limits::HTTP2_STREAMS as usize),
        ("a head without end", frame(1, 0, 1, b"\x88"), frame(9, 0, 1, b"\x00\x01a\x01b"), 10),
    ] {
        let (error, code) = insisting(head, again, most).await;
        assert_eq!(error.stage, Stage::Sent, "{what}: {error:?}");
        assert_eq!(code, Some(11), "{what}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_an_answer_that_came() {
    let mut head = b"\x88".to_vec();
    for number in 0..80_u8 {
        head.extend([0, 2, b'a' + number / 26, b'a' + number % 26, 0x7f, 0xe1, 0x06]);
        head.extend(vec![b'v'; 992]);
    }
    let mut script = Vec::new();
    let pieces: Vec<_> = head.chunks(16_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let last = u8::from(at + 1 == pieces.len()) * 4;
        script.extend(if at == 0 { frame(1, 1 | last, 1, piece) } else { frame(9, last, 1, piece) });
    }
    // We refuse the stream; the service has carried the request out.
    assert_eq!(against(script, Body::full("body")).await.stage, Stage::Sent);
}

#[tokio::test]
async fn an_answer_that_http1_would_refuse_is_refused() {
    // `:status 600` and `:status 999`, and a field `x` with whitespace around its value.
    for head in [&b"\x08\x03600"[..], b"\x08\x03999", b"\x88\x00\x01x\x02 1", b"\x88\x00\x01x\x021\t"] {
        let error = against(frame(1, 5, 1, head), Body::empty()).await;
        assert_eq!(error.stage, Stage::ResponseBegan, "{error:?}");
        assert!(matches!(error.cause, SendCause::Malformed(_)), "{error:?}");
    }
}

/// A connection to a server that writes down what it is told, beside its driver.
async fn connected() -> (Connection, tokio::task::JoinHandle<()>, Stream) {
    let (near, mut far) = Stream::pair().unwrap();
    far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let (connection, driver) = handshake(near, &Settings::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    far.read_exact(&mut [0; 24]).await.unwrap();
    (connection, driver, far)
}

#[tokio::test]
async fn a_trailer_between_blanks_is_a_broken_answer() {
    for (value, fine) in [(&b"1"[..], true), (b" 1", false), (b"1 ", false)] {
        let (mut connection, _driver, mut far) = connected().await;
        let (answer, ()) = tokio::join!(connection.send(ask(Body::empty())), async {
            until(&mut far, 1).await.unwrap();
            let trailer = [&[0, 1, b't', value.len() as u8], value].concat();
            far.write_all(&[frame(1, 4, 1, b"\x88"), frame(1, 5, 1, &trailer)].concat()).await.unwrap();
        });
        let read = answer.unwrap().into_body().collect(9).await;
        assert_eq!(read.is_ok(), fine, "{value:?}: {read:?}");
    }
}

#[tokio::test]
async fn what_a_server_allows_is_known_with_the_answer_that_follows() {
    let (mut connection, _driver, mut far) = connected().await;
    assert_eq!(connection.streams(), u32::MAX as usize);
    for streams in [7, 0] {
        let (answer, ()) = tokio::join!(connection.send(ask(Body::empty())), async {
            until(&mut far, 1).await.unwrap();
            let stream = if streams == 7 { 1 } else { 3 };
            let said = [frame(4, 0, 0, &setting(3, streams)), frame(1, 5, stream, b"\x88")].concat();
            far.write_all(&said).await.unwrap();
        });
        answer.unwrap();
        assert_eq!(connection.streams(), streams as usize);
    }
    let error = connection.send(ask(Body::full("body"))).await.unwrap_err();
    assert_eq!(error.stage, Stage::NothingSent);
    assert!(matches!(error.cause, SendCause::NoStreams) && error.request.is_some(), "{error:?}");
}

#[tokio::test]
async fn an_answer_comes_to_its_end_after_a_farewell() {
    for goaway in [true, false] {
        let (mut connection, driver, mut far) = connected().await;
        let (answer, ()) = tokio::join!(connection.send(ask(Body::empty())), async {
            until(&mut far, 1).await.unwrap();
            far.write_all(&frame(1, 4, 1, b"\x88")).await.unwrap();
        });
        let mut body = answer.unwrap().into_body();
        if goaway {
            // Last stream 1, NO_ERROR: what is under way goes on (RFC 9113 section 6.8).
            far.write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
            let ping = frame(6, 0, 0, b"farewell");
            far.write_all(&ping).await.unwrap();
            until(&mut far, 6).await.unwrap();
            assert!(connection.send(ask(Body::empty())).await.is_err());
            assert!(!connection.is_usable());
        }
        // Nobody will ask again.
        drop(connection);
        tokio::task::yield_now().await;
        far.write_all(&frame(0, 0, 1, b"first")).await.unwrap();
        assert_eq!(&body.frame().await.unwrap().unwrap().into_data().unwrap()[..], b"first");
        far.write_all(&frame(0, 1, 1, b"last")).await.unwrap();
        assert_eq!(&body.frame().await.unwrap().unwrap().into_data().unwrap()[..], b"last");
        assert!(body.frame().await.is_none());
        drop(body);
        driver.await.unwrap();
    }
}
