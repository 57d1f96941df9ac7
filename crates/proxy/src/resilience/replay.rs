//! A request that can be sent again: its head, and as much of its body as the route keeps.
//!
//! A body is passed on as it comes, never held back until it is whole (a caller may wait for an answer before it
//! says more), and what passes is kept beside, up to a limit. Another try gets what was kept, then what is still to come.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, Method, Request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_net::{Body, BodyError};

/// A request, to be sent again.
pub struct Kept {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: KeptBody,
}

enum KeptBody {
    Whole(Bytes),
    Stream(Arc<Mutex<Store>>),
}

impl Kept {
    /// Keeps a request with at most `limit` bytes of a body that is still to come.
    pub fn of(request: Request<Body>, limit: usize) -> (Request<Body>, Self) {
        let (head, body) = request.into_parts();
        let (body, kept) = match body.in_memory() {
            Some(whole) => (body, KeptBody::Whole(whole)),
            None => {
                let left = body.size_hint().exact();
                let store = Arc::new(Mutex::new(Store { limit, left, ..Store::default() }));
                let first = Pass { store: Arc::clone(&store), rest: Some(body), at: 0, left, over: false };
                (Body::boxed(first), KeptBody::Stream(store))
            }
        };
        let (method, uri, headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
        (Request::from_parts(head, body), Self { method, uri, headers, body: kept })
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The request again; `None` when more of its body has passed than was kept, or when it is still in use.
    pub fn again(&self) -> Option<Request<Body>> {
        let body = match &self.body {
            KeptBody::Whole(bytes) => Body::full(bytes.clone()),
            KeptBody::Stream(store) => again(store)?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// What was kept of a body.
#[derive(Default)]
struct Store {
    limit: usize,
    bytes: usize,
    chunks: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// All of it has passed.
    ended: bool,
    /// It cannot be had again.
    lost: bool,
    /// What is still to come, while no pass reads it.
    rest: Option<Body>,
    /// The length of the whole, if it is known.
    left: Option<u64>,
}

impl Store {
    fn keep(&mut self, data: &Bytes) {
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > self.limit {
            self.lose();
        } else if !self.lost {
            self.chunks.push(data.clone());
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.chunks = Vec::new();
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn again(shared: &Arc<Mutex<Store>>) -> Option<Body> {
    let mut store = lock(shared);
    let rest = store.rest.take();
    if store.lost || (rest.is_none() && !store.ended) {
        return None;
    }
    let left = store.left;
    drop(store);
    Some(Body::boxed(Pass { store: Arc::clone(shared), rest, at: 0, left, over: false }))
}

/// The body on one of its ways.
struct Pass {
    store: Arc<Mutex<Store>>,
    rest: Option<Body>,
    /// How many of the kept chunks have passed here.
    at: usize,
    /// Bytes still to pass here, if that is known.
    left: Option<u64>,
    over: bool,
}

impl HttpBody for Pass {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let mut store = lock(&this.store);
        if let Some(chunk) = store.chunks.get(this.at) {
            this.at += 1;
            this.left = this.left.map(|left| left.saturating_sub(chunk.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if store.ended {
            this.over = true;
            return Poll::Ready(store.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(Some(Err(BodyError::Aborted(None)))) };
        let frame = ready!(Pin::new(&mut *rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    store.keep(data);
                    this.at = store.chunks.len();
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                }
                store.trailers = frame.trailers_ref().cloned();
                this.over = frame.is_trailers() || rest.is_end_stream();
                store.ended |= this.over;
            }
            Some(Err(_)) => store.lose(),
            None => (this.over, store.ended) = (true, true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        let mut store = lock(&self.store);
        if !store.ended && !store.lost {
            store.rest = Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn post(body: Body) -> Request<Body> {
        Request::post("/x?y=1").header("a", "b").body(body).unwrap()
    }

    async fn read(request: Request<Body>) -> Bytes {
        request.into_body().collect(1 << 20).await.unwrap().0
    }

    #[tokio::test]
    async fn what_passed_is_had_again_with_its_rest() {
        let (mut sender, body) = Body::channel(4);
        let (first, kept) = Kept::of(post(body), 100);
        sender.send(Bytes::from("one ")).await.unwrap();
        let mut first = first.into_body();
        assert!(first.frame().await.is_some());
        // It is still being read.
        assert!(kept.again().is_none());
        drop(first);
        let mut second = kept.again().unwrap();
        assert_eq!((second.method().as_str(), second.headers()["a"].as_bytes()), ("POST", &b"b"[..]));
        assert!(second.body_mut().frame().await.is_some());
        sender.send(Bytes::from("two")).await.unwrap();
        assert!(second.body_mut().frame().await.is_some());
        drop(second);
        let third = kept.again().unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("t", "1".parse().unwrap());
        sender.finish_with(trailers).await.unwrap();
        let (whole, end) = third.into_body().collect(100).await.unwrap();
        assert_eq!((&whole[..], end.unwrap()["t"].as_bytes()), (&b"one two"[..], &b"1"[..]));
        let (whole, end) = kept.again().unwrap().into_body().collect(100).await.unwrap();
        assert_eq!((&whole[..], end.is_some()), (&b"one two"[..], true));
    }

    #[tokio::test]
    async fn more_than_is_kept_is_sent_once() {
        let (mut sender, body) = Body::channel(4);
        let (first, kept) = Kept::of(post(body), 4);
        sender.send(Bytes::from("12345")).await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(read(first).await, "12345");
        assert!(kept.again().is_none());
    }

    #[tokio::test]
    async fn a_body_that_failed_is_not_whole() {
        let (sender, body) = Body::channel(4);
        let (first, kept) = Kept::of(post(body), 4);
        drop(sender);
        assert!(first.into_body().collect(10).await.is_err());
        assert!(kept.again().is_none());
    }

    proptest! {
        #[test]
        fn every_pass_reads_the_same(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..9),
            stops in proptest::collection::vec(0_usize..9, 0..5),
        ) {
            let whole: Vec<u8> = chunks.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async move {
                let (mut sender, body) = Body::channel(16);
                for chunk in chunks {
                    sender.send(Bytes::from(chunk)).await.unwrap();
                }
                sender.finish().await.unwrap();
                let (mut request, kept) = Kept::of(post(body), 1 << 20);
                for stop in stops {
                    for _ in 0..stop {
                        let _ = request.body_mut().frame().await;
                    }
                    drop(request);
                    request = kept.again().unwrap();
                }
                request.into_body().collect(1 << 20).await.unwrap().0
            });
            prop_assert_eq!(&read[..], &whole[..]);
        }
    }
}
