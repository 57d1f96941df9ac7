//! The statuses of gRPC (grpc/grpc doc/statuscodes.md), and the one place that says which of them a fault of ours has.
//!
//! Limits are RESOURCE_EXHAUSTED, credentials UNAUTHENTICATED or PERMISSION_DENIED, deadlines DEADLINE_EXCEEDED, a missing route UNIMPLEMENTED, and
//! a service that cannot be had UNAVAILABLE. Where a status of HTTP has to be told, it is the one that a client would make of it itself
//! (grpc/grpc doc/http-grpc-status-mapping.md).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tutti_core::{Code, code};

use crate::error::Fault;

/// `grpc-status`.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// After how many milliseconds a client may ask again (gRFC A6).
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Status {
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    /// The status of a fault.
    pub fn of(fault: &Fault) -> Self {
        Self::of_code(fault.code, fault.status)
    }

    /// The status of what a code stands for; `http` where the code stands for several things.
    fn of_code(code: Code, http: StatusCode) -> Self {
        match code {
            code::NO_ROUTE
            | code::NOT_SERVED
            | code::NOT_DESCRIBED
            | code::METHOD_NOT_ALLOWED
            | code::UNSUPPORTED_TYPE => Status::Unimplemented,
            code::NO_INSTANCE
            | code::UPSTREAM_REFUSED
            | code::UPSTREAM_BROKE
            | code::UPSTREAM_MALFORMED
            | code::BREAKER_OPEN
            | code::RATES_UNKNOWN
            | code::EXTERNAL_UNKNOWN
            | code::KEYS_UNKNOWN => Status::Unavailable,
            code::UPSTREAM_TIMEOUT | code::DEADLINE_PASSED => Status::DeadlineExceeded,
            code::OVERLOADED
            | code::SHED
            | code::RATE_LIMITED
            | code::BODY_TOO_LARGE
            | code::URI_TOO_LONG
            | code::HEADER_TOO_LARGE
            | code::ANSWER_TOO_LARGE => Status::ResourceExhausted,
            code::UNAUTHENTICATED => Status::Unauthenticated,
            code::ADDRESS_DENIED | code::NOT_ALLOWED => Status::PermissionDenied,
            // A redirect to where one signs in says that nobody is known yet.
            code::EXTERNAL_DENIED if http == StatusCode::UNAUTHORIZED || http.is_redirection() => {
                Status::Unauthenticated
            }
            code::EXTERNAL_DENIED if http == StatusCode::TOO_MANY_REQUESTS => Status::ResourceExhausted,
            code::EXTERNAL_DENIED => Status::PermissionDenied,
            code::CLIENT_GONE | code::CLIENT_SLOW => Status::Cancelled,
            code::NO_BACKEND
            | code::BAD_REQUEST
            | code::NOT_AS_DESCRIBED
            | code::ANSWER_NOT_AS_DESCRIBED
            | code::EXTERNAL_LOOP => Status::Internal,
            _ => Self::of_http(http),
        }
    }

    /// What a client makes of a status of HTTP that comes without one of gRPC.
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Status::Internal,
            401 => Status::Unauthenticated,
            403 => Status::PermissionDenied,
            404 => Status::Unimplemented,
            429 | 502 | 503 | 504 => Status::Unavailable,
            _ => Status::Unknown,
        }
    }
}

/// Writes a status into a header or trailers.
pub fn tell(headers: &mut HeaderMap, status: u8, message: &str) {
    headers.insert(STATUS, HeaderValue::from(u16::from(status)));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(message)) {
        headers.insert(MESSAGE, message);
    }
}

/// Writes what became of a request that failed.
pub fn tell_fault(headers: &mut HeaderMap, fault: &Fault) {
    tell(headers, Status::of(fault) as u8, &format!("{}: {}", fault.code, fault.message));
    if let Some(seconds) = fault.retry_after {
        headers.insert(PUSHBACK, HeaderValue::from(u64::from(seconds) * 1_000));
    }
}

