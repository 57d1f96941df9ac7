//! Cross-origin resource sharing (Fetch standard, section 3.2 "CORS protocol").
//!
//! Where a route has rules, they alone count: what the service says of CORS itself is taken away. A preflight is answered
//! here and never reaches the service, since it carries no credentials and asks nothing of it. An origin that
//! is not allowed gets an answer without the fields, which is what browsers understand.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tutti_net::Body;
use tutti_ports::routing::Cors;

use super::coding::vary;
use crate::grpc::web;

const REQUEST_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The rules of a route.
pub struct CorsPlan {
    /// `None`: any origin.
    origins: Option<Vec<Origin>>,
    methods: Allowed,
    headers: Allowed,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
    private_network: bool,
}

/// What may be asked for.
enum Allowed {
    /// Whatever is asked for: it is repeated, since `*` means less (Fetch standard, section 3.2.3).
    All,
    These(Option<HeaderValue>),
}

struct Origin {
    scheme: Box<str>,
    /// Behind `*.` if it is a wildcard.
    host: Box<str>,
    wildcard: bool,
    /// `None`: any. The empty text: none is named.
    port: Option<Box<str>>,
}

impl CorsPlan {
    /// Compiles; `web`: what gRPC-Web sends and reads is allowed, too. The error is a sentence.
    pub fn compile(rules: &Cors, web: bool) -> Result<Self, String> {
        let any = rules.origins.iter().any(|origin| origin == "*");
        if rules.origins.is_empty() {
            return Err("cors without `origins` lets nobody in".to_owned());
        }
        if any && rules.credentials {
            return Err(
                "credentials for the origin `*` would let every page act as its visitor: name the origins"
                    .to_owned(),
            );
        }
        let origins =
            rules.origins.iter().filter(|origin| *origin != "*").map(|origin| Origin::compile(origin));
        let origins: Vec<Origin> = origins.collect::<Result<_, _>>()?;
        let with = |names: &[String], more: &[&str]| {
            let more = more.iter().filter(|_| web && !names.iter().any(|name| name == "*"));
            names.iter().cloned().chain(more.map(|name| (*name).to_owned())).collect::<Vec<String>>()
        };
        let expose = match list(&with(&rules.expose, &web::TOLD))? {
            // With credentials `*` would be the name of a field.
            Some(all) if all == ANY && rules.credentials => {
                return Err("`*` exposes nothing with credentials: name the fields".to_owned());
            }
            other => other,
        };
        Ok(Self {
            origins: (!any).then_some(origins),
            methods: Allowed::compile(&rules.methods)?,
            headers: Allowed::compile(&with(&rules.headers, &web::SENT))?,
            expose,
            credentials: rules.credentials,
            max_age: HeaderValue::from(rules.max_age_s),
            private_network: rules.private_network,
        })
    }

