//! A request's head (RFC 9114 section 4.3.1) and trailers, from their fields. Pure.
//!
//! What is malformed (section 4.1.2) is told from what is only not wanted here: the one ends the stream with an error, the
//! other has an answer.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Version};

use super::qpack::{self, Failed};
use crate::form;
use crate::h1;
use crate::server::Refusal;

/// Why a request's head is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The field section cannot be read.
    Unreadable,
    /// The message is malformed.
    Malformed(&'static str),
    /// It has an answer.
    Refused(Refusal),
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    /// In the form that `lib.rs` describes.
    pub(super) request: Request<()>,
    /// What `Content-Length` says.
    pub(super) length: Option<u64>,
}

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Octets of all fields, counted as section 4.2.2 does.
    pub(super) octets: usize,
    /// Fields.
    pub(super) fields: usize,
    /// Octets of the target.
    pub(super) target: usize,
}

const TOO_LARGE: Fault = Fault::Refused(Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the fields are too large",
});

/// What is answered when the field section is too large to be looked at.
pub(super) fn too_large() -> Fault {
    TOO_LARGE
}

/// Reads a request's head.
pub(super) fn request(section: &[u8], limits: Limits) -> Result<Head, Fault> {
    let mut taken = Taken::default();
    qpack::decode(section, limits.octets, |name, value| taken.take(name, value, limits.fields)).map_err(
        |failed| match failed {
            Failed::Broken => Fault::Unreadable,
            Failed::TooLarge => TOO_LARGE,
            Failed::Refused(fault) => fault,
        },
    )?;
    taken.finish(limits)
}

/// Reads trailers.
pub(super) fn trailers(section: &[u8], limits: Limits) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    let take = |name: &[u8], value: &[u8]| {
        if name.first() == Some(&b':') {
            return Err(Fault::Malformed("a pseudo-header field is among the trailers"));
        }
        append(&mut headers, name, value, limits.fields).map(drop)
    };
    match qpack::decode(section, limits.octets, take) {
        Ok(()) => Ok(headers),
        Err(Failed::Broken) => Err(Fault::Unreadable),
        Err(Failed::TooLarge) => Err(TOO_LARGE),
        Err(Failed::Refused(fault)) => Err(fault),
    }
}

/// A regular field.
fn append(headers: &mut HeaderMap, name: &[u8], value: &[u8], most: usize) -> Result<HeaderName, Fault> {
    // No upper case (section 4.2).
    let name = HeaderName::from_lowercase(name)
        .map_err(|_| Fault::Malformed("a field name is malformed, or not in lower case"))?;
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| Fault::Malformed("a field value holds an octet that it must not"))?;
    if form::is_of_connection(&name) {
        return Err(Fault::Malformed("a field of the connection is in a message"));
    }
    if name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
        return Err(Fault::Malformed("TE is something else than trailers"));
    }
    if headers.len() >= most {
        return Err(TOO_LARGE);
    }
    headers.append(&name, value);
    Ok(name)
}

/// The fields so far.
#[derive(Default)]
struct Taken {
    method: Option<Method>,
    scheme: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    headers: HeaderMap,
    /// Whether a field that is no pseudo-header field was seen.
    regular: bool,
    length: Option<u64>,
}

impl Taken {
    fn take(&mut self, name: &[u8], value: &[u8], most: usize) -> Result<(), Fault> {
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        self.regular = true;
        let name = append(&mut self.headers, name, value, most)?;
        if name == header::CONTENT_LENGTH && self.length.replace(length(value)?).is_some() {
            return Err(Fault::Malformed("there is more than one Content-Length"));
        }
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if self.regular {
            return Err(Fault::Malformed("a pseudo-header field follows other fields"));
        }
        let twice = match name {
            b":method" => {
                let method =
                    Method::from_bytes(value).map_err(|_| Fault::Malformed("the method is malformed"))?;
                self.method.replace(method).is_some()
            }
            b":scheme" => self.scheme.replace(value.to_owned()).is_some(),
            b":authority" => self.authority.replace(value.to_owned()).is_some(),
            b":path" => self.path.replace(value.to_owned()).is_some(),
            // Also `:protocol`, which only peers may send that were told so (RFC 9220).
            _ => return Err(Fault::Malformed("a pseudo-header field is not known")),
        };
        if twice { Err(Fault::Malformed("a pseudo-header field is there twice")) } else { Ok(()) }
    }

    fn finish(self, limits: Limits) -> Result<Head, Fault> {
        let missing = Fault::Malformed("a pseudo-header field is missing");
        let method = self.method.ok_or(missing)?;
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_3;
        *request.headers_mut() = self.headers;
        if method == Method::CONNECT {
            // Section 4.4.
            return match (self.scheme, self.path, self.authority) {
                (None, None, Some(_)) => Err(Fault::Refused(form::NO_CONNECT)),
                _ => Err(Fault::Malformed("CONNECT has only an authority")),
            };
        }
        *request.method_mut() = method;
        let (scheme, path) = (self.scheme.ok_or(missing)?, self.path.ok_or(missing)?);
        if ![&b"https"[..], b"http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(Fault::Malformed("the scheme is none that HTTP has"));
        }
        if path.is_empty() || self.authority.as_ref().is_some_and(Vec::is_empty) {
            return Err(Fault::Malformed("a pseudo-header field is empty"));
        }
        if self.authority.is_none() && !request.headers().contains_key(header::HOST) {
            return Err(Fault::Malformed("there is neither an authority nor Host"));
        }
        let bad = |reason| Fault::Refused(Refusal { status: StatusCode::BAD_REQUEST, reason });
        if path.len() > limits.target {
            let status = StatusCode::URI_TOO_LONG;
            return Err(Fault::Refused(Refusal { status, reason: "the request target is too long" }));
        }
        if path.as_slice() != b"*" {
            // Before the library reads it, which would take off what looks like a fragment.
            h1::check_target(&path).map_err(bad)?;
        }
        let target = PathAndQuery::try_from(path.as_slice())
            .map_err(|_| bad("the request target holds a character that it must not"))?;
        form::in_our_form(&mut request, self.authority.as_deref(), Some(target), limits.fields)
            .map_err(Fault::Refused)?;
        Ok(Head { request, length: self.length })
    }
}

/// RFC 9110 section 8.6, in one form only.
fn length(value: &[u8]) -> Result<u64, Fault> {
    let malformed = Fault::Malformed("Content-Length is malformed");
    let plain = value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    let text = std::str::from_utf8(value).map_err(|_| malformed)?;
    if plain { text.parse().map_err(|_| malformed) } else { Err(malformed) }
}

#[cfg(test)]
mod tests;
