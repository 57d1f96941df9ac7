//! What comes before a connection's first byte of HTTP: the PROXY protocol, TLS, and the choice to pass TLS on unopened.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tutti_core::limits;

use crate::proxy_protocol::{self, Header, Told};
use crate::server::{ConnectionInfo, Protocol};
use crate::stream::{Addr, Stream};
use crate::tls::hello::{self, Hello};
use crate::tls::{self, server::HandshakeError};

/// The proxies in front that tell who the client is, by the PROXY protocol.
pub struct Proxies {
    /// Says of an address whether it is one of theirs. Nobody else is believed.
    pub are: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Whether their connections must begin with a header, and others are closed. If not, their connections may begin with
    /// one, and those of others are taken as they come: a header from them is what it looks like in the protocol that is
    /// spoken, malformed.
    pub required: bool,
}

/// What the PROXY protocol has said of a connection.
#[derive(Clone, Debug)]
pub struct Proxied {
    /// The proxy that has connected.
    pub by: Addr,
    /// What the client had connected to.
    pub to: std::net::SocketAddr,
    /// What else it has said.
    pub told: Option<Box<Told>>,
}

impl Proxied {
    /// Whether the client spoke TLS to the proxy.
    pub fn tls(&self) -> bool {
        self.told.as_ref().and_then(|told| told.tls.as_ref()).is_some_and(|tls| tls.spoken)
    }
}

/// Says for the first message of a client by which route its connection is passed on; `None`: it is not.
pub type Passing = Box<dyn Fn(&Hello) -> Option<Arc<str>> + Send + Sync>;

/// A connection of TLS that is passed on as it is.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The route's name.
    pub route: Arc<str>,
    /// The name that the client asks for.
    pub sni: Option<Arc<str>>,
}

/// How the connections of a listener are carried.
#[derive(Default)]
pub struct Transport {
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxies: Option<Proxies>,
    /// Which connections are not opened but passed on, by what the client asks for. Without TLS of our own, others are refused.
    pub passthrough: Option<Passing>,
    /// TLS.
    pub tls: Option<Arc<tls::Server>>,
    /// Over HTTP/3: whether each client has to show that its address is its own before its handshake. Otherwise only while many are
    /// under way.
    pub validate: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Why a connection did not come as far as its first request.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A proxy in front did not say whom it speaks for.
    #[error("a proxy in front did not begin with its header")]
    ProxyHeader(#[source] HeaderError),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] HandshakeError),
    /// Plain HTTP was spoken where TLS is.
    #[error("plain HTTP was spoken at a port of HTTPS")]
    PlainHttp,
    /// No route is for the name that the client asks for, or it does not speak TLS.
    #[error("no route is for the name that the client asks for")]
    NoRoute,
    /// The client closed before it said anything.
    #[error("the client said nothing")]
    Silent,
}

/// Why there is no header of the PROXY protocol.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It is not one.
    #[error(transparent)]
    Malformed(#[from] proxy_protocol::Malformed),
    /// Only the proxies in front may connect.
    #[error("it comes from none of the proxies that may connect")]
    Stranger,
    /// It did not come.
    #[error("it did not come whole within {:?}", limits::PROXY_HEADER_TIMEOUT)]
    Missing,
}

impl HeaderError {
    /// What is wrong, in fixed words.
    pub fn reason(&self) -> &'static str {
        match self {
            HeaderError::Malformed(malformed) => malformed.0,
            HeaderError::Stranger => "the connection comes from none of the proxies that may connect",
            HeaderError::Missing => "the PROXY header did not come whole in time",
        }
    }

    /// One word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            HeaderError::Malformed(_) => "malformed",
            HeaderError::Stranger => "stranger",
            HeaderError::Missing => "missing",
        }
    }
}

impl Failure {
    /// One word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Failure::ProxyHeader(_) => "proxy_header",
            Failure::Handshake(error) => error.as_str(),
            Failure::PlainHttp => "plain_http",
            Failure::NoRoute => "no_route",
            Failure::Silent => "silent",
        }
    }
}

/// The first byte of a TLS record that holds a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

