//! Bodies: watching, channels, limits.

use std::sync::{Arc, Mutex};

use super::*;

struct Note(Arc<Mutex<Vec<Seen>>>);

impl Watch for Note {
    fn ended(self: Box<Self>, seen: Seen) {
        self.0.lock().unwrap().push(seen);
    }
}

fn watched(body: Body) -> (Body, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    (body.watched(Box::new(Note(Arc::clone(&seen)))), seen)
}

#[tokio::test]
async fn a_watch_learns_how_much_was_read_and_whether_all_of_it() {
    let (body, seen) = watched(Body::full("hello"));
    body.collect(10).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Seen { bytes: 5, complete: true }]);

    let (mut sender, body) = Body::channel(4);
    let (mut body, seen) = watched(body);
    sender.send(Bytes::from_static(b"abc")).await.unwrap();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(*seen.lock().unwrap(), [Seen { bytes: 3, complete: false }]);

    let (body, seen) = watched(Body::empty());
    drop(body);
    assert_eq!(*seen.lock().unwrap(), [Seen { bytes: 0, complete: true }]);

    let (mut body, seen) = watched(Body::full("hello"));
    body.frame().await.unwrap().unwrap();
    body.mark_lost();
    drop(body);
    assert_eq!(*seen.lock().unwrap(), [Seen { bytes: 5, complete: false }]);
}

#[tokio::test]
async fn a_channel_whose_sender_is_dropped_is_a_body_that_failed() {
    let (mut sender, body) = Body::channel(4);
    sender.send(Bytes::from_static(b"abc")).await.unwrap();
    drop(sender);
    assert!(matches!(body.collect(10).await, Err(BodyError::Aborted(None))));

    let (mut sender, body) = Body::channel(4);
    sender.send(Bytes::new()).await.unwrap();
    sender.send(Bytes::from_static(b"abc")).await.unwrap();
    sender.send(Bytes::from_static(b"def")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x", "y".parse().unwrap());
    sender.finish_with(trailers.clone()).await.unwrap();
    assert_eq!(body.collect(10).await.unwrap(), (Bytes::from_static(b"abcdef"), Some(trailers)));
}

#[tokio::test]
async fn a_collector_has_a_limit() {
    assert!(matches!(Body::full("hello").collect(4).await, Err(BodyError::TooLarge(4))));
    let (mut sender, body) = Body::channel(4);
    sender.send(Bytes::from_static(b"abc")).await.unwrap();
    sender.send(Bytes::from_static(b"def")).await.unwrap();
    assert!(matches!(body.collect(5).await, Err(BodyError::TooLarge(5))));
}

#[tokio::test(start_paused = true)]
async fn silence_is_limited_but_not_a_reader_that_takes_its_time() {
    let (mut sender, body) = Body::channel(4);
    let mut body = body.with_idle_timeout(Duration::from_secs(5));
    sender.send(Bytes::from_static(b"abc")).await.unwrap();
    body.frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    sender.send(Bytes::from_static(b"def")).await.unwrap();
    body.frame().await.unwrap().unwrap();
    let began = tokio::time::Instant::now();
    assert!(matches!(body.frame().await, Some(Err(BodyError::Idle(_)))));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[test]
fn lengths_are_exact_when_they_are_known() {
    assert_eq!(Body::empty().size_hint().exact(), Some(0));
    assert_eq!(Body::full("abc").with_idle_timeout(Duration::ZERO).size_hint().exact(), Some(3));
    assert_eq!(Body::channel(1).1.size_hint().exact(), None);
    assert!(Body::full("").is_end_stream() && !Body::full("a").is_end_stream());
}
