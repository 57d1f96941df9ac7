//! gRPC, where we answer ourselves: what a fault is called there, and how it is told before an answer has begun and in the middle
//! of one; and gRPC for browsers.
//!
//! | module | holds |
//! |---|---|
//! | [`status`] | the statuses, and which one each of our faults has |
//! | [`ending`] | bodies whose failure becomes a status |
//! | [`web`] | gRPC-Web to gRPC and back |

pub mod ending;
pub mod status;
pub mod web;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tutti_net::{Body, Reset};

use status::Status;

/// What takes the place of an answer of HTTP that is none of gRPC: a status and nothing else ("Trailers-Only"). One that is of gRPC, or no answer
/// at all, stays.
pub fn instead_of(response: Response<Body>, why: &str) -> Response<Body> {
    if response.headers().contains_key(status::STATUS) || response.extensions().get::<Reset>().is_some() {
        return response;
    }
    let http = response.status();
    let status = if http.is_success() { Status::Unavailable } else { Status::of_http(http) };
    let (mut head, _) = response.into_parts();
    for name in
        [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::TRANSFER_ENCODING]
    {
        head.headers.remove(name);
    }
    tell(&mut head.headers, status, &format!("{why}: {}", reason(http)));
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.status = StatusCode::OK;
    Response::from_parts(head, Body::empty())
}

fn tell(headers: &mut HeaderMap, status: Status, message: &str) {
    status::tell(headers, status as u8, message);
}

fn reason(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}
