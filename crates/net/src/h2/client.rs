//! A connection to an HTTP/2 server, shared by many requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::ext::Protocol;
use tokio::sync::watch;
use tutti_core::{Origin, limits};

use super::Settings;
use super::drive::{self, Running};
use super::flood::Side;
use super::io::{HyperStream, Seen, TokioTimer};
use super::websocket::Asking;
use crate::body::Body;
use crate::error::{SendCause, SendError, Stage};
use crate::form::{has_blank_ends, strip_connection_fields};
use crate::stream::Stream;
use crate::upgrade;

/// Sends requests on a connection. Cheap to clone; the connection ends when the last clone and the last response are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Body>,
    /// Whether the server takes WebSockets, once it has said so or not.
    sockets: watch::Receiver<Option<bool>>,
    seen: Arc<Seen>,
    /// What requests name as theirs, which some servers compare with how the connection came (RFC 9113 section 8.3.1).
    scheme: Scheme,
}

/// What moves the connection's bytes: spawn it on a task that you own, and it ends with the connection.
/// The requests' bodies run as tasks that it owns.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for what is asked on a connection that is made for it alone, and drives the connection meanwhile.
pub async fn driven<T>(driver: Driver, asked: impl Future<Output = T>) -> T {
    let over = async {
        driver.await;
        // The connection is over; the answer, or the lack of one, is about to be seen.
        std::future::pending().await
    };
    tokio::select! {
        answer = asked => answer,
        never = over => never,
    }
}

/// Begins HTTP/2 on a fresh stream.
pub async fn handshake(stream: Stream, settings: &Settings) -> Result<(Connection, Driver), SendError> {
    let running = Running::default();
    let scheme = if stream.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let (stream, seen) = HyperStream::new(stream, Side::Client);
    let (requests, connection) = Builder::new(running.clone())
        .timer(TokioTimer)
        .max_header_list_size(settings.header_list_bytes)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::HTTP2_ERROR_RESETS)
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout)
        .keep_alive_while_idle(true)
        .max_send_buf_size(limits::HTTP2_SEND_BUFFER)
        .handshake(stream)
        .await
        .map_err(|error| failed(Stage::NothingSent, SendCause::Http2(error)))?;
    let (told, sockets) = watch::channel(None);
    let watched = Arc::clone(&seen);
    let driver = async move {
        if let Err(error) = drive::drive(connection, running, &watched, told).await {
            match watched.flood.get() {
                Some(flood) => tracing::warn!("a connection to a service was closed: {}", flood.reason()),
                None => tracing::debug!(%error, "an HTTP/2 connection ended"),
            }
        }
    };
    Ok((Connection { requests, sockets, seen, scheme }, Box::pin(driver)))
}

impl Connection {
    /// Whether new requests can be sent: the peer has neither closed nor sent GOAWAY.
    pub fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    /// How many requests at a time the server takes on this connection (RFC 9113 section 5.1.2), as far as it has said so. It may say so
    /// anew at any time.
    pub fn streams(&self) -> usize {
        usize::try_from(self.seen.streams()).unwrap_or(usize::MAX)
    }

    /// Whether the server takes WebSockets on this connection (RFC 8441 section 3). Waits until it has said what it can do.
    pub async fn takes_websockets(&mut self) -> bool {
        let told = self.sockets.wait_for(Option::is_some).await;
        told.is_ok_and(|told| *told == Some(true))
    }

