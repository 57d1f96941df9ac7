//! The accept loops: from a listener to handled requests, or to handled streams.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) share a port: the client's first bytes tell them apart.
//!
//! Two kinds of handler. A [`LocalHandler`] stays on its thread, so its state needs no locks: the data plane runs one
//! per core, on a `tokio::runtime::LocalRuntime` each. A [`Handler`] may move between threads and runs on any runtime.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::accept::{self, Limit};
use crate::body::Body;
use crate::drain::DrainSignal;
use crate::listen::Listener;
use crate::lodge::lodge;
use crate::pace::MinRate;
use crate::stream::{Addr, Stream};
use crate::tls::TlsInfo;
use crate::transport::{self, Failure, Passed, Proxied, Transport};
use crate::{h1, h2, h3};
use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;

/// The HTTP version in use on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// What is known of the connection that a request came on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Who sent it; over HTTP/3 the address in use when the request came. An IPv4 peer of a dual-stack listener is shown as IPv4.
    pub peer: Addr,
    /// Where it was accepted.
    pub local: Addr,
    /// What is spoken.
    pub protocol: Protocol,
    /// A number for logs, unique in the process.
    pub serial: u64,
    /// What the TLS handshake has agreed on; `None` without TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// What the PROXY protocol has said of it; `peer` is the client then, and not the proxy. `None` without.
    pub proxied: Option<Arc<Proxied>>,
    /// By which route a connection of TLS is passed on as it is; see [`Transport::passthrough`].
    pub passed: Option<Arc<Passed>>,
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

    /// How a connection that has just been accepted is carried; `None`: plainly. Asked for each one.
    fn transport(&self) -> Option<Arc<Transport>> {
        None
    }

    /// Is told how the transport of a connection has begun; without one, nothing.
    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        let _ = (connection, result);
    }

    /// Is told of a connection that was closed because the client flooded it with what carries nothing.
    fn flooded(&self, reason: &'static str, connection: &ConnectionInfo) {
        let _ = (reason, connection);
    }
}

/// Whether a connection may go on.
pub enum Admission {
    /// It may.
    Free,
    /// It may, and has something that is dropped when it ends.
    Counted(Box<dyn std::any::Any + Send>),
    /// It is closed at once.
    Refused,
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

    /// How a connection that has just been accepted is carried; `None`: plainly. Asked for each one.
    fn transport(&self) -> Option<Arc<Transport>> {
        None
    }

    /// Is told how the transport of a connection has begun; without one, nothing.
    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        let _ = (connection, result);
    }

    /// Is told of a connection that was closed because the client flooded it with what carries nothing.
    fn flooded(&self, reason: &'static str, connection: &ConnectionInfo) {
        let _ = (reason, connection);
    }

    /// Whether a connection that has just been accepted may go on. Asked for each one, before anything is read.
    fn admit(&self, connection: &ConnectionInfo) -> Admission {
        let _ = connection;
        Admission::Free
    }

    /// How fast a client must take the body of a response over HTTP/1.1. Asked for each connection.
    fn min_rate(&self) -> Option<MinRate> {
        None
    }

    /// Takes over a stream that does not speak HTTP (see [`Settings::other_after`]), or is passed on unopened (see
    /// [`ConnectionInfo::passed`]).
    fn other(&self, stream: Stream, connection: &ConnectionInfo) -> impl Future<Output = ()> {
        let _ = (stream, connection);
        std::future::ready(())
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

    fn transport(&self) -> Option<Arc<Transport>> {
        Handler::transport(self)
    }

    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        Handler::begun(self, connection, result);
    }

    fn flooded(&self, reason: &'static str, connection: &ConnectionInfo) {
        Handler::flooded(self, reason, connection);
    }
}

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the limit and the listener are called in logs.
    pub name: Arc<str>,
    /// Most connections at a time; further ones wait in the listener's backlog.
    pub connections: usize,
    /// With a time, [`serve_local`] gives a stream to [`LocalHandler::other`] when its first bytes cannot begin an HTTP
    /// request, or when the client has said nothing for so long (it may wait for the server to speak first). `None`:
    /// everything is taken for HTTP.
    pub other_after: Option<Duration>,
    /// HTTP/1.1.
    pub h1: h1::Settings,
    /// HTTP/2.
    pub h2: h2::Settings,
    /// HTTP/3, which is served by a loop of its own: [`h3::serve_local`].
    pub h3: h3::Settings,
}

