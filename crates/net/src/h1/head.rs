//! The head of a message: lines, fields, and what the fields say about framing. Pure: no I/O, no clock.
//!
//! Two steps. [`Scanner`] finds the lines as bytes arrive, looks at each byte once, and stops at the first
//! line end that is not CRLF. When the head is whole, [`fields`] makes an [`http::HeaderMap`] whose values share
//! the read buffer.

use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use tutti_core::octets;

use super::table::{self, TEXT, TOKEN};
use crate::field;
use crate::server::Refusal;

/// What is wrong with a head, in fixed words (they go into answers and logs; nothing of the peer's does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not what RFC 9112 allows.
    Malformed(&'static str),
    /// The request target is too long.
    LongTarget,
    /// The head is too large or has too many fields.
    TooLarge(&'static str),
    /// Well formed, but something that we do not do.
    NotImplemented(&'static str),
    /// An expectation other than `100-continue`.
    Expectation,
    /// Another version of HTTP.
    Version,
}

impl Fault {
    /// What is wrong.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Fault::Malformed(reason) | Fault::TooLarge(reason) | Fault::NotImplemented(reason) => reason,
            Fault::LongTarget => "the request target is too long",
            Fault::Expectation => "only the expectation 100-continue can be met",
            Fault::Version => "the HTTP version is neither 1.0 nor 1.1",
        }
    }
}

/// How much a head may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All of it.
    pub(crate) bytes: usize,
    /// The lines after the first.
    pub(crate) fields: usize,
    /// The request target.
    pub(crate) target: usize,
}

/// What a head begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// A request line. One empty line before it is skipped (RFC 9112 section 2.2).
    Request,
    /// A status line.
    Response,
    /// A field or the end: trailers.
    Field,
}

/// Finds the lines of a head as bytes arrive. Used again for the next head after [`Scanner::reset`].
#[derive(Debug)]
pub(crate) struct Scanner {
    first: First,
    /// Everything before this has been looked at.
    seen: usize,
    /// Where the current line begins.
    start: usize,
    /// The lines, without their CRLF.
    lines: Vec<Range<usize>>,
}

impl Scanner {
    /// A scanner for heads of a kind.
    pub(crate) fn new(first: First) -> Self {
        Self { first, seen: 0, start: 0, lines: Vec::new() }
    }

    /// Forgets what was seen.
    pub(crate) fn reset(&mut self) {
        self.seen = 0;
        self.start = 0;
        self.lines.clear();
    }

    /// The lines found.
    pub(crate) fn lines(&self) -> &[Range<usize>] {
        &self.lines
    }

