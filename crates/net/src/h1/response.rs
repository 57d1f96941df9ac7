//! A response head (RFC 9112 sections 4 and 6): from bytes to status, fields and framing. Pure.

use std::ops::Range;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode, Version};

use super::head::{self, Coding, Facts, Fault};
use super::request::{Framing, keep_alive, version};

/// A response head that has passed every check.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the server allows another request on the connection.
    pub(crate) keep_alive: bool,
    /// Whether it agrees to leave HTTP (101 with `Connection: upgrade`).
    pub(crate) upgrade: bool,
}

/// Reads a whole head that answers a request with `method`. `headers` is empty; its memory is used.
pub(crate) fn parse(
    bytes: &Bytes,
    lines: &[Range<usize>],
    mut headers: HeaderMap,
    method: &Method,
) -> Result<ResponseHead, Fault> {
    let [first, rest @ ..] = lines else { return Err(Fault::Malformed("there is no status line")) };
    let (version, status) = status_line(bytes.get(first.clone()).unwrap_or_default())?;
    let facts = head::fields(bytes, rest, &mut headers)?;
    let framing = framing(version, status, method, &facts)?;
    // A message without a body that announces one leaves it open what the next bytes are.
    let clear = !announces_what_cannot_be(status, &facts);
    let keep_alive = clear && framing != Framing::UntilClose && keep_alive(version, &facts);
    Ok(ResponseHead { status, version, headers, framing, keep_alive, upgrade: facts.upgrade })
}

/// `version SP 3DIGIT [SP reason]`. The second space is often left out before an empty reason; that has one reading only.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let (version_text, rest) =
        line.split_at_checked(8).ok_or(Fault::Malformed("the status line is malformed"))?;
    let version = version(version_text)?;
    let (digits, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(Fault::Malformed("the status line is malformed")),
    };
    if !head::is_text(reason) {
        return Err(Fault::Malformed("the reason phrase holds a control character"));
    }
    match StatusCode::from_bytes(&digits) {
        Ok(status) if status.as_u16() < 600 => Ok((version, status)),
        _ => Err(Fault::Malformed("the status code is malformed")),
    }
}

/// RFC 9112 section 6.3.
fn framing(version: Version, status: StatusCode, method: &Method, facts: &Facts) -> Result<Framing, Fault> {
    facts.check_both()?;
    if facts.coding.is_some() && version == Version::HTTP_10 {
        return Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding"));
    }
    if matches!(facts.coding, Some(Coding::Other | Coding::OtherThenChunked)) {
        return Err(Fault::Malformed("Transfer-Encoding is not chunked"));
    }
    let tunnel = *method == Method::CONNECT && status.is_success();
    if *method == Method::HEAD || tunnel || has_no_body(status) {
        return Ok(Framing::Empty);
    }
    Ok(match (facts.coding, facts.length) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(0)) => Framing::Empty,
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilClose,
    })
}

/// Status codes whose responses never have a body.
pub(super) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn announces_what_cannot_be(status: StatusCode, facts: &Facts) -> bool {
    has_no_body(status)
        && status != StatusCode::NOT_MODIFIED
        && (facts.coding.is_some() || facts.length.is_some_and(|length| length > 0))
}

#[cfg(test)]
mod tests;
