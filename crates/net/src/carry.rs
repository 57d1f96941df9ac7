//! How the connections to services begin: with a header of the PROXY protocol, with TLS, with both in this order. Who knows how is a
//! [`Carriage`]; who only wants to connect as requests do, as health checks, asks it.

use std::future::Future;
use std::io;
use std::pin::Pin;

use crate::stream::Stream;
use crate::tls::client::ServerHandshakeError;

/// What a connection will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes.
    Bytes,
    /// Bytes that are not to be encrypted: the client has done so.
    Sealed,
}

/// Why a connection that was accepted did not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The header of the PROXY protocol could not be sent.
    #[error("the header of the PROXY protocol could not be sent")]
    Header(#[source] io::Error),
    /// There is no TLS.
    #[error("no secure connection")]
    Tls(#[source] ServerHandshakeError),
    /// HTTP/2 is asked for, and the service did not agree on it.
    #[error("no secure connection: the service does not speak HTTP/2 over TLS (ALPN)")]
    NoHttp2,
}

impl BeginError {
    /// Whether it is TLS that failed.
    pub fn is_tls(&self) -> bool {
        !matches!(self, BeginError::Header(_))
    }
}

/// A connection that has begun.
#[derive(Debug)]
pub struct Begun {
    /// What is sent from now on.
    pub stream: Stream,
    /// The name that the service was asked for by, if over TLS.
    pub server_name: Option<String>,
}

/// A connection that begins.
pub type Beginning<'a> = Pin<Box<dyn Future<Output = Result<Begun, BeginError>> + Send + 'a>>;

/// Knows how connections to services begin. What it makes is nobody's but its caller's: for no client, and not kept.
pub trait Carriage: Send + Sync + 'static {
    /// Begins a connection for a health check of a service, which was just made.
    fn check<'a>(&'a self, service: &'a str, stream: Stream, carries: Carries) -> Beginning<'a>;
}