impl Settings {
    /// The defaults of `core::limits`, with a name for logs.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            connections: tutti_core::limits::CONNECTIONS,
            other_after: None,
            h1: h1::Settings::default(),
            h2: h2::Settings::default(),
            h3: h3::Settings::default(),
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
    let shared = Arc::new(Shared { handler, settings, drain: drain.clone() });
    let limit = Limit::of(&shared.settings);
    accept::run(listener, limit, drain, |set, stream, info| {
        let shared = Arc::clone(&shared);
        set.spawn(async move {
            let Some((stream, info)) = shared.carried(stream, info).await else { return };
            if info.passed.is_some() {
                // Who may run anywhere has nowhere to pass it on to.
                return;
            }
            if let Some((stream, info)) = shared.begin(stream, info).await {
                match info.protocol {
                    Protocol::Http1 => shared.http1(stream, &info).await,
                    _ => h2::server::serve(stream, &shared, info).await,
                }
            }
        });
    })
    .await
}

/// Serves HTTP on this thread until drained. Must run inside a `tokio::runtime::LocalRuntime` or a `tokio::task::LocalSet`;
/// the future is not `Send`.
pub async fn serve_local<H: LocalHandler>(
    listener: Listener,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let shared = Arc::new(Shared { handler, settings, drain: drain.clone() });
    let limit = Limit::of(&shared.settings);
    accept::run(listener, limit, drain, |set, stream, info| {
        let counted = match shared.handler.admit(&info) {
            Admission::Free => None,
            Admission::Counted(place) => Some(place),
            Admission::Refused => return,
        };
        let shared = Arc::clone(&shared);
        set.spawn_local(async move {
            let _counted = counted;
            let Some((mut stream, info)) = shared.carried(stream, info).await else { return };
            let Some(_client) = client(&info, |info| shared.handler.admit(info)) else { return };
            if info.passed.is_some() {
                // In a box: most connections speak HTTP.
                return lodge(|| shared.handler.other(stream, &info)).await;
            }
            if let Some(after) = shared.settings.other_after {
                if stream.flush().await.is_err() {
                    return;
                }
                let speaks = tokio::select! {
                    speaks = tokio::time::timeout(after, speaks_http(&mut stream)) => speaks.unwrap_or(false),
                    () = shared.drain.idle_over() => return,
                };
                if !speaks {
                    // In a box: most connections speak HTTP.
                    return lodge(|| shared.handler.other(stream, &info)).await;
                }
            }
            if let Some((stream, info)) = shared.begin(stream, info).await {
                match info.protocol {
                    Protocol::Http1 => shared.http1(stream, &info).await,
                    // In a box, or a connection of HTTP/1.1 would take the room of one of HTTP/2.
                    _ => Box::pin(h2::server::serve_local(stream, &shared, info)).await,
                }
            }
        });
    })
    .await
}

/// Handles a stream that nobody has read from.
pub trait StreamHandler: 'static {
    /// Serves the stream to its end. Its future is dropped when a drain's patience is over.
    fn handle(&self, stream: Stream, connection: &ConnectionInfo) -> impl Future<Output = ()>;

    /// How a connection that has just been accepted is carried; `None`: plainly. Asked for each one.
    fn transport(&self) -> Option<Arc<Transport>> {
        None
    }

    /// Is told how the transport of a connection has begun; without one, nothing.
    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        let _ = (connection, result);
    }

    /// Whether a connection that has just been accepted may go on. Asked for each one, before anything is read.
    fn admit(&self, connection: &ConnectionInfo) -> Admission {
        let _ = connection;
        Admission::Free
    }
}

/// Accepts plain streams on this thread until drained, for proxying bytes. Needs what [`serve_local`] needs.
/// Of `settings`, the name and the number of connections count.
pub async fn serve_streams<H: StreamHandler>(
    listener: Listener,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let draining = drain.clone();
    accept::run(listener, Limit::of(&settings), drain, |set, stream, info| {
        let counted = match handler.admit(&info) {
            Admission::Free => None,
            Admission::Counted(place) => Some(place),
            Admission::Refused => return,
        };
        let handler = Arc::clone(&handler);
        let drain = draining.clone();
        set.spawn_local(async move {
            let _counted = counted;
            let begun = match handler.transport() {
                None => Some((stream, info)),
                Some(transport) => {
                    let told =
                        |info: &ConnectionInfo, result: Result<(), &Failure>| handler.begun(info, result);
                    lodge(|| begin(&transport, stream, info, &drain, told)).await
                }
            };
            if let Some((mut stream, info)) = begun {
                // Nobody knows which side speaks first: the end of a handshake must not wait for what comes next.
                if stream.flush().await.is_err() {
                    return;
                }
                let Some(_client) = client(&info, |info| handler.admit(info)) else { return };
                handler.handle(stream, &info).await;
            }
        });
    })
    .await
}

