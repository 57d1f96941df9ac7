//! Phase 6: what the route does to the request before it is sent.

use http::{HeaderValue, Request, Response, header};
use tutti_net::Body;

use super::{Exchange, Stop, decode};
use crate::error::Fault;
use crate::model::rewrite::{self, Asked, Redirect};
use crate::snapshot::plan::{BackendEdits, RoutePlan, Step};

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<(), Stop> {
    for step in &route.filters {
        match step {
            Step::Headers(edit) => edit.apply(exchange.request.headers_mut()),
            Step::Rewrite { host, path } => {
                if let Some(host) = host {
                    exchange.request.headers_mut().insert(header::HOST, host.clone());
                }
                if let Some(path) = path
                    && exchange.request.uri().path() != "*"
                {
                    let new = rewrite::path(path, exchange.request.uri().path(), exchange.prefix);
                    let uri = decode::with_path(exchange.request.uri(), &new)?;
                    *exchange.request.uri_mut() = uri;
                }
            }
            Step::Redirect { scheme, host, port, path, status } => {
                let redirect = Redirect {
                    scheme: scheme.as_deref(),
                    host: host.as_deref(),
                    port: *port,
                    path: path.as_ref(),
                };
                return Err(answer(exchange, &redirect, *status));
            }
        }
    }
    Ok(())
}

/// What is done for the backend that was chosen.
pub fn backend(exchange: &mut Exchange<'_>, route: &RoutePlan) {
    if let Some(edits) = route.edits.get(exchange.backend) {
        let prefix = exchange.prefix;
        backend_request(edits, &mut exchange.request, prefix);
    }
}

/// The request of one backend; its rewrites were checked when they were compiled, and the prefix is that of the path as it
/// came only if the route has not rewritten it before.
pub fn backend_request<B>(edits: &BackendEdits, request: &mut Request<B>, prefix: usize) {
    for step in &edits.request {
        match step {
            Step::Headers(edit) => edit.apply(request.headers_mut()),
            Step::Rewrite { host, path } => {
                if let Some(host) = host {
                    request.headers_mut().insert(header::HOST, host.clone());
                }
                if let Some(path) = path
                    && request.uri().path() != "*"
                    && let Ok(uri) =
                        decode::with_path(request.uri(), &rewrite::path(path, request.uri().path(), prefix))
                {
                    *request.uri_mut() = uri;
                }
            }
            Step::Redirect { .. } => {}
        }
    }
}

fn answer(exchange: &Exchange<'_>, redirect: &Redirect<'_>, status: http::StatusCode) -> Stop {
    let headers = exchange.request.headers();
    let scheme = headers.get(crate::model::forwarded::PROTO).and_then(|scheme| scheme.to_str().ok());
    let authority = exchange.entry.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if authority.is_empty() && redirect.host.is_none() {
        return Fault::bad_request("a redirect needs to know the host, and the request names none").into();
    }
    let uri = exchange.request.uri();
    let asked = Asked {
        scheme: scheme.filter(|scheme| *scheme == "https").unwrap_or("http"),
        authority,
        path: uri.path(),
        query: uri.query(),
        matched: exchange.prefix,
    };
    let location = rewrite::location(redirect, &asked);
    let Ok(location) = HeaderValue::from_str(&location) else {
        return Fault::bad_request("the redirect's target is not valid").into();
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, location);
    Stop::Answer(Box::new(response))
}
