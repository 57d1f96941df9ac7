//! The accept loop against scripted sources: errors, the limit, panics.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::drain::Drainer;

/// Gives what it was told to give, then nothing more.
struct Script(Mutex<VecDeque<io::Result<Stream>>>);

impl Source for Script {
    async fn accept(&self) -> io::Result<(Stream, Addr)> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(result) => result.map(|stream| (stream, Addr::Unix(None))),
            None => std::future::pending().await,
        }
    }

    fn local(&self) -> Addr {
        Addr::Unix(None)
    }
}

fn limit(connections: usize) -> Limit {
    Limit { name: "test".into(), connections }
}

fn stream() -> Stream {
    Stream::pair().unwrap().0
}

#[tokio::test(start_paused = true)]
async fn errors_are_waited_out_with_growing_patience_and_never_end_the_loop() {
    const EMFILE: i32 = 24;
    let mut script: VecDeque<io::Result<Stream>> = VecDeque::new();
    for _ in 0..12 {
        script.push_back(Err(io::Error::from_raw_os_error(EMFILE)));
    }
    script.push_back(Err(io::ErrorKind::ConnectionAborted.into()));
    script.push_back(Ok(stream()));
    script.push_back(Err(io::ErrorKind::ConnectionAborted.into()));
    script.push_back(Ok(stream()));
    let (drainer, drain) = Drainer::new();
    let began = tokio::time::Instant::now();
    let (seen, mut times) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(run(Script(Mutex::new(script)), limit(10), drain, move |set, stream, _| {
        seen.send(began.elapsed()).unwrap();
        set.spawn(async move { drop(stream) });
    }));
    let first = times.recv().await.unwrap();
    // 1 + 2 + … + 512 ms, then 1 s each.
    assert!(first >= Duration::from_millis(1023 + 3000) && first < Duration::from_secs(5), "{first:?}");
    let second = times.recv().await.unwrap() - first;
    assert!(second < Duration::from_millis(10), "a success begins anew: {second:?}");
    drainer.drain(Duration::from_secs(1));
    assert_eq!(server.await.unwrap(), Served { accepted: 2, cut: 0 });
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_and_what_ends_makes_room() {
    let script = (0..5).map(|_| Ok(stream())).collect();
    let (drainer, drain) = Drainer::new();
    let (seen, mut serials) = tokio::sync::mpsc::unbounded_channel();
    let (ends, release) = tokio::sync::watch::channel(0);
    let server = tokio::spawn(run(Script(Mutex::new(script)), limit(2), drain, move |set, stream, info| {
        let mut release = release.clone();
        release.mark_unchanged();
        seen.send(info.serial).unwrap();
        set.spawn(async move {
            let _ = release.changed().await;
            drop(stream);
        });
    }));
    serials.recv().await.unwrap();
    serials.recv().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), serials.recv()).await.is_err());
    ends.send(1).unwrap();
    serials.recv().await.unwrap();
    serials.recv().await.unwrap();
    drainer.drain(Duration::from_secs(5));
    let served = server.await.unwrap();
    assert_eq!(served, Served { accepted: 4, cut: 2 });
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_connection_only() {
    let script = (0..2).map(|_| Ok(stream())).collect();
    let (drainer, drain) = Drainer::new();
    let (seen, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = tokio::spawn(run(Script(Mutex::new(script)), limit(5), drain, move |set, _, _| {
        let (first, seen) = (first.swap(false, Ordering::SeqCst), seen.clone());
        set.spawn(async move {
            assert!(!first, "on purpose");
            seen.send(()).unwrap();
        });
    }));
    ends.recv().await.unwrap();
    drainer.drain(Duration::from_secs(5));
    assert_eq!(server.await.unwrap(), Served { accepted: 2, cut: 0 });
}
