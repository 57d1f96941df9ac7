//! `grpc.health.v1.Health/Check` over HTTP/2 with prior knowledge (grpc/grpc doc/health-checking.md).
//!
//! The two messages are small enough to be written down by hand: the request has the service's name as field 1, the
//! response the status as field 1.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use tutti_core::error::chain;
use tutti_net::Body;
use tutti_net::carry::Carries;
use tutti_net::client::{ClientError, Limits, exchange_h2};

use super::{BODY_BYTES, Dial, Found};
use crate::model::check::Verdict;
use crate::text::{printable, quoted};

pub(super) async fn probe(dial: &Dial<'_>, addr: SocketAddr, service: &str, timeout: Duration) -> Found {
    let of = if service.is_empty() { String::new() } else { format!(" of {}", printable(service, 80)) };
    let what = format!("gRPC health{of} at {addr}");
    let (stream, authority) = match dial.connect(addr, Carries::Http2).await {
        Ok(begun) => begun,
        Err(found) => return found,
    };
    let request = Request::post("/grpc.health.v1.Health/Check")
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("grpc-tutti/", env!("CARGO_PKG_VERSION")))
        .header("grpc-timeout", format!("{}m", timeout.as_millis().clamp(1, 99_999_999)))
        .body(Body::full(message(service)));
    let request = match request {
        Ok(request) => request,
        Err(error) => return Found::new(Verdict::Fail, format!("{what} cannot be asked: {error}")),
    };
    match exchange_h2(stream, request, Limits { timeout, body_bytes: BODY_BYTES }).await {
        Ok((response, trailers)) => {
            // An answer without a body carries its trailers in the head ("Trailers-Only").
            let trailers = trailers.as_ref().unwrap_or(response.headers());
            let (verdict, said) = judge(response.status().as_u16(), trailers, response.body());
            Found::new(verdict, format!("{what} {said}"))
        }
        Err(ClientError::Timeout(after)) => {
            Found::new(Verdict::Fail, format!("{what} did not answer within {after:?}"))
        }
        Err(error) => {
            Found::new(Verdict::Fail, format!("{what} got no answer: {}", printable(&chain(&error), 150)))
        }
    }
}

/// `HealthCheckRequest { string service = 1; }` behind the five bytes of a gRPC message.
pub(super) fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.unsplit(message);
    framed.freeze()
}

/// What an answer means.
pub(super) fn judge(status: u16, trailers: &HeaderMap, body: &[u8]) -> (Verdict, String) {
    if status != 200 {
        return (Verdict::Fail, format!("answered HTTP status {status}"));
    }
    let field = |name| trailers.get(name).map(http::HeaderValue::as_bytes);
    match field("grpc-status") {
        Some(b"0") => {}
        Some(code) => {
            let code = printable(&String::from_utf8_lossy(code), 10);
            let name = match code.as_str() {
                "5" => " (it does not know the service)",
                "12" => " (it does not offer health checks)",
                _ => "",
            };
            let said = quoted(field("grpc-message").unwrap_or_default());
            return (Verdict::Fail, format!("answered gRPC status {code}{name}{said}"));
        }
        None => return (Verdict::Fail, "answered without a gRPC status".to_owned()),
    }
    match serving_status(body) {
        Some(1) => (Verdict::Pass, "answered SERVING".to_owned()),
        Some(0) => (Verdict::Fail, "answered UNKNOWN".to_owned()),
        Some(2) => (Verdict::Fail, "answered NOT_SERVING".to_owned()),
        Some(3) => (Verdict::Fail, "answered SERVICE_UNKNOWN".to_owned()),
        Some(other) => (Verdict::Fail, format!("answered the unknown status {other}")),
        None => (Verdict::Fail, "answered something that is no health response".to_owned()),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; fields that are not known are passed over, as protobuf demands.
pub(super) fn serving_status(body: &[u8]) -> Option<u64> {
    let (head, rest) = body.split_at_checked(5)?;
    let [compressed, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *compressed != 0 || usize::try_from(length).ok()? != rest.len() {
        return None;
    }
    let mut status = 0;
    let mut rest = rest;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