impl Transport {
    /// Begins a connection: what comes back is as the client and we have agreed. A stream that comes back with a failure is
    /// open until the failure has been told of; with [`Failure::PlainHttp`], it is one to tell it to.
    pub(crate) async fn begin(
        &self,
        mut stream: Stream,
        mut info: ConnectionInfo,
    ) -> Result<(Stream, ConnectionInfo), (Failure, ConnectionInfo, Option<Stream>)> {
        if let Some(proxies) = &self.proxies {
            match proxies.header(&mut stream, &info).await {
                Ok(Some(Header::For { from, to, told })) => {
                    let by = std::mem::replace(&mut info.peer, Addr::Tcp(canonical(from)));
                    info.proxied = Some(Arc::new(Proxied { by, to: canonical(to), told }));
                }
                Ok(Some(Header::Own) | None) => {}
                Err(error) => return Err((Failure::ProxyHeader(error), info, Some(stream))),
            }
        }
        if self.tls.is_none() && self.passthrough.is_none() {
            return Ok((stream, info));
        }
        let first = timeout(limits::TLS_HANDSHAKE_TIMEOUT, stream.peek(1)).await;
        match first.ok().and_then(Result::ok).and_then(<[u8]>::first) {
            None => return Err((Failure::Silent, info, None)),
            Some(first) if self.tls.is_some() && *first != HANDSHAKE && first.is_ascii_uppercase() => {
                return Err((Failure::PlainHttp, info, Some(stream)));
            }
            Some(_) => {}
        }
        if let Some(passing) = &self.passthrough {
            let asked = timeout(limits::TLS_HANDSHAKE_TIMEOUT, hello(&mut stream)).await;
            let hello = asked.ok().flatten();
            if let Some(route) = hello.as_ref().and_then(passing) {
                let sni = hello.and_then(|hello| hello.sni).map(Arc::from);
                info.passed = Some(Arc::new(Passed { route, sni }));
                return Ok((stream, info));
            }
            if self.tls.is_none() {
                return Err((Failure::NoRoute, info, Some(stream)));
            }
        }
        let Some(server) = &self.tls else { return Ok((stream, info)) };
        match server.accept(stream).await {
            Ok((stream, told)) => {
                info.protocol = if told.h2 { Protocol::Http2 } else { Protocol::Http1 };
                info.tls = Some(Arc::new(told));
                Ok((stream, info))
            }
            Err(error) => Err((Failure::Handshake(error), info, None)),
        }
    }
}

impl Proxies {
    /// The header with which the connection begins, if it is from a proxy and does.
    async fn header(
        &self,
        stream: &mut Stream,
        info: &ConnectionInfo,
    ) -> Result<Option<Header>, HeaderError> {
        let peer = info.peer.socket_addr();
        if !peer.is_some_and(|peer| (self.are)(peer.ip().to_canonical())) {
            return if self.required { Err(HeaderError::Stranger) } else { Ok(None) };
        }
        let read = timeout(limits::PROXY_HEADER_TIMEOUT, proxy_header(stream, self.required)).await;
        match read {
            Ok(header) => header,
            // A client that waits for the server to speak first has no header to send.
            Err(_) if !self.required && stream.is_untouched() => Ok(None),
            Err(_) => Err(HeaderError::Missing),
        }
    }
}

fn canonical(addr: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Reads a header of the PROXY protocol off the stream; `None` if it begins with something else and may.
async fn proxy_header(stream: &mut Stream, required: bool) -> Result<Option<Header>, HeaderError> {
    let mut want = 1;
    loop {
        let seen = stream.peek(want).await.map_err(|_| HeaderError::Missing)?;
        let length = seen.len();
        if !required && !proxy_protocol::may_begin(seen) {
            return Ok(None);
        }
        if let Some((header, taken)) = proxy_protocol::read(seen)? {
            stream.skip(taken);
            return Ok(Some(header));
        }
        if length < want {
            return Err(HeaderError::Missing);
        }
        want = length + 1;
    }
}

/// The first message of a client, without taking anything off the stream. `None` also for what is malformed: whoever ends TLS
/// has its own words for that.
async fn hello(stream: &mut Stream) -> Option<Hello> {
    let mut want = 1;
    loop {
        let seen = stream.peek(want).await.ok()?;
        let length = seen.len();
        match hello::read(seen) {
            Ok(Some(hello)) => return Some(hello),
            Ok(None) if length >= want => want = length + 1,
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Tells a client in the words of TLS that nobody here has the name that it asks for (RFC 6066 section 3).
pub(crate) async fn refuse_name(mut stream: Stream) {
    const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    let farewell = async {
        stream.write_all(&UNRECOGNIZED_NAME).await?;
        stream.shutdown().await
    };
    // Whoever does not want to hear it need not.
    let _ = timeout(limits::HTTP_LINGER_TIME, farewell).await;
}

/// Tells a client in its own words, and lets it read them.
pub(crate) async fn refuse_plain(mut stream: Stream) {
    const TEXT: &str = "This port speaks HTTPS. Ask again with https:// instead of http://.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut left = limits::HTTP_LINGER_BYTES;
        loop {
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await?;
            left = left.saturating_sub(read);
            if read == 0 || left == 0 {
                return io::Result::Ok(());
            }
        }
    };
    // Whoever does not want to hear it need not.
    let _ = timeout(limits::HTTP_LINGER_TIME, farewell).await;
}
