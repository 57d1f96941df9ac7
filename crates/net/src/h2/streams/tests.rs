//! Hostile clients, written frame by frame, in paused time.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::h2::testing::{asking, serve, until};
use crate::testing::ok;

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_loses_the_stream() {
    let (mut client, _, _task) = serve(|_| async { ok("x".repeat(100_000)) });
    let began = Instant::now();
    client.write_all(&asking(0)).await.unwrap();
    assert_eq!(until(&mut client, 3).await.unwrap().stream, 1);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(62), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_slow_loses_nothing() {
    let (mut client, _, _task) = serve(|_| async {
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
        assert_eq!(until(&mut client, 0).await.unwrap().stream, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_closed_though_it_answers_pings() {
    let (mut client, _, task) = serve(|_| async { ok("hello") });
    let began = Instant::now();
    client.write_all(&asking(65_535)).await.unwrap();
    assert_eq!(until(&mut client, 7).await.unwrap().stream, 0);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(75) && waited < Duration::from_secs(77), "{waited:?}");
    assert!(until(&mut client, 99).await.is_none());
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_and_is_never_taken_does_not_keep_the_connection() {
    // One byte of window: the whole answer is handed to h2, which can send one byte of it.
    let (mut client, _, task) = serve(|_| async { ok("hello") });
    client.write_all(&asking(1)).await.unwrap();
    let began = Instant::now();
    assert!(until(&mut client, 99).await.is_none());
    assert!(began.elapsed() < Duration::from_secs(140), "{:?}", began.elapsed());
    task.await.unwrap();
}
