//! A request head (RFC 9112 sections 3 and 6): from bytes to [`http::Request`] parts. Pure.

use std::net::Ipv6Addr;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderMap;
use http::{Method, Uri, Version};

use super::head::{self, Coding, Expect, Facts, Fault, METHOD_BYTES};
use super::table::{self, HOST, PATH, QUERY, TOKEN};

/// A request head that has passed every check.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// In the form that `lib.rs` describes.
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the client allows another request on the connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects_continue: bool,
}

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes, at least one.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection (responses only).
    UntilClose,
}

/// Reads a whole head. `headers` is empty; its memory is used.
pub(crate) fn parse(
    bytes: &Bytes,
    lines: &[Range<usize>],
    mut headers: HeaderMap,
    target_limit: usize,
) -> Result<RequestHead, Fault> {
    let [first, rest @ ..] = lines else { return Err(Fault::Malformed("there is no request line")) };
    let line = RequestLine::parse(bytes.get(first.clone()).unwrap_or_default(), target_limit)?;
    let facts = head::fields(bytes, rest, &mut headers)?;
    check_host(line.version, &facts, &headers)?;
    let target = first.start + line.target.start..first.start + line.target.end;
    let uri = target_uri(bytes, target, &line.method, &headers)?;
    let framing = framing(line.version, &facts)?;
    if line.method == Method::TRACE && framing != Framing::Empty {
        // RFC 9110 section 9.3.8.
        return Err(Fault::Malformed("TRACE has no body"));
    }
    let expects_continue = expects_continue(line.version, &facts)?;
    if facts.expect.is_some() && !expects_continue {
        // It means nothing, and is not to mean something to the next reader.
        headers.remove(http::header::EXPECT);
    }
    Ok(RequestHead {
        framing,
        keep_alive: keep_alive(line.version, &facts),
        expects_continue,
        method: line.method,
        version: line.version,
        uri,
        headers,
    })
}

struct RequestLine {
    method: Method,
    target: Range<usize>,
    version: Version,
}

impl RequestLine {
    /// `method SP target SP version`, with exactly these two spaces.
    fn parse(line: &[u8], target_limit: usize) -> Result<Self, Fault> {
        let method_end = table::first_not(TOKEN, line).unwrap_or(line.len());
        let method = line.get(..method_end).unwrap_or_default();
        if line.get(method_end) != Some(&b' ') || method.is_empty() {
            return Err(Fault::Malformed("the request line has no valid method"));
        }
        if method.len() > METHOD_BYTES {
            return Err(Fault::NotImplemented("the method is not known"));
        }
        let start = method_end + 1;
        let rest = line.get(start..).unwrap_or_default();
        let length = memchr::memchr(b' ', rest).ok_or(Fault::Malformed("the request line has no version"))?;
        let version = version(rest.get(length + 1..).unwrap_or_default())?;
        if length == 0 {
            return Err(Fault::Malformed("the request line has no target"));
        }
        if length > target_limit {
            return Err(Fault::LongTarget);
        }
        let method = Method::from_bytes(method)
            .map_err(|_| Fault::Malformed("the request line has no valid method"))?;
        Ok(Self { method, target: start..start + length, version })
    }
}

/// Exactly `HTTP/1.1` or `HTTP/1.0`.
pub(super) fn version(text: &[u8]) -> Result<Version, Fault> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Fault::Version)
        }
        _ => Err(Fault::Malformed("the HTTP version is malformed")),
    }
}

/// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, at most one in HTTP/1.0, and it must be a host.
fn check_host(version: Version, facts: &Facts, headers: &HeaderMap) -> Result<(), Fault> {
    match facts.hosts {
        0 if version == Version::HTTP_10 => return Ok(()),
        0 => return Err(Fault::Malformed("Host is missing")),
        1 => {}
        _ => return Err(Fault::Malformed("there is more than one Host")),
    }
    let host = headers.get(http::header::HOST).map(|host| host.as_bytes()).unwrap_or_default();
    if split_authority(host).is_some() { Ok(()) } else { Err(Fault::Malformed("Host is malformed")) }
}

/// Host and port of `uri-host [":" port]` (RFC 9110 section 7.2), or `None` if that is not what it is.
/// No user information, no empty host.
pub(crate) fn split_authority(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match text {
        [b'[', rest @ ..] => {
            let length = memchr::memchr(b']', rest)?;
            let address = std::str::from_utf8(rest.get(..length)?).ok()?;
            address.parse::<Ipv6Addr>().ok()?;
            length + 2
        }
        _ => table::first_not(HOST, text).unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end)?;
    if host.is_empty() || !percents_are_whole(host) {
        return None;
    }
    match rest {
        [] => Some((host, None)),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            // "host:" with an empty port means the default one (RFC 3986 section 3.2.3).
            let port = if digits.is_empty() { None } else { Some(u16::try_from(port).ok()?) };
            Some((host, port))
        }
        _ => None,
    }
}

