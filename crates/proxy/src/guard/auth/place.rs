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
}
