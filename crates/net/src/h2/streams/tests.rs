//! Hostile clients, written frame by frame, in paused time.

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::drain::DrainSignal;
use crate::h2::server;
use crate::server::{Protocol, Settings, Shared};
use crate::stream::Stream;
use crate::testing::{Closure, info, ok};

/// A frame of RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The preface, settings with an initial window, and `GET http://h/` on stream 1.
fn asking(window: u32) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    out.extend(frame(4, 0, 0, &setting));
    out.extend(frame(1, 5, 1, b"\x82\x86\x84\x41\x01h"));
    out
}

/// Reads frames, answering pings as a living client does, until one of a kind comes or the server closes.
async fn until(client: &mut Stream, wanted: u8) -> Option<u32> {
    let hour = Duration::from_secs(3_600);
    tokio::time::timeout(hour, frames_until(client, wanted)).await.expect("it goes on for ever")
}

async fn frames_until(client: &mut Stream, wanted: u8) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        client.read_exact(&mut payload).await.ok()?;
        if head[3] == 6 && head[4] & 1 == 0 {
            // A server that has gone does not hear it.
            let _ = client.write_all(&frame(6, 1, 0, &payload)).await;
        }
        if head[3] == wanted {
            return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

fn serve<F, Fut>(answer: F) -> (Stream, tokio::task::JoinHandle<()>)
where
    F: Fn(http::Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let (client, stream) = Stream::pair().unwrap();
    let handler = Arc::new(Closure::new(answer));
    let shared = Shared { handler, settings: Settings::named("test"), drain: DrainSignal::never() };
    let info = crate::ConnectionInfo { protocol: Protocol::Http2, ..info() };
    let task = tokio::spawn(async move { server::serve(stream, &Arc::new(shared), info).await });
    (client, task)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_loses_the_stream() {
    let (mut client, _task) = serve(|_| async { ok("x".repeat(100_000)) });
    let began = Instant::now();
    client.write_all(&asking(0)).await.unwrap();
    assert_eq!(until(&mut client, 3).await, Some(1));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(62), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_slow_loses_nothing() {
    let (mut client, _task) = serve(|_| async {
        let (mut sender, body) = Body::channel(1);
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(200)).await;
                sender.send(Bytes::from_static(b"x")).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
        ok(body)
    });
    client.write_all(&asking(65_535)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(until(&mut client, 0).await, Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_closed_though_it_answers_pings() {
    let (mut client, task) = serve(|_| async { ok("hello") });
    let began = Instant::now();
    client.write_all(&asking(65_535)).await.unwrap();
    assert_eq!(until(&mut client, 7).await, Some(0));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(75) && waited < Duration::from_secs(77), "{waited:?}");
    assert_eq!(until(&mut client, 99).await, None);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_and_is_never_taken_does_not_keep_the_connection() {
    // One byte of window: the whole answer is handed to h2, which can send one byte of it.
    let (mut client, task) = serve(|_| async { ok("hello") });
    client.write_all(&asking(1)).await.unwrap();
    let began = Instant::now();
    assert_eq!(until(&mut client, 99).await, None);
    assert!(began.elapsed() < Duration::from_secs(140), "{:?}", began.elapsed());
    task.await.unwrap();
}