/// As `grpc-message` wants it (gRPC over HTTP/2, "Percent-Encoded").
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code that a request can be answered with, the status of HTTP that goes with it, and what gRPC calls it.
    const TABLE: &[(Code, u16, u8)] = &[
        (code::NO_ROUTE, 404, 12),
        (code::NO_INSTANCE, 503, 14),
        (code::UPSTREAM_REFUSED, 502, 14),
        (code::UPSTREAM_BROKE, 502, 14),
        (code::UPSTREAM_TIMEOUT, 504, 4),
        (code::UPSTREAM_MALFORMED, 502, 14),
        (code::BAD_REQUEST, 400, 13),
        (code::OVERLOADED, 503, 8),
        (code::NO_BACKEND, 500, 13),
        (code::NOT_SERVED, 501, 12),
        (code::CLIENT_GONE, 408, 1),
        (code::MISDIRECTED, 421, 2),
        (code::BREAKER_OPEN, 503, 14),
        (code::DEADLINE_PASSED, 504, 4),
        (code::SHED, 503, 8),
        (code::FAULT_INJECTED, 503, 14),
        (code::FAULT_INJECTED, 418, 2),
        (code::FAULT_INJECTED, 401, 16),
        (code::RATE_LIMITED, 429, 8),
        (code::ADDRESS_DENIED, 403, 7),
        (code::RATES_UNKNOWN, 503, 14),
        (code::UNAUTHENTICATED, 401, 16),
        (code::NOT_ALLOWED, 403, 7),
        (code::EXTERNAL_DENIED, 401, 16),
        (code::EXTERNAL_DENIED, 302, 16),
        (code::EXTERNAL_DENIED, 403, 7),
        (code::EXTERNAL_DENIED, 429, 8),
        (code::EXTERNAL_UNKNOWN, 503, 14),
        (code::EXTERNAL_LOOP, 508, 13),
        (code::KEYS_UNKNOWN, 503, 14),
        (code::BODY_TOO_LARGE, 413, 8),
        (code::URI_TOO_LONG, 414, 8),
        (code::HEADER_TOO_LARGE, 431, 8),
        (code::METHOD_NOT_ALLOWED, 405, 12),
        (code::UNSUPPORTED_TYPE, 415, 12),
        (code::ANSWER_TOO_LARGE, 502, 8),
        (code::NOT_AS_DESCRIBED, 400, 13),
        (code::ANSWER_NOT_AS_DESCRIBED, 502, 13),
        (code::NOT_DESCRIBED, 404, 12),
        (code::CLIENT_SLOW, 408, 1),
    ];

    /// Codes of the proxy with which no request is answered.
    const OTHERS: &[Code] = &[
        code::OPENAPI_FILE,
        code::LISTEN,
        code::BAD_ROUTING,
        code::TLS_FILES,
        code::FLOOD,
        code::FAULTS_IN_PRODUCTION,
    ];

    #[test]
    fn every_code_has_its_status() {
        for (code, http, grpc) in TABLE {
            let status = Status::of_code(*code, StatusCode::from_u16(*http).unwrap());
            assert_eq!(status as u8, *grpc, "{code}");
        }
        // From 570 on they are of listeners and of the control API.
        for (code, title) in code::ALL.iter().filter(|(code, _)| (500..570).contains(&code.number())) {
            let known = TABLE.iter().any(|(one, ..)| one == code) || OTHERS.contains(code);
            assert!(known, "{code} ({title}) has no line in the table");
        }
    }

    #[test]
    fn every_status_of_http_has_one() {
        let table = [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14)];
        for http in 200..600 {
            let wanted = table.iter().find(|(one, _)| *one == http).map_or(2, |(_, grpc)| *grpc);
            assert_eq!(Status::of_http(StatusCode::from_u16(http).unwrap()) as u8, wanted, "{http}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let mut headers = HeaderMap::new();
        tell(&mut headers, 2, "100 % of\n\u{fc}");
        assert_eq!(headers[MESSAGE], "100 %25 of%0A%C3%BC");
    }
}
