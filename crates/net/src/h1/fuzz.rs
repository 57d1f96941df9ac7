//! What must hold of the parsers whatever bytes come. Each function takes any bytes and panics when something does not hold:
//! for the fuzz targets in `/fuzz`, and for the tests, which run them over the same seeds and some thousand mutations.
//!
//! The first byte says where the input is cut in two, since how bytes arrive must not matter.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Version};
use tutti_core::limits;

use super::chunked::{self, Decoder, Step};
use super::encode::{self, Framing as OutFraming};
use super::head::{Fault, First, Limits, Scanner};
use super::request::{self, Framing, RequestHead};
use super::response::{self, ResponseHead};
use crate::body::Body;

const LIMITS: Limits = Limits { bytes: 4 << 10, fields: 32, target: 1 << 10 };

/// A request's head: read alike however it arrives; what is accepted, is written so that it is read as the same again.
pub fn request_head(data: &[u8]) {
    let (cut, data) = split(data);
    let whole = read_request(data, data.len());
    let pieces = read_request(data, cut);
    assert_eq!(shown(&whole), shown(&pieces), "it matters how the head arrives");
    let Ok(Some(head)) = whole else { return };
    let (uri, fields) = (head.uri.clone(), end_to_end(&head.headers));
    if !head.headers.contains_key(http::header::HOST) || head.method == Method::CONNECT {
        return;
    }
    let body = match head.framing {
        Framing::Empty | Framing::UntilClose => Body::empty(),
        // Its announced length is in the fields still.
        Framing::Length(_) | Framing::Chunked => Body::channel(1).1,
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri;
    *request.headers_mut() = head.headers;
    let framing = encode::plan_request(&request);
    let mut out = BytesMut::new();
    assert!(encode::request_head(&request, framing, &mut out).is_ok(), "what was read cannot be written");
    let again = read_request(&out, out.len());
    let Ok(Some(again)) = again else { return assert!(false_alarm(&out), "we would not read what we wrote") };
    assert_eq!((again.method, again.uri), (head.method, uri));
    assert_eq!(end_to_end(&again.headers), fields);
    let written = match framing {
        OutFraming::Nothing | OutFraming::Length(0) => Framing::Empty,
        OutFraming::Length(length) => Framing::Length(length),
        OutFraming::Chunked => Framing::Chunked,
        OutFraming::UntilClose => Framing::UntilClose,
    };
    assert_eq!(
        (again.framing, head.framing),
        (written, written),
        "the body has another length on the way out"
    );
}

/// Only a limit may stop what we wrote: it has more blanks and fields than what was read.
fn false_alarm(out: &[u8]) -> bool {
    out.len() > LIMITS.bytes
        || matches!(read_request(out, out.len()), Err(Fault::TooLarge(_) | Fault::LongTarget))
}

/// A response's head, likewise. The second byte says what it answers.
pub fn response_head(data: &[u8]) {
    let (cut, data) = split(data);
    let (kind, data) = data.split_first().map_or((0, data), |(kind, rest)| (*kind, rest));
    let method = match kind % 3 {
        0 => Method::GET,
        1 => Method::HEAD,
        _ => Method::CONNECT,
    };
    let whole = read_response(data, data.len(), &method);
    let pieces = read_response(data, cut, &method);
    assert_eq!(shown(&whole), shown(&pieces), "it matters how the head arrives");
    let Ok(Some(head)) = whole else { return };
    if head.status.is_informational() || method == Method::CONNECT {
        return;
    }
    let fields = end_to_end(&head.headers);
    let body = if head.framing == Framing::Empty { Body::empty() } else { Body::channel(1).1 };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response.headers_mut().entry(http::header::DATE).or_insert(HeaderValue::from_static("x"));
    let plan = encode::plan_response(&method, Version::HTTP_11, true, &response);
    let mut out = BytesMut::new();
    encode::response_head(&response, &method, Version::HTTP_11, plan, &mut out);
    match read_response(&out, out.len(), &method) {
        Ok(Some(again)) => {
            let mut fields = fields;
            if !fields.iter().any(|(name, _)| name == http::header::DATE) {
                fields.push((http::header::DATE, HeaderValue::from_static("x")));
                fields.sort_by(|a, b| (a.0.as_str(), a.1.as_bytes()).cmp(&(b.0.as_str(), b.1.as_bytes())));
            }
            assert_eq!((again.status, end_to_end(&again.headers)), (head.status, fields));
            assert_ne!(again.framing, Framing::UntilClose, "a client of HTTP/1.1 gets a length or chunks");
        }
        other => assert!(
            out.len() > LIMITS.bytes || matches!(other, Err(Fault::TooLarge(_))),
            "we would not read what we wrote: {:?}",
            shown(&other)
        ),
    }
}

/// A chunked body: decoded alike however it arrives, and written so that it is decoded as the same again.
pub fn chunked(data: &[u8]) {
    let (cut, data) = split(data);
    let whole = decode(&[data]);
    let (first, second) = data.split_at_checked(cut).unwrap_or((data, &[]));
    assert_eq!(whole, decode(&[first, second]), "it matters how the chunks arrive");
    let octets: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(whole, decode(&octets), "it matters how the chunks arrive");
    let Ok((body, Some(trailers), left)) = whole else { return };
    assert_eq!(plainly(data), Some((body.clone(), left)), "the sizes say something else");
    let mut out = BytesMut::new();
    for piece in body.chunks(7) {
        chunked::encode_size(piece.len(), &mut out);
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    chunked::encode_end(Some(&trailers), &mut out);
    let length = out.len();
    if length < limits::HTTP_TRAILER_BYTES {
        assert_eq!(decode(&[&out]), Ok((body, Some(trailers), 0)), "we would not read what we wrote");
    }
}

fn split(data: &[u8]) -> (usize, &[u8]) {
    let (first, rest) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    (first.min(rest.len()), rest)
}

/// The body so far, the trailers once the end was reached, and what is left.
type Decoded = Result<(Vec<u8>, Option<HeaderMap>, usize), &'static str>;

fn decode(pieces: &[&[u8]]) -> Decoded {
    let (mut decoder, mut buf, mut body) = (Decoder::new(LIMITS.fields), BytesMut::new(), Vec::new());
    let mut to_come: usize = pieces.iter().map(|piece| piece.len()).sum();
    for piece in pieces {
        buf.extend_from_slice(piece);
        to_come -= piece.len();
        loop {
            match decoder.step(&mut buf)? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::More => break,
                Step::End(trailers) => {
                    return Ok((body, Some(trailers.unwrap_or_default()), buf.len() + to_come));
                }
            }
        }
    }
    Ok((body, None, 0))
}

/// A chunked body that is well-formed, read as plainly as can be: its data, and how much follows it.
fn plainly(mut data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let line = |data: &mut &[u8]| {
        let end = data.windows(2).position(|two| two == b"\r\n")?;
        let line = data.get(..end)?;
        *data = data.get(end + 2..)?;
        Some(line.to_vec())
    };
    loop {
        let said = String::from_utf8_lossy(&line(&mut data)?).into_owned();
        let digits = said.split(';').next()?;
        let size = usize::try_from(u64::from_str_radix(digits, 16).ok()?).ok()?;
        if size == 0 {
            while !line(&mut data)?.is_empty() {}
            return Some((body, data.len()));
        }
        body.extend_from_slice(data.get(..size)?);
        data = data.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// The head's bytes and its scanner, when the head is whole.
fn scan(first: First, data: &[u8], cut: usize) -> Result<Option<(Bytes, Scanner)>, Fault> {
    let mut scanner = Scanner::new(first);
    for end in [cut, data.len()] {
        let seen = data.get(..end).unwrap_or(data);
        if seen.is_empty() {
            continue;
        }
        if let Some(length) = scanner.scan(seen, &LIMITS)? {
            let head = data.get(..length).unwrap_or(data);
            return Ok(Some((Bytes::copy_from_slice(head), scanner)));
        }
    }
    Ok(None)
}

fn read_request(data: &[u8], cut: usize) -> Result<Option<RequestHead>, Fault> {
    let Some((bytes, scanner)) = scan(First::Request, data, cut)? else { return Ok(None) };
    request::parse(&bytes, scanner.lines(), HeaderMap::new(), LIMITS.target).map(Some)
}

fn read_response(data: &[u8], cut: usize, method: &Method) -> Result<Option<ResponseHead>, Fault> {
    let Some((bytes, scanner)) = scan(First::Response, data, cut)? else { return Ok(None) };
    response::parse(&bytes, scanner.lines(), HeaderMap::new(), method).map(Some)
}

/// Faults may differ in their words: which of two comes first depends on how much is here. That there is one may not.
fn shown<T: std::fmt::Debug>(read: &Result<Option<T>, Fault>) -> String {
    match read {
        Ok(read) => format!("{read:?}"),
        Err(_) => "refused".to_owned(),
    }
}

/// The fields that are not of one hop, in an order of their own.
fn end_to_end(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    const HOP: [&str; 6] =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "upgrade"];
    let mut fields: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !HOP.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    fields.sort_by(|a, b| (a.0.as_str(), a.1.as_bytes()).cmp(&(b.0.as_str(), b.1.as_bytes())));
    fields
}

#[cfg(test)]
mod tests;
