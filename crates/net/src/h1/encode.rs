//! Heads of outgoing messages: fields as the caller gave them, framing as the body demands. Pure.

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;

use super::request::check_path_and_query;
use super::response::has_no_body;
use crate::body::Body;

/// How an outgoing body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is sent; the body is dropped unread.
    Nothing,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection is closed (to HTTP/1.0 clients).
    UntilClose,
}

/// What an outgoing response looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponsePlan {
    pub(crate) framing: Framing,
    /// Whether the connection stays open.
    pub(crate) keep_alive: bool,
}

/// Decides framing and persistence of a response (RFC 9112 sections 6 and 9.3).
pub(crate) fn plan_response(
    method: &Method,
    version: Version,
    keep_alive: bool,
    response: &Response<Body>,
) -> ResponsePlan {
    let keep_alive = keep_alive && !asks_to_close(response.headers());
    let status = response.status();
    let bodiless = *method == Method::HEAD || has_no_body(status);
    let framing = match body_length(response.body(), response.headers()) {
        _ if bodiless || (*method == Method::CONNECT && status.is_success()) => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None if version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    };
    ResponsePlan { framing, keep_alive: keep_alive && framing != Framing::UntilClose }
}

/// The length of a body if it is known: the body's own word before the caller's field.
fn body_length(body: &Body, headers: &HeaderMap) -> Option<u64> {
    body.size_hint().exact().or_else(|| {
        let field = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
        if field.bytes().all(|octet| octet.is_ascii_digit()) { field.parse().ok() } else { None }
    })
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|octet| *octet == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// Writes the head of a response to a request with `method` and `version`.
pub(crate) fn response_head(
    response: &Response<Body>,
    method: &Method,
    version: Version,
    plan: ResponsePlan,
    out: &mut BytesMut,
) {
    let status = response.status();
    status_line(status, out);
    let upgrading = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut dated = false;
    for (name, value) in response.headers() {
        match kind(name) {
            Kind::Framing => continue,
            Kind::Upgrade if !upgrading => continue,
            Kind::Date => dated = true,
            _ => {}
        }
        field(name.as_str(), value.as_bytes(), out);
    }
    if !dated && !status.is_informational() {
        date(out);
    }
    match plan.framing {
        Framing::Length(length) => content_length(length, out),
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::UntilClose => {}
        Framing::Nothing => would_be_length(response, method, out),
    }
    if upgrading {
        out.put_slice(b"connection: upgrade\r\n");
    } else if !plan.keep_alive {
        out.put_slice(b"connection: close\r\n");
    } else if version == Version::HTTP_10 {
        out.put_slice(b"connection: keep-alive\r\n");
    }
    out.put_slice(b"\r\n");
}

/// To HEAD, and with 304, the length that a body would have had may be told (RFC 9110 section 8.6).
fn would_be_length(response: &Response<Body>, method: &Method, out: &mut BytesMut) {
    let status = response.status();
    let may = *method == Method::HEAD && !has_no_body(status) || status == StatusCode::NOT_MODIFIED;
    let told = response.headers().get(header::CONTENT_LENGTH);
    let told = told.filter(|value| value.as_bytes().iter().all(u8::is_ascii_digit));
    match (may, told, response.body().size_hint().exact()) {
        (true, Some(value), _) => field("content-length", value.as_bytes(), out),
        (true, None, Some(length)) if length > 0 => content_length(length, out),
        _ => {}
    }
}

/// Why a request cannot be written down.
pub(crate) type Unfit = &'static str;

/// Decides the framing of a request (RFC 9112 section 6).
pub(crate) fn plan_request(request: &Request<Body>) -> Framing {
    let meant = || {
        matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
            || request.headers().contains_key(header::CONTENT_LENGTH)
    };
    match body_length(request.body(), request.headers()) {
        Some(0) if request.body().is_end_stream() && !meant() => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Writes the head of a request.
pub(crate) fn request_head(
    request: &Request<Body>,
    framing: Framing,
    out: &mut BytesMut,
) -> Result<(), Unfit> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("it needs exactly one Host");
    };
    let target = target(request)?;
    let method = request.method().as_str();
    out.reserve(method.len() + target.len() + host.len() + 32);
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    field("host", host.as_bytes(), out);
    let (mut upgrade, mut te) = (false, false);
    for (name, value) in headers {
        match kind(name) {
            Kind::Framing | Kind::Host => continue,
            Kind::Upgrade => upgrade = true,
            Kind::Te => te = true,
            _ => {}
        }
        field(name.as_str(), value.as_bytes(), out);
    }
    match framing {
        Framing::Length(length) => content_length(length, out),
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Nothing | Framing::UntilClose => {}
    }
    out.put_slice(match (upgrade, te) {
        (false, false) => b"",
        (true, false) => b"connection: upgrade\r\n",
        (false, true) => b"connection: te\r\n",
        (true, true) => b"connection: upgrade, te\r\n",
    });
    out.put_slice(b"\r\n");
    Ok(())
}

/// The target of the request line.
fn target(request: &Request<Body>) -> Result<&str, Unfit> {
    if *request.method() == Method::CONNECT {
        return request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .ok_or("CONNECT needs host and port");
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let valid = target == "*" || target.starts_with('/') && check_path_and_query(target.as_bytes()).is_ok();
    if valid { Ok(target) } else { Err("its target is malformed") }
}

/// What a field means to whoever writes a head.
enum Kind {
    /// Made by us from the body.
    Framing,
    Upgrade,
    Date,
    Host,
    Te,
    Other,
}

#[inline]
fn kind(name: &HeaderName) -> Kind {
    // By length first: most fields are none of these.
    match name.as_str().len() {
        2 if *name == header::TE => Kind::Te,
        4 if *name == header::DATE => Kind::Date,
        4 if *name == header::HOST => Kind::Host,
        7 if *name == header::UPGRADE => Kind::Upgrade,
        10 if *name == header::CONNECTION || name == "keep-alive" => Kind::Framing,
        14 if *name == header::CONTENT_LENGTH => Kind::Framing,
        16 if name == "proxy-connection" => Kind::Framing,
        17 if *name == header::TRANSFER_ENCODING => Kind::Framing,
        _ => Kind::Other,
    }
}

/// Writes one field line.
#[inline]
pub(crate) fn field(name: &str, value: &[u8], out: &mut BytesMut) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn content_length(length: u64, out: &mut BytesMut) {
    field("content-length", itoa::Buffer::new().format(length).as_bytes(), out);
}

fn status_line(status: StatusCode, out: &mut BytesMut) {
    let known: &[u8] = match status.as_u16() {
        101 => b"HTTP/1.1 101 Switching Protocols\r\n",
        200 => b"HTTP/1.1 200 OK\r\n",
        201 => b"HTTP/1.1 201 Created\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        302 => b"HTTP/1.1 302 Found\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        _ => b"",
    };
    out.put_slice(known);
    if known.is_empty() {
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(status.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.put_slice(b"\r\n");
    }
}

thread_local! {
    /// The Date field of this second, and until when to use it.
    static DATE: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
}

/// Writes the Date field (RFC 9110 section 6.6.1); made anew once in a second.
fn date(out: &mut BytesMut) {
    DATE.with_borrow_mut(|cached| {
        let now = Instant::now();
        if cached.as_ref().is_none_or(|(until, _)| *until <= now) {
            let wall = SystemTime::now();
            let into_second = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            let left = std::time::Duration::from_nanos(u64::from(1_000_000_000 - into_second));
            let text = httpdate::fmt_http_date(wall);
            *cached = HeaderValue::try_from(text).ok().map(|value| (now + left, value));
        }
        if let Some((_, value)) = cached {
            field("date", value.as_bytes(), out);
        }
    });
}

/// The whole of an error answer: fixed words, and the connection ends.
pub(crate) fn refusal(status: StatusCode, reason: &str, out: &mut BytesMut) {
    status_line(status, out);
    date(out);
    out.put_slice(b"content-type: text/plain; charset=utf-8\r\n");
    content_length(reason.len() as u64 + 1, out);
    out.put_slice(b"connection: close\r\n\r\n");
    out.put_slice(reason.as_bytes());
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests;
