//! WebSocket over HTTP/2 (RFC 8441), in the form that `lib.rs` describes: a request for it looks as it does over HTTP/1.1, a
//! GET with `Upgrade: websocket` and a key, and is answered with 101; here this becomes the extended CONNECT, and back.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::rt::{Read, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Body;
use crate::stream::Stream;
use crate::{upgrade, websocket};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What runs a WebSocket's bytes, as a task of the connection.
pub(super) type Tunnel = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client's request for a WebSocket, until it is answered.
pub(super) struct Asked {
    key: HeaderValue,
    upgraded: OnUpgrade,
}

impl Asked {
    /// Turns an extended CONNECT into what HTTP/1.1 would have asked. Anything else stays as it is.
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        if *request.method() != Method::CONNECT
            || request.extensions().get::<Protocol>()?.as_str() != "websocket"
        {
            return None;
        }
        let upgraded = hyper::upgrade::on(&mut *request);
        request.extensions_mut().remove::<Protocol>();
        let key = websocket::key();
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        Some(Self { key, upgraded })
    }

    /// Turns the answer into HTTP/2's. What is to run if it is a yes.
    pub(super) fn answer(self, response: &mut Response<Body>) -> Option<Tunnel> {
        let then = upgrade::accepted(response.extensions_mut());
        let proof = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
        match then {
            Some(then) if proof.as_ref() == Some(&websocket::accept(&self.key)) => {
                *response.status_mut() = StatusCode::OK;
                *response.body_mut() = Body::empty();
                response.headers_mut().remove(header::CONTENT_LENGTH);
                Some(Box::pin(async move {
                    if let Ok(upgraded) = self.upgraded.await {
                        then(Stream::upgraded(Socket(upgraded))).await;
                    }
                }))
            }
            // Whoever answers 200 has not understood, and to the client it would be a yes.
            then if then.is_some() || response.status().is_success() => {
                *response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                None
            }
            _ => None,
        }
    }
}

/// A request of ours for a WebSocket, until it is answered.
pub(super) struct Asking(HeaderValue);

impl Asking {
    /// Turns what HTTP/1.1 would ask into an extended CONNECT; the target and the other fields are left to the caller. Anything
    /// else stays as it is.
    pub(super) fn of(request: &mut Request<Body>) -> Option<Self> {
        if *request.method() != Method::GET || !is_websocket(request.headers()) {
            return None;
        }
        let key = request.headers_mut().remove(header::SEC_WEBSOCKET_KEY)?;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        *request.method_mut() = Method::CONNECT;
        Some(Self(key))
    }

    /// Turns the answer into HTTP/1.1's.
    pub(super) async fn answered(
        self,
        response: &mut Response<Incoming>,
    ) -> Result<Option<Stream>, hyper::Error> {
        if !response.status().is_success() {
            return Ok(None);
        }
        let upgraded = hyper::upgrade::on(&mut *response).await?;
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, websocket::accept(&self.0));
        Ok(Some(Stream::upgraded(Socket(upgraded))))
    }
}

/// Whether a request wants a WebSocket and nothing else.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A stream of HTTP/2 as bytes both ways.
pub(crate) struct Socket(Upgraded);

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut room = hyper::rt::ReadBuf::new(buf.initialize_unfilled());
        ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, room.unfilled()))?;
        let filled = room.filled().len();
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
