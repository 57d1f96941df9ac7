//! Between identify and admit: the answer to an authority that looks whether a name is ours (HTTP-01, RFC 8555 section
//! 8.3). Where we have none, the request goes its way: the service may be proving something itself.

use http::{HeaderValue, Method, Response, header};
use tutti_net::Body;

use super::{Exchange, Stop};
use crate::model::router::host_key;
use crate::snapshot::plan::Side;

const PATH: &str = "/.well-known/acme-challenge/";

/// Runs the phase.
pub fn run(exchange: &Exchange<'_>) -> Result<(), Stop> {
    let Some(certificates) = &exchange.worker.shared.certificates else { return Ok(()) };
    let Some(token) = exchange.request.uri().path().strip_prefix(PATH) else { return Ok(()) };
    let method = exchange.request.method();
    let plain = exchange.connection.tls.is_none() && exchange.listener.side == Side::Edge;
    if !plain || (*method != Method::GET && *method != Method::HEAD) {
        return Ok(());
    }
    let host = exchange.entry.host.as_ref().and_then(|host| host.to_str().ok()).and_then(host_key);
    let Some(body) = host.and_then(|host| certificates.http_challenge(&host, token)) else { return Ok(()) };
    let body = if *method == Method::HEAD { Body::empty() } else { Body::from(body) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Err(Stop::Answer(Box::new(response)))
}
