//! Phase 2: one reading of what the request asks for.
//!
//! The codec has refused what is malformed or framed in two ways; here path and host get the form in which they are
//! matched and sent, and the fields that concern only the client's hop end.

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Version, header};
use tutti_net::Protocol;

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::model::{headers, path, router};

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>) -> Result<(), Stop> {
    let request = &mut exchange.request;
    if *request.method() == Method::CONNECT {
        return Err(Fault::not_served("CONNECT is not served: Tutti is no forward proxy").into());
    }
    if request.uri().path() != "*" {
        let normal =
            path::normalize(request.uri().path()).map_err(|error| Fault::bad_request(error.to_string()))?;
        if let std::borrow::Cow::Owned(normal) = normal {
            let uri = with_path(request.uri(), &normal)?;
            *request.uri_mut() = uri;
        }
    } else if *request.method() != Method::OPTIONS {
        return Err(Fault::bad_request("only OPTIONS may ask for *").into());
    }
    exchange.entry.host = request.headers().get(header::HOST).cloned();
    if let Some(host) = &exchange.entry.host
        && host.to_str().ok().and_then(router::host_key).is_none()
    {
        return Err(Fault::bad_request("the Host field does not hold a host").into());
    }
    if exchange.entry.host.is_none() {
        // HTTP/1.0 may lack it; what is sent on may not. It is routed as one that names no host.
        let reached = HeaderValue::from_str(&exchange.connection.local.to_string());
        request
            .headers_mut()
            .insert(header::HOST, reached.unwrap_or_else(|_| HeaderValue::from_static("localhost")));
    }
    match exchange.connection.protocol {
        // RFC 9110 section 7.8: in HTTP/1.0 the field means nothing.
        Protocol::Http1 if request.version() == Version::HTTP_10 => {}
        Protocol::Http1 => exchange.upgrade = headers::upgrade(request.method(), request.headers()),
        Protocol::Http2 => {
            // There is no such field in HTTP/2: it stands for a WebSocket (RFC 8441).
            exchange.upgrade = headers::upgrade(request.method(), request.headers());
            headers::join_cookies(request.headers_mut());
        }
        Protocol::Http3 => headers::join_cookies(request.headers_mut()),
    }
    exchange.trailers = headers::strip(request.headers_mut());
    Ok(())
}

/// The URI with another path and the same query.
pub fn with_path(uri: &Uri, path: &str) -> Result<Uri, Stop> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let path: PathAndQuery = text.parse().map_err(|_| Fault::bad_request("the path is not valid"))?;
    Ok(Uri::from(path))
}
