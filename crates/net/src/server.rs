//! The accept loops: from a listener to handled requests, or to handled streams.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) share a port: the client's first bytes tell them apart.
//!
//! Two kinds of handler. A [`LocalHandler`] stays on its thread, so its state needs no locks: the data plane runs one
//! per core, on a `tokio::runtime::LocalRuntime` each. A [`Handler`] may move between threads and runs on any runtime.

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};

use crate::body::Body;
use crate::drain::DrainSignal;
use crate::listen::Listener;
use crate::stream::{Addr, Stream};
use crate::{h1, h2};

/// The HTTP version in use on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What is known of the connection that a request came on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Who sent it. An IPv4 peer of a dual-stack listener is shown as IPv4.
    pub peer: Addr,
    /// Where it was accepted.
    pub local: Addr,
    /// What is spoken.
    pub protocol: Protocol,
    /// A number for logs, unique in the process.
    pub serial: u64,
}

/// A request that was refused before a handler saw it, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status that was answered.
    pub status: http::StatusCode,
    /// What was wrong, in fixed words.
    pub reason: &'static str,
}

/// Answers requests; may run on any thread.
///
/// The future is dropped when the client goes away. A panic ends that connection alone.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request.
    fn handle(
        &self,
        request: Request<Body>,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Is told of a request that was refused because it is malformed or too large, or came too slowly.
    fn refused(&self, refusal: Refusal, connection: &ConnectionInfo) {
        let _ = (refusal, connection);
    }
}

/// Answers requests on one thread. Every [`Handler`] is one.
pub trait LocalHandler: 'static {
    /// Answers a request.
    fn handle(
        &self,
        request: Request<Body>,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>>;

    /// Is told of a request that was refused because it is malformed or too large, or came too slowly.
    fn refused(&self, refusal: Refusal, connection: &ConnectionInfo) {
        let _ = (refusal, connection);
    }
}

impl<H: Handler> LocalHandler for H {
    fn handle(
        &self,
        request: Request<Body>,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> {
        Handler::handle(self, request, connection)
    }

    fn refused(&self, refusal: Refusal, connection: &ConnectionInfo) {
        Handler::refused(self, refusal, connection);
    }
}

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the limit and the listener are called in logs.
    pub name: Arc<str>,
    /// Most connections at a time; further ones wait in the listener's backlog.
    pub connections: usize,
    /// HTTP/1.1.
    pub h1: h1::Settings,
    /// HTTP/2.
    pub h2: h2::Settings,
}

impl Settings {
    /// The defaults of `core::limits`, with a name for logs.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            connections: tutti_core::limits::CONNECTIONS,
            h1: h1::Settings::default(),
            h2: h2::Settings::default(),
        }
    }
}

/// What a server did until its drain was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections cut because they were not done when the drain's patience was over.
    pub cut: usize,
}

/// Serves HTTP until drained. Runs on any tokio runtime.
pub async fn serve<H: Handler>(
    listener: Listener,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let _ = (listener, handler, settings, drain);
    Served::default()
}

/// Serves HTTP on this thread until drained. Must run inside a `tokio::runtime::LocalRuntime` or a `tokio::task::LocalSet`;
/// the future is not `Send`.
pub async fn serve_local<H: LocalHandler>(
    listener: Listener,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let _ = (listener, handler, settings, drain);
    Served::default()
}

/// Handles a stream that nobody has read from.
pub trait StreamHandler: 'static {
    /// Serves the stream to its end. Its future is dropped when a drain's patience is over.
    fn handle(&self, stream: Stream, connection: &ConnectionInfo) -> impl Future<Output = ()>;
}

/// Accepts plain streams on this thread until drained, for proxying bytes. Needs what [`serve_local`] needs.
/// Of `settings`, the name and the number of connections count.
pub async fn serve_streams<H: StreamHandler>(
    listener: Listener,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let _ = (listener, handler, settings, drain);
    Served::default()
}
