//! The order and the timing of a drain.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_begins_at_once_and_cuts_when_its_patience_is_over() {
    let (drainer, signal) = Drainer::new();
    assert!(!signal.is_draining());
    let early = tokio::time::timeout(Duration::from_secs(1), signal.draining());
    assert!(early.await.is_err());
    let began = Instant::now();
    drainer.drain(Duration::from_secs(10));
    signal.draining().await;
    assert!(signal.is_draining());
    assert_eq!(began.elapsed(), Duration::ZERO);
    signal.cut().await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_can_only_hurry() {
    let (drainer, signal) = Drainer::new();
    let began = Instant::now();
    drainer.drain(Duration::from_secs(10));
    drainer.drain(Duration::from_secs(60));
    let waiting = tokio::spawn(async move { signal.cut().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drainer.drain(Duration::from_secs(1));
    // Whoever waits keeps the last word even when the drainer is gone.
    drop(drainer);
    waiting.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn patience_without_end_is_no_time_that_no_clock_can_tell() {
    let (drainer, signal) = Drainer::new();
    drainer.drain_gently(Duration::MAX, Duration::MAX);
    assert!(signal.is_draining());
    assert!(tokio::time::timeout(Duration::from_secs(1000), signal.idle_over()).await.is_err());
    drainer.drain(Duration::ZERO);
    signal.cut().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_drainer_nothing_ever_drains() {
    let signal = DrainSignal::never();
    assert!(tokio::time::timeout(Duration::from_secs(1000), signal.draining()).await.is_err());
    assert!(tokio::time::timeout(Duration::from_secs(1000), signal.cut()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_gentle_drain_lets_idle_connections_wait() {
    let (drainer, signal) = Drainer::new();
    let began = Instant::now();
    drainer.drain_gently(Duration::from_secs(5), Duration::from_secs(60));
    signal.draining().await;
    assert!(signal.is_draining() && began.elapsed().is_zero());
    signal.idle_over().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    drainer.drain(Duration::from_secs(10));
    signal.idle_over().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    signal.cut().await;
    assert_eq!(began.elapsed().as_secs(), 15);
}