    /// Sends a request and waits for the head of its response. Waits for a free stream when the peer's limit is reached, and fails at
    /// once when that is zero.
    /// CONNECT is not supported, but as what [`crate::upgrade`] says: a request for a WebSocket becomes one, and its answer
    /// is a 101 with a stream to take.
    pub async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        if self.streams() == 0 {
            // No stream that ends would make room.
            let request = Some(Box::new(request));
            return Err(SendError { stage: Stage::NothingSent, cause: SendCause::NoStreams, request });
        }
        let again = Again::of(&request);
        let asking = Asking::of(&mut request);
        if let Err(reason) = to_their_form(&mut request, self.scheme.clone()) {
            let request = match asking {
                Some(_) => again.and_then(Again::request).map(Box::new),
                None => Some(Box::new(request)),
            };
            return Err(SendError { stage: Stage::NothingSent, cause: SendCause::Request(reason), request });
        }
        self.seen.asks();
        match self.requests.try_send_request(request).await {
            Ok(mut response) => {
                if let Err(reason) = check_response(&response) {
                    return Err(failed(Stage::ResponseBegan, SendCause::Malformed(reason)));
                }
                let socket = match asking {
                    Some(asking) => asking.answered(&mut response).await,
                    None => Ok(None),
                };
                let socket = socket.map_err(|error| failed(Stage::ResponseBegan, SendCause::Http2(error)))?;
                let (parts, body) = response.into_parts();
                let mut response = Response::from_parts(parts, Body::from_http2(body, Origin::Upstream));
                if let Some(socket) = socket {
                    upgrade::give(&mut response, socket);
                }
                Ok(response)
            }
            Err(mut refused) => {
                let returned = refused.take_message();
                let error = refused.into_error();
                let refused = was_not_processed(&error);
                let stage = if returned.is_some() || refused { Stage::NothingSent } else { Stage::Sent };
                let cause = if refused { SendCause::Refused(error) } else { SendCause::Http2(error) };
                // A request for a WebSocket has lost its key.
                let returned = returned.filter(|_| asking.is_none()).map(in_our_form);
                let request = returned.or_else(|| again.and_then(Again::request)).map(Box::new);
                Err(SendError { stage, cause, request })
            }
        }
    }
}

/// RFC 9113 section 8.7: REFUSED_STREAM, or a stream above the last one that a GOAWAY names (which the h2 crate
/// reports as a GOAWAY with NO_ERROR).
fn was_not_processed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<h2::Error>() {
            let refused =
                error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let beyond =
                error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
            return refused || beyond;
        }
        source = inner.source();
    }
    false
}

/// What HTTP/1.1 is refused for too, and a client would take for something else.
fn check_response<B>(response: &Response<B>) -> Result<(), &'static str> {
    // RFC 9110 section 15: such a status is invalid.
    if response.status().as_u16() > 599 {
        return Err("the status is above 599");
    }
    if has_blank_ends(response.headers()) {
        return Err("a field value begins or ends with whitespace");
    }
    Ok(())
}

/// Enough of a request to make it again, if its body is in memory.
struct Again {
    head: Request<()>,
    body: bytes::Bytes,
}

impl Again {
    fn of(request: &Request<Body>) -> Option<Again> {
        let body = request.body().in_memory()?;
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        *head.extensions_mut() = request.extensions().clone();
        Some(Again { head, body })
    }

    fn request(self) -> Option<Request<Body>> {
        let body = self.body;
        Some(self.head.map(|()| Body::full(body)))
    }
}

/// `Host` becomes `:authority`; connection fields go. Changes nothing if it cannot be done.
fn to_their_form(request: &mut Request<Body>, scheme: Scheme) -> Result<(), &'static str> {
    if *request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_none() {
        return Err("CONNECT is not supported over HTTP/2");
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err("it needs exactly one Host") };
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| "its Host is malformed")?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = request.uri().path_and_query().cloned();
    let uri = Uri::from_parts(parts).map_err(|_| "its target is malformed")?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().remove(header::HOST);
    strip_connection_fields(request.headers_mut());
    let trailers_only = |value: &HeaderValue| value == "trailers";
    if !request.headers().get_all(header::TE).iter().all(trailers_only) {
        request.headers_mut().remove(header::TE);
    }
    Ok(())
}

/// The reverse of [`to_their_form`], for a request that comes back.
fn in_our_form(mut request: Request<Body>) -> Request<Body> {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    if let Some(host) = uri.authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(target) = uri.path_and_query {
        *request.uri_mut() = Uri::from(target);
    }
    request
}

fn failed(stage: Stage, cause: SendCause) -> SendError {
    SendError { stage, cause, request: None }
}

#[cfg(test)]
mod tests;
