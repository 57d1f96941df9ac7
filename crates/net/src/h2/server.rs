//! The server's side of an HTTP/2 connection: hyper's protocol, our form of request.

use std::pin::pin;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2::Builder;
use hyper::service::{Service, service_fn};
use tutti_core::{Origin, limits};

use super::flood::Side;
use super::io::{HyperStream, LocalTasks, Tasks, TokioTimer};
use super::streams::{Outgoing, Watched};
use super::websocket::{Asked, Tunnel};
use crate::body::Body;
use crate::drain::DrainSignal;
use crate::h1;
use crate::server::{ConnectionInfo, Handler, LocalHandler, Refusal, Shared};
use crate::stream::Stream;
use crate::upgrade;

/// Serves a connection to its end, on any runtime.
pub(crate) async fn serve<H: Handler>(stream: Stream, shared: &Arc<Shared<H>>, info: ConnectionInfo) {
    let info = Arc::new(info);
    let watched = Watched::of(Tasks::default(), shared.settings.h2.write_timeout);
    let tasks = watched.clone();
    let service = service_fn(|request| {
        let (shared, info, tasks) = (Arc::clone(shared), Arc::clone(&info), tasks.clone());
        async move { answer(&shared, request, &info, &tasks).await.map(|response| response.map(Outgoing)) }
    });
    if let Some(reason) = run(stream, service, watched, &shared.settings.h2, &shared.drain).await {
        Handler::flooded(&*shared.handler, reason, &info);
    }
}

/// Serves a connection to its end, on this thread.
pub(crate) async fn serve_local<H: LocalHandler>(
    stream: Stream,
    shared: &Arc<Shared<H>>,
    info: ConnectionInfo,
) {
    let info = Arc::new(info);
    let watched = Watched::of(LocalTasks::default(), shared.settings.h2.write_timeout);
    let tasks = watched.clone();
    let service = service_fn(|request| {
        let (shared, info, tasks) = (Arc::clone(shared), Arc::clone(&info), tasks.clone());
        async move { answer(&shared, request, &info, &tasks).await.map(|response| response.map(Outgoing)) }
    });
    if let Some(reason) = run(stream, service, watched, &shared.settings.h2, &shared.drain).await {
        LocalHandler::flooded(&*shared.handler, reason, &info);
    }
}

/// Says why, if it was closed because the client flooded it.
async fn run<S, E>(
    stream: Stream,
    service: S,
    watched: Watched<E>,
    settings: &super::Settings,
    drain: &DrainSignal,
) -> Option<&'static str>
where
    S: Service<Request<Incoming>, Response = Response<Outgoing>, Error = WasReset>,
    Watched<E>: Http2ServerConnExec<S::Future, Outgoing> + Clone,
{
    let streams = Arc::clone(&watched.streams);
    let mut builder = Builder::new(watched);
    builder
        .timer(TokioTimer)
        .enable_connect_protocol()
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(settings.header_list_bytes)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::HTTP2_ERROR_RESETS)
        .max_send_buf_size(limits::HTTP2_SEND_BUFFER)
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout);
    let (stream, seen) = HyperStream::new(stream, Side::Server);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = drain.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = streams.idle(settings.idle_timeout) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                end = connection => end,
                // It takes neither our farewell nor what is left of its answers.
                () = streams.idle(settings.write_timeout) => Ok(()),
            }
        }
    };
    let error = end.err()?;
    tracing::debug!(%error, "an HTTP/2 connection ended");
    seen.flood.get().map(|flood| flood.reason()).or_else(|| is_calmed(&error).then_some(CALMED))
}

/// What h2 found itself.
const CALMED: &str = "an HTTP/2 connection carries too many resets, small frames or pieces of a head";

/// Whether h2 has closed the connection with ENHANCE_YOUR_CALM.
fn is_calmed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<h2::Error>() {
            return error.is_go_away()
                && error.is_library()
                && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        source = inner.source();
    }
    false
}

