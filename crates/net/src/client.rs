//! One request over a connection of its own, with the whole answer in memory: for health checks and the command line.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response};

use crate::body::Body;
use crate::error::{BodyError, ConnectError, SendCause, SendError, Stage};
use crate::stream::{Addr, Stream};
use crate::{h1, h2, tls};

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
    /// No secure connection.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
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
    let made = Request::get(path).header(header::HOST, host).body(Body::empty());
    let made = made.map_err(|_| unfit("the host or the path is malformed"))?;
    request(addr, made, limits).await
}

/// Sends a request over HTTP/1.1. A missing `Host` is filled in from the address.
pub async fn request(
    addr: &Addr,
    mut request: Request<Body>,
    limits: Limits,
) -> Result<Response<Bytes>, ClientError> {
    fill_in_host(&mut request, addr);
    exchange(addr, None, request, limits).await
}

/// The same over TLS; the connection's name is the one that `tls` was made for.
pub async fn request_tls(
    addr: &Addr,
    tls: &tls::Client,
    mut request: Request<Body>,
    limits: Limits,
) -> Result<Response<Bytes>, ClientError> {
    fill_in_host(&mut request, addr);
    exchange(addr, Some(tls), request, limits).await
}

async fn exchange(
    addr: &Addr,
    tls: Option<&tls::Client>,
    request: Request<Body>,
    limits: Limits,
) -> Result<Response<Bytes>, ClientError> {
    let exchange = async {
        let mut stream = Stream::connect(addr, limits.timeout).await?;
        if let Some(tls) = tls {
            (stream, _) = tls.connect(stream).await.map_err(ClientError::Tls)?;
        }
        let home = Weak::<h1::client::Nowhere>::new();
        let connection = h1::client::Connection::new(stream, &h1::Settings::default(), home);
        let (parts, body) = connection.send(request).await?.into_parts();
        let (body, _trailers) = body.collect(limits.body_bytes).await?;
        Ok(Response::from_parts(parts, body))
    };
    tokio::time::timeout(limits.timeout, exchange).await.map_err(|_| ClientError::Timeout(limits.timeout))?
}

/// Sends a request over HTTP/2 with prior knowledge; the answer comes with its trailers. For gRPC health checks.
pub async fn request_h2(
    addr: &Addr,
    mut request: Request<Body>,
    limits: Limits,
) -> Result<(Response<Bytes>, Option<HeaderMap>), ClientError> {
    fill_in_host(&mut request, addr);
    let connected = async {
        let stream = Stream::connect(addr, limits.timeout).await?;
        exchange_h2(stream, request, limits).await
    };
    tokio::time::timeout(limits.timeout, connected).await.map_err(|_| ClientError::Timeout(limits.timeout))?
}

/// The same on a connection that was made and has begun. The request has its `Host`.
pub async fn exchange_h2(
    stream: Stream,
    request: Request<Body>,
    limits: Limits,
) -> Result<(Response<Bytes>, Option<HeaderMap>), ClientError> {
    let exchange = async {
        let (mut connection, driver) = h2::client::handshake(stream, &h2::Settings::default()).await?;
        let whole = async {
            let (parts, body) = connection.send(request).await?.into_parts();
            let (body, trailers) = body.collect(limits.body_bytes).await?;
            Ok::<_, ClientError>((Response::from_parts(parts, body), trailers))
        };
        h2::client::driven(driver, whole).await
    };
    tokio::time::timeout(limits.timeout, exchange).await.map_err(|_| ClientError::Timeout(limits.timeout))?
}

fn fill_in_host(request: &mut Request<Body>, addr: &Addr) {
    if !request.headers().contains_key(header::HOST) {
        let host = addr.socket_addr().map_or("localhost".to_owned(), |addr| addr.to_string());
        if let Ok(host) = HeaderValue::try_from(host) {
            request.headers_mut().insert(header::HOST, host);
        }
    }
}

fn unfit(reason: &'static str) -> ClientError {
    SendError { stage: Stage::NothingSent, cause: SendCause::Request(reason), request: None }.into()
}

#[cfg(test)]
mod tests;