    /// What `Access-Control-Allow-Origin` says to a request; `None` if its origin is not allowed.
    fn allow(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(ANY),
            Some(origins) => {
                let text = origin.to_str().ok()?;
                origins.iter().any(|one| one.holds(text)).then(|| origin.clone())
            }
        }
    }

    /// The answer to a preflight.
    pub fn preflight(&self, asked: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for name in
            [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS]
        {
            vary(headers, &name);
        }
        let Some(allow) = asked.get(header::ORIGIN).and_then(|origin| self.allow(origin)) else {
            return response;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let methods = self.methods.of(asked.get(header::ACCESS_CONTROL_REQUEST_METHOD));
        if let Some(methods) = methods {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        let fields = self.headers.of(asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS));
        if let Some(fields) = fields {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
        }
        if self.private_network && asked.get(REQUEST_PRIVATE).is_some_and(|value| value == "true") {
            headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        response
    }

    /// What an answer says; `origin` is that of the request.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            header::ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(name);
        }
        if self.origins.is_some() {
            // Also for those without an origin: a cache must not give this answer to a page of another one.
            vary(headers, &header::ORIGIN);
        }
        let Some(allow) = origin.and_then(|origin| self.allow(origin)) else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// Whether a request is a preflight, and for which method.
pub fn preflight_of(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl Allowed {
    fn compile(names: &[String]) -> Result<Self, String> {
        if names.iter().any(|name| name == "*") { Ok(Allowed::All) } else { list(names).map(Allowed::These) }
    }

    fn of(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Allowed::All => asked.cloned(),
            Allowed::These(these) => these.clone(),
        }
    }
}

fn list(names: &[String]) -> Result<Option<HeaderValue>, String> {
    if names.is_empty() {
        return Ok(None);
    }
    let bad = |name: &String| HeaderName::from_bytes(name.as_bytes()).is_err();
    if let Some(name) = names.iter().find(|name| bad(name)) {
        return Err(format!("{name:?} is not a name"));
    }
    HeaderValue::from_str(&names.join(", ")).map(Some).map_err(|_| "a name is not one".to_owned())
}

impl Origin {
    fn compile(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is not an origin such as `https://shop.example`, `https://*.shop.example` or `http://localhost:*`"
            )
        };
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) = lower.split_once("://").ok_or_else(bad)?;
        let (host, port) = match authority.strip_suffix(":*") {
            Some(host) => (host, None),
            None => {
                let (host, port) = crate::model::host::split_port(authority);
                (host, Some(port.map_or(String::new(), |port| port.to_string())))
            }
        };
        let (wildcard, host) = match host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, host),
        };
        let good =
            crate::model::host::host_key(host).is_some_and(|key| !key.is_empty() && !key.contains('*'));
        let known = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !good || !known {
            return Err(bad());
        }
        let port = port
            .filter(|port| !(scheme == "https" && port == "443" || scheme == "http" && port == "80"))
            .map(Box::from)
            .or_else(|| (!authority.ends_with(":*")).then(Box::default));
        Ok(Self { scheme: Box::from(scheme), host: Box::from(host), wildcard, port })
    }

    /// Whether the serialised origin of a browser (Fetch standard, section 3.1: lower case, no default port) is meant.
    fn holds(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        // What is behind the last colon that is not within the brackets of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        let host_holds = if self.wildcard {
            host.strip_suffix(&*self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            *host == *self.host
        };
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte));
        let port_holds = self.port.as_ref().is_none_or(|wanted| **wanted == *port)
            && port.bytes().all(|byte| byte.is_ascii_digit());
        *scheme == *self.scheme && plain && host_holds && port_holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[&str]) -> Cors {
        Cors {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["*".into()],
            expose: vec!["x-total".into()],
            credentials: false,
            max_age_s: 600,
            private_network: true,
        }
    }

    fn header(name: HeaderName, value: &str) -> (HeaderName, HeaderValue) {
        (name, HeaderValue::from_str(value).unwrap())
    }

    #[test]
    fn origins_are_compared_whole() {
        let list = [
            "https://shop.example",
            "https://*.shop.example",
            "http://localhost:*",
            "http://a.test:8080",
            "https://d.test:443",
        ];
        let plan = CorsPlan::compile(&rules(&list), false).unwrap();
        for (origin, allowed) in [
            ("https://shop.example", true),
            ("http://shop.example", false),
            ("https://shop.example:444", false),
            ("https://a.shop.example", true),
            ("https://a.b.shop.example", true),
            ("https://evilshop.example", false),
            ("https://.shop.example", false),
            ("https://shop.example.evil", false),
            ("https://evil/.shop.example", false),
            ("https://evil@a.shop.example", false),
            ("http://localhost", true),
            ("http://localhost:5173", true),
            ("http://localhost:x", false),
            ("http://localhost.evil:1", false),
            ("http://a.test:8080", true),
            ("http://a.test", false),
            ("https://d.test", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(plan.allow(&HeaderValue::from_str(origin).unwrap()).is_some(), allowed, "{origin}");
        }
        for bad in ["shop.example", "https://", "https://*", "https://a.*.b", "https://a b", "://a"] {
            assert!(CorsPlan::compile(&rules(&[bad]), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_not_for_everybody() {
        let mut all = rules(&["*"]);
        assert!(CorsPlan::compile(&all, false).is_ok());
        all.credentials = true;
        assert!(CorsPlan::compile(&all, false).is_err_and(|text| text.contains("name the origins")));
        assert!(CorsPlan::compile(&rules(&[]), false).is_err());
    }

    #[test]
    fn a_preflight_hears_what_is_allowed() {
        let plan = CorsPlan::compile(&rules(&["https://a.test"]), false).unwrap();
        let asked = |origin: &str| {
            HeaderMap::from_iter([
                header(header::ORIGIN, origin),
                header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT"),
                header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,x-a"),
                header(REQUEST_PRIVATE, "true"),
            ])
        };
        assert_eq!(preflight_of(&Method::OPTIONS, &asked("https://a.test")), Some(Method::PUT));
        assert_eq!(preflight_of(&Method::GET, &asked("https://a.test")), None);
        let answer = plan.preflight(&asked("https://a.test"));
        let said = |name: HeaderName| answer.headers()[name].to_str().unwrap();
        assert_eq!(said(header::ACCESS_CONTROL_ALLOW_ORIGIN), "https://a.test");
        assert_eq!(said(header::ACCESS_CONTROL_ALLOW_METHODS), "GET, PUT");
        // `*` would not hold `authorization`.
        assert_eq!(said(header::ACCESS_CONTROL_ALLOW_HEADERS), "authorization,x-a");
        assert_eq!((said(header::ACCESS_CONTROL_MAX_AGE), said(ALLOW_PRIVATE)), ("600", "true"));
        let answer = plan.preflight(&asked("https://b.test"));
        assert!(answer.headers().keys().all(|name| name == header::VARY), "{answer:?}");
    }

    #[test]
    fn what_the_service_says_itself_goes() {
        let plan =
            CorsPlan::compile(&Cors { credentials: true, ..rules(&["https://a.test"]) }, false).unwrap();
        let mut headers = HeaderMap::from_iter([header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")]);
        plan.apply(None, &mut headers);
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(headers[header::VARY], "origin");
        plan.apply(Some(&HeaderValue::from_static("https://a.test")), &mut headers);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "x-total");
    }
}