    /// Looks at what is new in `buf`, which holds everything since the last reset. `Some(n)`: the head is whole and has `n` bytes,
    /// with the empty line.
    pub(crate) fn scan(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, Fault> {
        if self.seen == 0 {
            self.check_first(buf)?;
        }
        while let Some(found) = memchr::memchr(b'\n', buf.get(self.seen..).unwrap_or_default()) {
            let line_feed = self.seen + found;
            let line = buf.get(self.start..line_feed).unwrap_or_default();
            let [text @ .., b'\r'] = line else {
                return Err(Fault::Malformed("a line does not end with CRLF"));
            };
            let range = self.start..self.start + text.len();
            self.seen = line_feed + 1;
            self.start = self.seen;
            if !range.is_empty() {
                self.lines.push(range);
                self.check_size(limits)?;
            } else if !self.lines.is_empty() || self.first == First::Field {
                return if self.seen > limits.bytes { Err(self.too_large()) } else { Ok(Some(self.seen)) };
            } else if self.first == First::Response || self.start > 2 {
                return Err(Fault::Malformed("the first line is empty"));
            }
        }
        self.seen = buf.len();
        if buf.len() > limits.bytes {
            return Err(self.too_large());
        }
        if self.first == First::Request
            && self.lines.is_empty()
            && buf.len() - self.start > line_limit(limits)
        {
            return Err(Fault::LongTarget);
        }
        Ok(None)
    }

    /// Says no to what can never become HTTP, such as a TLS handshake, without waiting for a line end.
    fn check_first(&self, buf: &[u8]) -> Result<(), Fault> {
        match buf.first() {
            Some(b'\r') if self.first != First::Response => Ok(()),
            Some(octet) if !table::is(TOKEN, *octet) => Err(Fault::Malformed(match octet {
                b'\n' => "a line does not end with CRLF",
                b' ' | b'\t' => "the head begins with whitespace",
                _ => "the head begins with a character that no HTTP message begins with",
            })),
            _ => Ok(()),
        }
    }

    fn check_size(&self, limits: &Limits) -> Result<(), Fault> {
        let fields = self.lines.len() - usize::from(self.first != First::Field);
        if fields > limits.fields {
            return Err(Fault::TooLarge("there are too many fields"));
        }
        if self.first == First::Request
            && self.lines.first().is_some_and(|line| line.len() > line_limit(limits))
        {
            return Err(Fault::LongTarget);
        }
        if self.start > limits.bytes { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> Fault {
        if self.first == First::Request && self.lines.is_empty() {
            Fault::LongTarget
        } else {
            Fault::TooLarge("the fields are too large")
        }
    }
}

/// The target, and room for the method and the version.
fn line_limit(limits: &Limits) -> usize {
    limits.target + METHOD_BYTES + " HTTP/1.1 ".len()
}

/// Longest method; the longest registered one has 17 octets.
pub(super) const METHOD_BYTES: usize = 32;

/// What the fields say about framing and the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The value of the one Content-Length field.
    pub(crate) length: Option<u64>,
    /// Whether it is written with a zero in front, which some readers take for octal.
    pub(crate) octal: bool,
    /// What the one Transfer-Encoding field says.
    pub(crate) coding: Option<Coding>,
    /// `Connection: close`.
    pub(crate) close: bool,
    /// `Connection: keep-alive`.
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade`.
    pub(crate) upgrade: bool,
    /// An Expect field.
    pub(crate) expect: Option<Expect>,
    /// How many Host fields there are.
    pub(crate) hosts: usize,
}

/// A transfer coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `chunked` and nothing else.
    Chunked,
    /// Something else that ends with chunked: well formed.
    OtherThenChunked,
    /// Anything else.
    Other,
}

/// What the client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// `100-continue`.
    Continue,
    /// The field is there and empty.
    Nothing,
    /// Something that we do not know.
    Other,
}

/// Reads the field lines of a whole head into `map`, which is empty.
pub(crate) fn fields(head: &Bytes, lines: &[Range<usize>], map: &mut HeaderMap) -> Result<Facts, Fault> {
    let mut facts = Facts::default();
    for line in lines {
        let text = head.get(line.clone()).unwrap_or_default();
        let (name, colon) = match known(text) {
            Some(found) => found,
            None => name(text)?,
        };
        let value = trim(text, colon + 1);
        let told = text.get(value.clone()).unwrap_or_default();
        facts.learn(&name, told)?;
        if name == header::CONNECTION && octets::same_word(told, b"keep-alive") {
            // Noted above, and of no use to anybody further on.
            continue;
        }
        let value = field::value(head.slice(line.start + value.start..line.start + value.end))
            .ok_or(Fault::Malformed("a field value holds a control character"))?;
        map.try_append(name, value).map_err(|_| Fault::TooLarge("there are too many fields"))?;
    }
    Ok(facts)
}

/// The name in front of a field line and where it ends, if it is one of those that stand in most heads: they need no closer look.
fn known(line: &[u8]) -> Option<(HeaderName, usize)> {
    let colon = octets::first(line, |eight| eight.is(b':'))?;
    let name = line.get(..colon)?;
    let candidate = match (colon, name.first()?.to_ascii_lowercase()) {
        (4, b'd') => header::DATE,
        (4, b'e') => header::ETAG,
        (4, b'h') => header::HOST,
        (4, b'v') => header::VARY,
        (6, b'a') => header::ACCEPT,
        (6, b'c') => header::COOKIE,
        (6, b's') => header::SERVER,
        (10, b'c') => header::CONNECTION,
        (10, b's') => header::SET_COOKIE,
        (10, b'u') => header::USER_AGENT,
        (12, b'c') => header::CONTENT_TYPE,
        (13, b'a') => header::AUTHORIZATION,
        (13, b'c') => header::CACHE_CONTROL,
        (13, b'l') => header::LAST_MODIFIED,
        (14, b'c') => header::CONTENT_LENGTH,
        (15, b'a') if name.ends_with(b"g") => header::ACCEPT_ENCODING,
        (15, b'a') => header::ACCEPT_LANGUAGE,
        _ => return None,
    };
    octets::same_word(name, candidate.as_str().as_bytes()).then_some((candidate, colon))
}

/// The name in front of a field line, and where it ends.
fn name(line: &[u8]) -> Result<(HeaderName, usize), Fault> {
    let colon = name_end(line)?;
    // It refuses what `table` refuses.
    let name = HeaderName::from_bytes(line.get(..colon).unwrap_or_default());
    Ok((name.map_err(|_| Fault::Malformed("a field name is too long"))?, colon))
}

/// The place of the colon behind a field name.
fn name_end(line: &[u8]) -> Result<usize, Fault> {
    let end = table::first_not(TOKEN, line);
    match end.and_then(|end| line.get(end).map(|octet| (end, *octet))) {
        Some((0, b' ' | b'\t')) => Err(Fault::Malformed("a field is folded over lines")),
        Some((0, b':')) => Err(Fault::Malformed("a field has no name")),
        Some((end, b':')) => Ok(end),
        Some((_, b' ' | b'\t')) => Err(Fault::Malformed("whitespace stands before the colon of a field")),
        Some(_) => Err(Fault::Malformed("a field name holds a character that it must not")),
        None => Err(Fault::Malformed("a field has no colon")),
    }
}

/// The rest of a line without the whitespace around it.
fn trim(line: &[u8], from: usize) -> Range<usize> {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let rest = line.get(from..).unwrap_or_default();
    let Some(first) = rest.iter().position(|octet| !blank(octet)) else { return from..from };
    let last = rest.iter().rposition(|octet| !blank(octet)).unwrap_or(first);
    from + first..from + last + 1
}

impl Facts {
    /// Takes note of a field, if it is one of those that matter here.
    #[inline]
    fn learn(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Fault> {
        // By length first: most fields are none of these.
        match name.as_str().len() {
            4 if *name == header::HOST => self.hosts += 1,
            6 if *name == header::EXPECT => self.learn_expect(value),
            10 if *name == header::CONNECTION => self.learn_connection(value),
            14 if *name == header::CONTENT_LENGTH => return self.learn_length(value),
            17 if *name == header::TRANSFER_ENCODING => return self.learn_coding(value),
            // CGI and its heirs do not tell `_` from `-`.
            14 if name == "content_length" => return Err(UNDERSCORE),
            17 if name == "transfer_encoding" => return Err(UNDERSCORE),
            _ => {}
        }
        Ok(())
    }

    fn learn_expect(&mut self, value: &[u8]) {
        let first = matches!(self.expect, None | Some(Expect::Nothing));
        self.expect = Some(match value {
            b"" => self.expect.unwrap_or(Expect::Nothing),
            _ if first && value.eq_ignore_ascii_case(b"100-continue") => Expect::Continue,
            _ => Expect::Other,
        });
    }

    fn learn_connection(&mut self, value: &[u8]) {
        for option in value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// One field, of digits only: no list, no sign, no second field even if it is the same.
    fn learn_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::Malformed("there is more than one Content-Length"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Malformed("Content-Length is not a number"));
        }
        let length = value.iter().try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|sum| *sum <= MAX_LENGTH)
        });
        self.octal = value.len() > 1 && value.first() == Some(&b'0');
        self.length = Some(length.ok_or(Fault::Malformed("Content-Length is too large"))?);
        Ok(())
    }

    fn learn_coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.coding.is_some() {
            return Err(Fault::Malformed("there is more than one Transfer-Encoding"));
        }
        let codings = value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
        let words = codings.clone().all(|word| !word.is_empty() && table::first_not(TOKEN, word).is_none());
        let ends = codings.clone().next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        let times = codings.filter(|word| word.eq_ignore_ascii_case(b"chunked")).count();
        self.coding = Some(match (value.eq_ignore_ascii_case(b"chunked"), words && ends && times == 1) {
            (true, _) => Coding::Chunked,
            (false, true) => Coding::OtherThenChunked,
            (false, false) => Coding::Other,
        });
        Ok(())
    }

    /// Both framings at once is how requests are smuggled.
    pub(crate) fn check_both(&self) -> Result<(), Fault> {
        if self.length.is_some() && self.coding.is_some() {
            return Err(Fault::Malformed("both Content-Length and Transfer-Encoding are given"));
        }
        Ok(())
    }
}

const UNDERSCORE: Fault = Fault::Malformed("a field of framing is written with an underscore");

/// Largest length of a body. What does not fit into a signed 64-bit number, other parsers read as negative.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

/// Whether octets may stand in a reason phrase or chunk extension.
pub(super) fn is_text(octets: &[u8]) -> bool {
    table::first_not(TEXT, octets).is_none()
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = match fault {
            Fault::Malformed(_) => StatusCode::BAD_REQUEST,
            Fault::LongTarget => StatusCode::URI_TOO_LONG,
            Fault::TooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Fault::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Fault::Expectation => StatusCode::EXPECTATION_FAILED,
            Fault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        };
        Refusal { status, reason: fault.reason() }
    }
}

#[cfg(test)]
mod tests;
