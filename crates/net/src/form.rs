//! The form of messages that HTTP/2 and HTTP/3 share (RFC 9113 section 8, RFC 9114 section 4), and its way into ours and back.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;

use crate::body::Body;
use crate::server::Refusal;
use crate::{h1, upgrade};

/// The answer to CONNECT.
pub(crate) const NO_CONNECT: Refusal =
    Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: "CONNECT is not implemented here" };

/// The form that `lib.rs` describes: the authority is in `Host`, the target has the rest.
pub(crate) fn in_our_form<B>(
    request: &mut Request<B>,
    authority: Option<&[u8]>,
    target: Option<PathAndQuery>,
    fields: usize,
) -> Result<(), Refusal> {
    let bad = |reason| Refusal { status: StatusCode::BAD_REQUEST, reason };
    if *request.method() == Method::CONNECT {
        return Err(NO_CONNECT);
    }
    let options = *request.method() == Method::OPTIONS;
    let headers = request.headers_mut();
    if headers.len() > fields {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal { status, reason: "there are too many fields" });
    }
    check_values(headers)?;
    if let Some(authority) = authority {
        let host = HeaderValue::from_bytes(authority).map_err(|_| bad("the authority is malformed"))?;
        let same = |other: &HeaderValue| other.as_bytes().eq_ignore_ascii_case(host.as_bytes());
        if !headers.get_all(header::HOST).iter().all(same) {
            return Err(bad("Host is not the authority"));
        }
        headers.insert(header::HOST, host);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if h1::split_authority(host.as_bytes()).is_some() => {}
        (None, _) => return Err(bad("the authority is missing")),
        _ => return Err(bad("the authority is malformed")),
    }
    let target = target.ok_or(bad("the path is missing"))?;
    if target.as_str() != "*" {
        if !target.as_str().starts_with('/') {
            return Err(bad("the path does not begin with a slash"));
        }
        h1::check_target(target.as_str().as_bytes()).map_err(bad)?;
    } else if !options {
        return Err(bad("the target * is for OPTIONS only"));
    }
    *request.uri_mut() = Uri::from(target);
    Ok(())
}

/// Whether a value has whitespace where it may not have any (RFC 9113 section 8.2.1).
pub(crate) fn has_blank_ends(headers: &HeaderMap) -> bool {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    headers.values().any(|value| blank(value.as_bytes().first()) || blank(value.as_bytes().last()))
}

/// What HTTP/1.1 could not carry as it is, and a reader of it would take for something else.
fn check_values(headers: &HeaderMap) -> Result<(), Refusal> {
    // Routes would look at one value, and a service behind HTTP/1.1 at another.
    if has_blank_ends(headers) {
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

/// A response that HTTP/2 and HTTP/3 can carry.
pub(crate) fn in_their_form(mut response: Response<Body>, to_head: bool) -> Response<Body> {
    let leaves = upgrade::accepted(response.extensions_mut()).is_some();
    if leaves || response.status().is_informational() {
        tracing::error!(
            status = response.status().as_u16(),
            "a handler answered with what this version of HTTP cannot carry"
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

/// Fields that no message has (RFC 9113 section 8.2.2, RFC 9114 section 4.2).
const OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a field concerns a connection of HTTP/1.1.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    OF_CONNECTION.contains(name)
}

/// Removes them.
pub(crate) fn strip_connection_fields(headers: &mut HeaderMap) {
    for name in &OF_CONNECTION {
        headers.remove(name);
    }
}

/// The answer to a request that no handler saw.
pub(crate) fn refuse(refused: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{}\n", refused.reason)));
    *response.status_mut() = refused.status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
