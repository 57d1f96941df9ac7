//! The chunked transfer coding (RFC 9112 section 7.1). Pure: bytes in, steps out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use tutti_core::limits;

use super::head::{self, First, Limits, MAX_LENGTH, Scanner};
use super::table;

/// What the decoder found.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Some data; never empty.
    Data(Bytes),
    /// The end, perhaps with trailers.
    End(Option<HeaderMap>),
    /// Nothing yet: more bytes are needed.
    More,
}

/// Decodes a chunked body as its bytes arrive.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    fields: usize,
}

#[derive(Debug)]
enum State {
    /// Before or in a line with a chunk's size.
    Size,
    /// In a chunk's data: so many bytes are left, at least one.
    Data(u64),
    /// Before the CRLF behind a chunk's data.
    DataEnd,
    /// In the trailer section.
    Trailers(Scanner),
    /// Behind the end.
    Done,
}

impl Decoder {
    /// A decoder for one body with at most `fields` trailers.
    pub(crate) fn new(fields: usize) -> Self {
        Self { state: State::Size, fields }
    }

    /// Takes the next step, consuming from `buf` what it has understood.
    pub(crate) fn step(&mut self, buf: &mut BytesMut) -> Result<Step, &'static str> {
        loop {
            match &mut self.state {
                State::Size => {
                    let Some((size, length)) = size_line(buf)? else { return Ok(Step::More) };
                    buf.advance(length);
                    self.state = match size {
                        0 => State::Trailers(Scanner::new(First::Field)),
                        size => State::Data(size),
                    };
                }
                State::Data(left) => {
                    if buf.is_empty() {
                        return Ok(Step::More);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Step::Data(buf.split_to(take).freeze()));
                }
                State::DataEnd => {
                    match (buf.first(), buf.get(1)) {
                        (Some(b'\r'), Some(b'\n')) => buf.advance(2),
                        (None, _) | (Some(b'\r'), None) => return Ok(Step::More),
                        _ => return Err("a chunk is longer than its size says"),
                    }
                    self.state = State::Size;
                }
                State::Trailers(scanner) => {
                    let Some(trailers) = trailers(scanner, buf, self.fields)? else { return Ok(Step::More) };
                    self.state = State::Done;
                    return Ok(Step::End(trailers));
                }
                State::Done => return Ok(Step::End(None)),
            }
        }
    }
}

/// `1*HEXDIG [";" extensions] CRLF`: the size and the length of the line. No whitespace, sign or prefix.
fn size_line(buf: &[u8]) -> Result<Option<(u64, usize)>, &'static str> {
    let window = buf.get(..limits::HTTP_CHUNK_LINE_BYTES).unwrap_or(buf);
    let digits = window.iter().position(|octet| !octet.is_ascii_hexdigit()).unwrap_or(window.len());
    if digits > 16 {
        return Err("the size of a chunk is too large");
    }
    match window.get(digits) {
        _ if digits == 0 && !window.is_empty() => return Err("a chunk has no size"),
        None => return Ok(None),
        Some(b'\r') if window.get(digits + 1).is_some_and(|octet| *octet != b'\n') => {
            return Err("a line does not end with CRLF");
        }
        Some(b';' | b'\r') => {}
        Some(_) => return Err("the size of a chunk is malformed"),
    }
    let Some(line_feed) = memchr::memchr(b'\n', window) else {
        return if window.len() < buf.len() || buf.len() == limits::HTTP_CHUNK_LINE_BYTES {
            Err("the line with the size of a chunk is too long")
        } else {
            Ok(None)
        };
    };
    let Some([line @ .., b'\r']) = window.get(..line_feed) else {
        return Err("a line does not end with CRLF");
    };
    if !head::is_text(line) {
        return Err("a chunk extension holds a control character");
    }
    if line.len() > digits && !are_extensions(line.get(digits..).unwrap_or_default()) {
        return Err("a chunk extension is malformed");
    }
    let size = line
        .iter()
        .take(digits)
        .fold(0_u64, |sum, digit| sum << 4 | u64::from((*digit as char).to_digit(16).unwrap_or_default()));
    if size > MAX_LENGTH { Err("the size of a chunk is too large") } else { Ok(Some((size, line_feed + 1))) }
}

/// `*( ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 section 7.1.1), without the whitespace that it allows
/// before a semicolon.
fn are_extensions(mut rest: &[u8]) -> bool {
    let blank = |text: &mut &[u8]| {
        let blanks = text.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
        *text = text.get(blanks..).unwrap_or_default();
    };
    while let Some(extension) = rest.strip_prefix(b";") {
        rest = extension;
        blank(&mut rest);
        if !skip_token(&mut rest) {
            return false;
        }
        if rest.is_empty() {
            return true;
        }
        let named = rest;
        blank(&mut rest);
        let Some(value) = rest.strip_prefix(b"=") else {
            rest = named;
            continue;
        };
        rest = value;
        blank(&mut rest);
        if !skip_token(&mut rest) && !skip_quoted(&mut rest) {
            return false;
        }
    }
    rest.is_empty()
}

fn skip_token(text: &mut &[u8]) -> bool {
    let length = table::first_not(table::TOKEN, text).unwrap_or(text.len());
    *text = text.get(length..).unwrap_or_default();
    length > 0
}

fn skip_quoted(text: &mut &[u8]) -> bool {
    let Some(mut rest) = text.strip_prefix(b"\"") else { return false };
    loop {
        rest = match rest {
            [b'"', after @ ..] => {
                *text = after;
                return true;
            }
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return false,
        };
    }
}

/// The trailer section, when it is whole.
fn trailers(
    scanner: &mut Scanner,
    buf: &mut BytesMut,
    fields: usize,
) -> Result<Option<Option<HeaderMap>>, &'static str> {
    let limits = Limits { bytes: limits::HTTP_TRAILER_BYTES, fields, target: 0 };
    let Some(length) = scanner.scan(buf, &limits).map_err(head::Fault::reason)? else { return Ok(None) };
    let bytes = buf.split_to(length).freeze();
    if scanner.lines().is_empty() {
        return Ok(Some(None));
    }
    let mut map = HeaderMap::with_capacity(scanner.lines().len());
    head::fields(&bytes, scanner.lines(), &mut map).map_err(head::Fault::reason)?;
    if map.keys().any(is_forbidden_trailer) {
        return Err("a trailer field is one that must not be in a trailer");
    }
    Ok(Some(Some(map)))
}

/// Fields that say how a message is framed, routed, authenticated or read, and so come too late in a trailer
/// (RFC 9110 section 6.5.1).
pub(crate) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    const FORBIDDEN: [HeaderName; 29] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::EXPIRES,
        header::HOST,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ];
    FORBIDDEN.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Writes the line before a chunk of `length` bytes.
pub(crate) fn encode_size(length: usize, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = length >> (digit * 4) & 15;
        out.put_u8(HEX.get(nibble).copied().unwrap_or_default());
    }
    out.put_slice(b"\r\n");
}

/// Writes the end of a body. Fields that must not be in a trailer are left out.
pub(crate) fn encode_end(trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| !is_forbidden_trailer(name)) {
        super::encode::field(name.as_str(), value.as_bytes(), out);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