/// Whether each `%` is followed by two hexadecimal digits.
fn percents_are_whole(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text)
        .all(|at| text.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// The four forms of RFC 9112 section 3.2.
fn target_uri(
    bytes: &Bytes,
    target: Range<usize>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Uri, Fault> {
    let text = bytes.get(target.clone()).unwrap_or_default();
    let shared = if *method == Method::CONNECT {
        match split_authority(text) {
            Some((_, Some(_))) => bytes.slice(target),
            _ => return Err(Fault::Malformed("the target of CONNECT is not host and port")),
        }
    } else if text == b"*" {
        if *method != Method::OPTIONS {
            return Err(Fault::Malformed("the target * is for OPTIONS only"));
        }
        bytes.slice(target)
    } else if text.first() == Some(&b'/') {
        check_path_and_query(text)?;
        bytes.slice(target)
    } else {
        absolute_to_origin(bytes, target, method, headers)?
    };
    Uri::from_maybe_shared(shared).map_err(|_| BAD_TARGET)
}

const BAD_TARGET: Fault = Fault::Malformed("the request target holds a character that it must not");

/// Path and query by RFC 3986, without a fragment.
pub(super) fn check_path_and_query(text: &[u8]) -> Result<(), Fault> {
    let path_end = table::first_not(PATH, text).unwrap_or(text.len());
    let (path, rest) = text.split_at_checked(path_end).unwrap_or_default();
    if !percents_are_whole(path) {
        return Err(Fault::Malformed("the request target holds a broken percent-encoding"));
    }
    match rest {
        [] => Ok(()),
        [b'?', query @ ..] if table::first_not(QUERY, query).is_none() => Ok(()),
        _ => Err(BAD_TARGET),
    }
}

/// Absolute form: its authority must be what Host says; what remains is the origin form.
fn absolute_to_origin(
    bytes: &Bytes,
    target: Range<usize>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Bytes, Fault> {
    let text = bytes.get(target.clone()).unwrap_or_default();
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let scheme = scheme.ok_or(Fault::Malformed("the request target is in no form that HTTP knows"))?.len();
    let rest = text.get(scheme..).unwrap_or_default();
    let end = rest.iter().position(|octet| matches!(octet, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
    if split_authority(authority).is_none() {
        return Err(Fault::Malformed("the authority of the request target is malformed"));
    }
    // Also without Host, as HTTP/1.0 allows: we would route by one name, and others by the other.
    let host = headers.get(http::header::HOST);
    if host.is_none_or(|host| !host.as_bytes().eq_ignore_ascii_case(authority)) {
        return Err(Fault::Malformed("Host is not the authority of the request target"));
    }
    check_path_and_query(path)?;
    match path.first() {
        Some(b'/') => Ok(bytes.slice(target.start + scheme + end..target.end)),
        None if *method == Method::OPTIONS => Ok(Bytes::from_static(b"*")),
        _ => {
            let mut origin = BytesMut::with_capacity(path.len() + 1);
            origin.put_u8(b'/');
            origin.extend_from_slice(path);
            Ok(origin.freeze())
        }
    }
}

/// RFC 9112 section 6.3, with everything that could be read in two ways refused.
fn framing(version: Version, facts: &Facts) -> Result<Framing, Fault> {
    facts.check_both()?;
    match (facts.coding, facts.length) {
        (Some(_), _) if version == Version::HTTP_10 => {
            Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding"))
        }
        (Some(Coding::Chunked), _) => Ok(Framing::Chunked),
        (Some(Coding::OtherThenChunked), _) => {
            Err(Fault::NotImplemented("the only transfer coding is chunked"))
        }
        (Some(Coding::Other), _) => Err(Fault::Malformed("Transfer-Encoding is not chunked")),
        (None, _) if facts.octal => Err(Fault::Malformed("Content-Length begins with a zero")),
        (None, Some(0) | None) => Ok(Framing::Empty),
        (None, Some(length)) => Ok(Framing::Length(length)),
    }
}

/// RFC 9112 section 9.3.
pub(super) fn keep_alive(version: Version, facts: &Facts) -> bool {
    !facts.close && (version == Version::HTTP_11 || facts.keep_alive)
}

/// RFC 9110 section 10.1.1.
fn expects_continue(version: Version, facts: &Facts) -> Result<bool, Fault> {
    match facts.expect {
        None => Ok(false),
        Some(Expect::Nothing) => Ok(false),
        Some(_) if version == Version::HTTP_10 => Ok(false),
        Some(Expect::Continue) => Ok(true),
        Some(Expect::Other) => Err(Fault::Expectation),
    }
}

#[cfg(test)]
mod tests;
