//! Where a credential stands in a request.

use http::Request;
use http::header::{self, HeaderName};
use tutti_net::Body;
use tutti_ports::routing::Place;

/// A place, compiled.
pub enum At {
    /// After `Bearer` in `Authorization`.
    Bearer,
    /// In a field.
    Header(HeaderName),
    /// In a parameter of the query.
    Query(String),
    /// In a cookie.
    Cookie(String),
}

impl At {
    /// Compiles; the text says what is wrong.
    pub fn compile(place: &Place) -> Result<Self, String> {
        Ok(match place {
            Place::Header(name) if name == "authorization" => At::Bearer,
            Place::Header(name) => {
                let bad = |_| format!("{name:?} is not the name of a header field");
                At::Header(HeaderName::from_bytes(name.as_bytes()).map_err(bad)?)
            }
            Place::Query(name) => At::Query(name.clone()),
            Place::Cookie(name) => At::Cookie(name.clone()),
        })
    }

    /// What stands there. Two of them are as good as none: the service might read the other one.
    pub fn read(&self, request: &Request<Body>) -> Option<String> {
        match self {
            At::Bearer => {
                let value = only(request, &header::AUTHORIZATION)?;
                let (scheme, token) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
            }
            At::Header(name) => only(request, name).map(|value| value.trim().to_owned()),
            At::Query(name) => {
                let parts = request.uri().query()?.split('&').filter_map(|part| part.split_once('='));
                let mut values = parts.filter(|(key, _)| key == name).map(|(_, value)| value.to_owned());
                values.next().filter(|_| values.next().is_none())
            }
            At::Cookie(name) => {
                let fields = request.headers().get_all(header::COOKIE).iter();
                let texts = fields.filter_map(|field| field.to_str().ok());
                let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
                let mut values =
                    pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
                values.next().filter(|_| values.next().is_none())
            }
        }
        .filter(|value| !value.is_empty())
    }
}

impl At {
    /// Whether anything stands there, also what [`At::read`] makes nothing of: what is there twice, empty bytes that are no text, a name
    /// that is spelt with `%`. A service might make something of it, so nobody passes with it as if it were not there.
    pub fn is_there(&self, request: &Request<Body>) -> bool {
        let fields =
            |name: &HeaderName| request.headers().get_all(name).into_iter().map(|field| field.as_bytes());
        match self {
            At::Bearer => fields(&header::AUTHORIZATION).any(|value| is_scheme(value, b"bearer")),
            At::Header(name) => fields(name).any(|value| !value.trim_ascii().is_empty()),
            At::Query(name) => request.uri().query().unwrap_or_default().split('&').any(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                !value.is_empty() && unescaped(key) == name.as_bytes()
            }),
            At::Cookie(name) => {
                fields(&header::COOKIE).flat_map(|field| field.split(|byte| *byte == b';')).any(|pair| {
                    let mut parts = pair.splitn(2, |byte| *byte == b'=');
                    let key = parts.next().unwrap_or_default().trim_ascii();
                    key == name.as_bytes() && parts.next().is_some_and(|value| !value.trim_ascii().is_empty())
                })
            }
        }
    }
}

/// Whether a value of `Authorization` is of a scheme, however it goes on.
pub fn is_scheme(value: &[u8], scheme: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    let (Some(start), next) = (value.get(..scheme.len()), value.get(scheme.len())) else { return false };
    start.eq_ignore_ascii_case(scheme) && next.is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// A part of a query without its percent-encoding.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, next)) = rest.split_first() {
        let digit = |at: usize| next.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = next.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = next;
            }
        }
    }
    out
}

fn only<'a>(request: &'a Request<Body>, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: Place, uri: &str, fields: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        At::compile(&place).unwrap().read(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn a_credential_stands_where_it_is_said_and_only_once() {
        let bearer = |fields: &[(&str, &str)]| read(Place::Header("authorization".into()), "/", fields);
        assert_eq!(bearer(&[("authorization", "bEaReR x.y.z")]).as_deref(), Some("x.y.z"));
        assert_eq!(bearer(&[("authorization", "Basic x")]), None);
        assert_eq!(bearer(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), None);
        let query = |uri| read(Place::Query("key".into()), uri, &[]);
        assert_eq!(query("/?a=1&key=k").as_deref(), Some("k"));
        assert_eq!(query("/?key=k&key=l"), None);
        let cookie = |text: &'static str| read(Place::Cookie("s".into()), "/", &[("cookie", text)]);
        assert_eq!(cookie("a=1; s=t; b=2").as_deref(), Some("t"));
        assert_eq!((cookie("s=t; s=u"), cookie("xs=t"), cookie("s=")), (None, None, None));
    }

    #[test]
    fn what_cannot_be_read_is_there_all_the_same() {
        let there = |place: Place, uri: &str, fields: &[(&str, &[u8])]| {
            let mut request = Request::get(uri);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            At::compile(&place).unwrap().is_there(&request.body(Body::empty()).unwrap())
        };
        let bearer = |fields: &[(&str, &[u8])]| there(Place::Header("authorization".into()), "/", fields);
        assert!(bearer(&[("authorization", b"Bearer a"), ("authorization", b"Bearer b")]));
        assert!(bearer(&[("authorization", b"Basic a"), ("authorization", b"bearer\tb")]));
        assert!(bearer(&[("authorization", b"Bearer \xff")]));
        assert!(
            !bearer(&[("authorization", b"Basic a")])
                && !bearer(&[("authorization", b"BearerX a")])
                && !bearer(&[])
        );
        let query = |uri| there(Place::Query("key".into()), uri, &[]);
        assert!(query("/?key=a&key=b") && query("/?%6bey=a") && query("/?a&k%65y=b"));
        assert!(!query("/?key=") && !query("/?%6be=a") && !query("/"));
        let cookie = |text: &[u8]| there(Place::Cookie("s".into()), "/", &[("cookie", text)]);
        assert!(cookie(b"x=\xff; s=t") && cookie(b"s=t; s=u") && !cookie(b"s=; t=s"));
        let header = |text: &[u8]| there(Place::Header("x-api-key".into()), "/", &[("x-api-key", text)]);
        assert!(header(b"\xff") && !header(b""));
    }
}
