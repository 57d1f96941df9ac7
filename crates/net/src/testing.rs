//! What the tests of this crate share: raw peers, and handlers made of closures.

use std::future::Future;
use std::sync::Mutex;

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Body;
use crate::server::{ConnectionInfo, Handler, Protocol, Refusal};
use crate::stream::{Addr, Stream};

/// A peer that speaks bytes.
pub(crate) struct Raw {
    pub(crate) stream: Stream,
    got: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, got: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Takes what came up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.got, end.as_bytes()) {
                let rest = self.got.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.got, rest)).unwrap();
            }
            let read = self.stream.read_buf(&mut self.got).await.unwrap();
            assert!(read > 0, "it ended before {end:?}: {:?}", String::from_utf8_lossy(&self.got));
        }
    }

    /// Takes what comes until the other side closes.
    pub(crate) async fn rest(&mut self) -> String {
        self.stream.read_to_end(&mut self.got).await.unwrap();
        String::from_utf8(std::mem::take(&mut self.got)).unwrap()
    }

    pub(crate) async fn close_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }
}

/// A handler made of a closure; remembers what was refused and who flooded.
pub(crate) struct Closure<F> {
    answer: F,
    pub(crate) refusals: Mutex<Vec<Refusal>>,
    pub(crate) floods: Mutex<Vec<&'static str>>,
}

impl<F> Closure<F> {
    pub(crate) fn new(answer: F) -> Self {
        Self { answer, refusals: Mutex::default(), floods: Mutex::default() }
    }
}

impl<F, Fut> Handler for Closure<F>
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send,
{
    fn handle(
        &self,
        request: Request<Body>,
        _: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send {
        (self.answer)(request)
    }

    fn refused(&self, refusal: Refusal, _: &ConnectionInfo) {
        self.refusals.lock().unwrap().push(refusal);
    }

    fn flooded(&self, reason: &'static str, _: &ConnectionInfo) {
        self.floods.lock().unwrap().push(reason);
    }
}

/// The connection that tests pretend to have.
pub(crate) fn info() -> ConnectionInfo {
    ConnectionInfo {
        peer: Addr::Unix(None),
        local: Addr::Unix(None),
        protocol: Protocol::Http1,
        serial: 0,
        tls: None,
        proxied: None,
        passed: None,
    }
}

/// A response with a body.
pub(crate) fn ok(body: impl Into<Body>) -> Response<Body> {
    Response::new(body.into())
}

/// Two connected TCP streams on loopback.
pub(crate) async fn tcp_pair() -> (Stream, Stream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(tokio::net::TcpStream::connect(addr), listener.accept());
    (near.unwrap().into(), far.unwrap().0.into())
}
