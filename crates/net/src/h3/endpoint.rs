//! The UDP socket, and the loop that accepts connections.
//!
//! One socket and one thread serve all connections of a listener: QUIC tells connections apart by what is in their packets, which
//! the system, that shares packets among sockets by address, does not know.

use std::cell::Cell;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, EndpointConfig, Incoming, Runtime, TransportConfig, UdpPoller};
use socket2::{Domain, Protocol as Transfer, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tutti_core::limits;

use super::{Code, connection};
use crate::drain::DrainSignal;
use crate::server::{Admission, ConnectionInfo, LocalHandler, Protocol, Served, Settings, Shared};
use crate::stream::Addr;
use crate::tls::server::HandshakeError;
use crate::tls::{self, TlsInfo};
use crate::transport::Failure;

/// A bound UDP socket that is not served yet.
#[derive(Debug)]
pub struct Endpoint {
    socket: std::net::UdpSocket,
    local: SocketAddr,
    /// Declared last, so that it goes after the socket.
    guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Endpoint {
    /// Binds; port 0 takes a free one. `[::]` takes IPv4 too, as it does over TCP.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Transfer::UDP))?;
        if let SocketAddr::V6(v6) = addr {
            socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
        }
        socket.set_nonblocking(true)?;
        // A burst waits here while the one thread is at something else; the system may allow less.
        let _ = socket.set_recv_buffer_size(limits::QUIC_SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(limits::QUIC_SOCKET_BUFFER);
        socket.bind(&addr.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let local = socket.local_addr()?;
        Ok(Self { socket, local, guard: None })
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn open(self) -> io::Result<quinn::Endpoint> {
        let runtime = Arc::new(quinn::TokioRuntime);
        let socket = Arc::new(Guarded { socket: runtime.wrap_udp_socket(self.socket)?, _guard: self.guard });
        // The key for resets is drawn anew in each process: connections do not outlive it.
        quinn::Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)
    }

    /// Drops `guard` when the socket is closed: whoever holds its other end learns that the address is free.
    #[must_use]
    pub fn guarded(mut self, guard: impl std::any::Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

/// An address of a peer, as the listeners of TCP show it.
pub(super) fn addr(addr: SocketAddr) -> Addr {
    Addr::Tcp(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

/// Serves HTTP/3 on this thread until drained. Needs what [`crate::serve_local`] needs. How a connection is carried is asked of
/// the handler; without TLS that is set up for it ([`tls::server::Options::http3`]) connections are refused.
///
/// A drain takes no connection any more, tells those that there are, and closes the socket when they are done.
pub async fn serve_local<H: LocalHandler>(
    endpoint: Endpoint,
    handler: Arc<H>,
    settings: Settings,
    drain: DrainSignal,
) -> Served {
    let local = endpoint.local;
    let made = match endpoint.open() {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(%error, listener = %settings.name, "HTTP/3 cannot be served");
            return Served::default();
        }
    };
    let shared = Arc::new(Shared { handler, settings, drain });
    let mut accepting = Accepting {
        local: addr(local),
        carrier: Carrier::new(&shared.settings),
        handshakes: Rc::default(),
        shared,
        tasks: JoinSet::new(),
        served: Served::default(),
    };
    accepting.run(&made).await;
    accepting.finish(&made).await
}

/// A socket that tells when it is closed: connections hold it until they have sent and heard their last.
#[derive(Debug)]
struct Guarded {
    socket: Arc<dyn AsyncUdpSocket>,
    _guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl AsyncUdpSocket for Guarded {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

struct Accepting<H> {
    shared: Arc<Shared<H>>,
    local: Addr,
    carrier: Carrier,
    /// How many are under way.
    handshakes: Rc<Cell<usize>>,
    tasks: JoinSet<()>,
    served: Served,
}

/// A handshake under way.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl<H: LocalHandler> Accepting<H> {
    async fn run(&mut self, endpoint: &quinn::Endpoint) {
        // Without a configuration the library throws first packets away; each connection gets its own below.
        endpoint.set_server_config(self.carrier.plain.clone());
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain.draining() => return,
                Some(end) = self.tasks.join_next() => ended(end),
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.accept(incoming),
                    None => return,
                },
            }
        }
    }

    /// Waits for the connections, at most as long as the drain allows.
    async fn finish(&mut self, endpoint: &quinn::Endpoint) -> Served {
        loop {
            tokio::select! {
                biased;
                end = self.tasks.join_next() => match end {
                    Some(end) => ended(end),
                    None => break,
                },
                () = self.shared.drain.cut() => {
                    self.served.cut = self.tasks.len();
                    self.tasks.shutdown().await;
                    break;
                }
                // Told so, they go to another address, or over TCP, at once.
                Some(incoming) = endpoint.accept() => incoming.refuse(),
            }
        }
        endpoint.close(Code::NoError.wire(), b"");
        // So that the clients hear of it.
        let _ = timeout(limits::QUIC_FAREWELL, endpoint.wait_idle()).await;
        self.served
    }

    fn accept(&mut self, incoming: Incoming) {
        let settings = &self.shared.settings;
        let under_way = self.handshakes.get();
        if under_way >= settings.h3.handshakes || self.tasks.len() >= settings.connections {
            return incoming.refuse();
        }
        let transport = self.shared.handler.transport();
        let unvalidated = match &transport {
            Some(transport) if transport.validate => 0,
            _ => settings.h3.unvalidated,
        };
        if under_way >= unvalidated && !incoming.remote_address_validated() {
            // RFC 9000 section 8.1.2. One that cannot be asked to come again is not served.
            return incoming.retry().unwrap_or_else(|error| error.into_incoming().refuse());
        }
        let tls = transport.and_then(|transport| transport.tls.clone());
        let Some((tls, config)) = tls.and_then(|tls| Some((Arc::clone(&tls), self.carrier.config(&tls)?)))
        else {
            return incoming.refuse();
        };
        let peer = addr(incoming.remote_address());
        let Ok(connecting) = incoming.accept_with(config) else { return };
        let info = ConnectionInfo {
            peer,
            local: self.local.clone(),
            protocol: Protocol::Http3,
            serial: crate::accept::serial(),
            tls: None,
            proxied: None,
            passed: None,
        };
        self.served.accepted += 1;
        let (shared, begun) = (Arc::clone(&self.shared), UnderWay::begin(&self.handshakes));
        self.tasks.spawn_local(async move {
            let made = timeout(limits::TLS_HANDSHAKE_TIMEOUT, connecting).await;
            drop(begun);
            serve(&shared, &tls, made, info).await;
        });
    }
}

/// Serves what a handshake has come to.
async fn serve<H: LocalHandler>(
    shared: &Arc<Shared<H>>,
    tls: &tls::Server,
    made: Result<Result<quinn::Connection, quinn::ConnectionError>, tokio::time::error::Elapsed>,
    mut info: ConnectionInfo,
) {
    let failed = match made {
        Ok(Ok(quic)) => {
            info.peer = addr(quic.remote_address());
            info.tls = Some(Arc::new(told(tls, &quic)));
            // Asked now, and not before: until the handshake is done, the address may be another's.
            let counted = match shared.handler.admit(&info) {
                Admission::Free => None,
                Admission::Counted(place) => Some(place),
                Admission::Refused => return quic.close(Code::ExcessiveLoad.wire(), b"too many connections"),
            };
            shared.handler.begun(&info, Ok(()));
            connection::serve(quic, shared, info).await;
            return drop(counted);
        }
        Ok(Err(error)) => HandshakeError::Failed(io::Error::other(error)),
        Err(_) => HandshakeError::Timeout(limits::TLS_HANDSHAKE_TIMEOUT),
    };
    shared.handler.begun(&info, Err(&Failure::Handshake(failed)));
}

/// What a handshake has agreed on, as far as the library tells: neither the suite nor whether it was resumed.
fn told(tls: &tls::Server, quic: &quinn::Connection) -> TlsInfo {
    let data =
        quic.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let chain = quic.peer_identity().and_then(|identity| identity.downcast().ok());
    tls.told(data.and_then(|data| data.server_name), chain.as_deref())
}

/// What connections are set up with.
struct Carrier {
    /// What the endpoint has: for its limits, and for tokens of validated addresses, which are good for all connections. No
    /// connection is made with it.
    plain: Option<quinn::ServerConfig>,
    /// What was made last, and for whom.
    last: Option<(Arc<tls::Server>, Arc<quinn::ServerConfig>)>,
}

impl Carrier {
    fn new(settings: &Settings) -> Self {
        let (h2, h3) = (&settings.h2, &settings.h3);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(h2.streams.into())
            .max_concurrent_uni_streams(limits::QUIC_UNI_STREAMS.into())
            .stream_receive_window(h2.stream_window.into())
            .receive_window(h2.connection_window.into())
            .send_window(u64::from(h2.connection_window))
            .keep_alive_interval(Some(h3.keep_alive))
            .max_idle_timeout(quinn::IdleTimeout::try_from(h3.silence).ok())
            .datagram_receive_buffer_size(None);
        let plain = tls::server::no_certificate().map(|crypto| {
            let mut config = quinn::ServerConfig::with_crypto(crypto);
            config
                .transport_config(Arc::new(transport))
                .max_incoming(limits::QUIC_INCOMING)
                .incoming_buffer_size(limits::QUIC_INCOMING_BYTES)
                .incoming_buffer_size_total(limits::QUIC_INCOMING_BYTES_TOTAL);
            config
        });
        Self { plain, last: None }
    }

    /// What a connection gets; `None` without TLS for it.
    fn config(&mut self, tls: &Arc<tls::Server>) -> Option<Arc<quinn::ServerConfig>> {
        if let Some((of, made)) = &self.last
            && Arc::ptr_eq(of, tls)
        {
            return Some(Arc::clone(made));
        }
        let mut made = self.plain.clone()?;
        made.crypto = tls.quic()?;
        let made = Arc::new(made);
        self.last = Some((Arc::clone(tls), Arc::clone(&made)));
        Some(made)
    }
}

fn ended(end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end
        && error.is_panic()
    {
        tracing::error!(%error, "the task of an HTTP/3 connection panicked");
    }
}