/// Counts the connection of a client whom a proxy in front has told of: it was the proxy's when it was accepted.
fn client(info: &ConnectionInfo, admit: impl Fn(&ConnectionInfo) -> Admission) -> Option<Admission> {
    if info.proxied.is_none() {
        return Some(Admission::Free);
    }
    Some(admit(info)).filter(|admission| !matches!(admission, Admission::Refused))
}

/// What all connections of a server share.
pub(crate) struct Shared<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) settings: Settings,
    pub(crate) drain: DrainSignal,
}

impl<H: LocalHandler> Shared<H> {
    /// Begins the transport, if there is one. `None` if that fails.
    async fn carried(&self, stream: Stream, info: ConnectionInfo) -> Option<(Stream, ConnectionInfo)> {
        let Some(transport) = self.handler.transport() else { return Some((stream, info)) };
        let told = |info: &ConnectionInfo, result: Result<(), &Failure>| self.handler.begun(info, result);
        // In a box, or every connection would be as large as its handshake was.
        lodge(|| begin(&transport, stream, info, &self.drain, told)).await
    }

    /// Finds out what the client speaks. `None` if it says nothing.
    async fn begin(&self, mut stream: Stream, mut info: ConnectionInfo) -> Option<(Stream, ConnectionInfo)> {
        if info.tls.is_some() {
            // The handshake has settled it (RFC 9113 section 3.3).
            return Some((stream, info));
        }
        let protocol = tokio::select! {
            protocol = tokio::time::timeout(self.settings.h1.head_timeout, detect(&mut stream)) => protocol.ok()?,
            () = self.drain.idle_over() => return None,
        };
        info.protocol = protocol?;
        Some((stream, info))
    }

    async fn http1(&self, stream: Stream, info: &ConnectionInfo) {
        h1::server::serve(stream, &*self.handler, info, &self.settings.h1, &self.drain).await;
    }
}

/// Begins a transport, unless a drain does first. `None` if it fails.
async fn begin(
    transport: &Transport,
    stream: Stream,
    info: ConnectionInfo,
    drain: &DrainSignal,
    told: impl Fn(&ConnectionInfo, Result<(), &Failure>),
) -> Option<(Stream, ConnectionInfo)> {
    let begun = tokio::select! {
        begun = transport.begin(stream, info) => begun,
        () = drain.idle_over() => return None,
    };
    match begun {
        Ok((stream, info)) => {
            told(&info, Ok(()));
            Some((stream, info))
        }
        Err((failure, info, stream)) => {
            told(&info, Err(&failure));
            match (&failure, stream) {
                (Failure::PlainHttp, Some(stream)) => transport::refuse_plain(stream).await,
                (Failure::NoRoute, Some(stream)) => transport::refuse_name(stream).await,
                _ => {}
            }
            None
        }
    }
}

/// Tells HTTP/2 by its preface (RFC 9113 section 3.4); whatever differs from it at the first byte where it does is left to HTTP/1.1,
/// which has its own opinion on it. `None` if the client closes first.
async fn detect(stream: &mut Stream) -> Option<Protocol> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut want = 1;
    loop {
        let start = stream.peek(want).await.ok()?;
        if start.is_empty() {
            return None;
        }
        let same = start.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
        if same == PREFACE.len() {
            return Some(Protocol::Http2);
        }
        if same < start.len() || start.len() < want {
            return Some(Protocol::Http1);
        }
        want = same + 1;
    }
}

/// Whether a stream begins as an HTTP request does: a method in capitals, a blank, and `/`, `*` or a URI. Looks no
/// further than that takes.
async fn speaks_http(stream: &mut Stream) -> bool {
    const LONGEST_METHOD: usize = 20;
    let mut want = 1;
    while want <= LONGEST_METHOD + 2 {
        let Ok(start) = stream.peek(want).await else { return false };
        let method = start.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
        match (start.get(method), start.get(method + 1)) {
            (Some(b' '), Some(target)) => {
                return method > 0
                    && (target.is_ascii_alphanumeric() && start.starts_with(b"CONNECT")
                        || b"/*h".contains(target));
            }
            (Some(b' '), None) | (None, _) if start.len() >= want => want = start.len() + 1,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests;