async fn answer<H: LocalHandler, E>(
    shared: &Shared<H>,
    mut request: Request<Incoming>,
    info: &ConnectionInfo,
    tasks: &Watched<E>,
) -> Result<Response<Body>, WasReset>
where
    Watched<E>: Executor<Tunnel>,
{
    let head = *request.method() == Method::HEAD;
    let socket = Asked::of(&mut request);
    let mut response = match in_our_form(request, shared.settings.h1.fields) {
        Ok(request) => shared.handler.handle(request, info).await,
        Err(refused) => {
            shared.handler.refused(refused, info);
            refuse(refused)
        }
    };
    if let Some(tunnel) = socket.and_then(|socket| socket.answer(&mut response)) {
        tasks.execute(tunnel);
        strip_connection_fields(response.headers_mut());
        return Ok(response);
    }
    if response.extensions().get::<upgrade::Reset>().is_some() {
        return Err(WasReset);
    }
    Ok(in_their_form(response, head))
}

/// The handler wants no answer to be sent: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the stream is reset")]
struct WasReset;

/// The form that `lib.rs` describes: the authority is in `Host`, the target has the rest.
fn in_our_form(request: Request<Incoming>, fields: usize) -> Result<Request<Body>, Refusal> {
    let bad = |reason| Refusal { status: StatusCode::BAD_REQUEST, reason };
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        let reason = "CONNECT is not implemented here";
        return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason });
    }
    if parts.headers.len() > fields {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal { status, reason: "there are too many fields" });
    }
    check_values(&parts.headers)?;
    let uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(authority) = &uri.authority {
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the authority is malformed"))?;
        let same = |other: &HeaderValue| other.as_bytes().eq_ignore_ascii_case(host.as_bytes());
        if !parts.headers.get_all(header::HOST).iter().all(same) {
            return Err(bad("Host is not the authority"));
        }
        parts.headers.insert(header::HOST, host);
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if h1::split_authority(host.as_bytes()).is_some() => {}
        (None, _) => return Err(bad("the authority is missing")),
        _ => return Err(bad("the authority is malformed")),
    }
    let target = uri.path_and_query.ok_or(bad("the path is missing"))?;
    if target.as_str() != "*" {
        if !target.as_str().starts_with('/') {
            return Err(bad("the path does not begin with a slash"));
        }
        h1::check_target(target.as_str().as_bytes()).map_err(bad)?;
    } else if parts.method != Method::OPTIONS {
        return Err(bad("the target * is for OPTIONS only"));
    }
    parts.uri = Uri::from(target);
    Ok(Request::from_parts(parts, Body::from_http2(body, Origin::Client)))
}

/// What HTTP/1.1 could not carry as it is, and a reader of it would take for something else.
fn check_values(headers: &HeaderMap) -> Result<(), Refusal> {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    // RFC 9113 section 8.2.1. Routes would look at one value, and a service behind HTTP/1.1 at another.
    if headers.values().any(|value| blank(value.as_bytes().first()) || blank(value.as_bytes().last())) {
        let reason = "a field value begins or ends with whitespace";
        return Err(Refusal { status: StatusCode::BAD_REQUEST, reason });
    }
    let mut expected = headers.get_all(header::EXPECT).iter();
    match (expected.next(), expected.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => {
            let reason = "only the expectation 100-continue can be met";
            Err(Refusal { status: StatusCode::EXPECTATION_FAILED, reason })
        }
    }
}

/// A response that HTTP/2 can carry.
fn in_their_form(mut response: Response<Body>, to_head: bool) -> Response<Body> {
    let leaves = upgrade::accepted(response.extensions_mut()).is_some();
    if leaves || response.status().is_informational() {
        tracing::error!(
            status = response.status().as_u16(),
            "a handler answered with what HTTP/2 cannot carry"
        );
        response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    strip_connection_fields(response.headers_mut());
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match response.body().size_hint().exact() {
        _ if bodiless => *response.body_mut() = Body::empty(),
        Some(length) if !to_head => {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => {}
    }
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// Fields that HTTP/2 has not (RFC 9113 section 8.2.2).
pub(super) fn strip_connection_fields(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn refuse(refused: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{}\n", refused.reason)));
    *response.status_mut() = refused.status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
