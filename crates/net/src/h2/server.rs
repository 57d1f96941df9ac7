//! The server's side of an HTTP/2 connection: hyper's protocol, our form of request.

use std::pin::pin;
use std::sync::Arc;

use http::{Method, Request, Response};
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
use crate::form;
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
            form::refuse(refused)
        }
    };
    if let Some(tunnel) = socket.and_then(|socket| socket.answer(&mut response)) {
        tasks.execute(tunnel);
        form::strip_connection_fields(response.headers_mut());
        return Ok(response);
    }
    if response.extensions().get::<upgrade::Reset>().is_some() {
        return Err(WasReset);
    }
    Ok(form::in_their_form(response, head))
}

/// The handler wants no answer to be sent: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the stream is reset")]
struct WasReset;

/// The form that `lib.rs` describes: the authority is in `Host`, the target has the rest.
fn in_our_form(mut request: Request<Incoming>, fields: usize) -> Result<Request<Body>, Refusal> {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let authority = uri.authority.as_ref().map(|authority| authority.as_str().as_bytes());
    form::in_our_form(&mut request, authority, uri.path_and_query, fields)?;
    Ok(request.map(|body| Body::from_http2(body, Origin::Client)))
}
