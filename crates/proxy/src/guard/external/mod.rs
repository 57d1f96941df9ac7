//! Another service decides who may ask: what it is told, and what its answer means.
//!
//! Two ways of asking that authorization services know: a request of HTTP ([`http`]), as nginx, Traefik and Envoy send it, and
//! `envoy.service.auth.v3` over gRPC ([`grpc`]). What becomes of a decision is the same for both.

pub mod cache;
pub mod grpc;
pub mod http;
pub mod proto;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use tutti_core::metrics::Counter;
use tutti_core::{ServiceName, limits};
use tutti_net::{Body, Protocol, TlsInfo};
use tutti_ports::routing::{External, ExternalAsk, ExternalBody, Unavailable};

use crate::metrics::Metrics;
use crate::model::names::Names;
use crate::phase::call::Answer;
use crate::snapshot::plan::Target;
use cache::Cache;

/// Marks our questions, so that one which comes back to us is known. Whoever forges it is refused.
pub const QUESTION: HeaderName = HeaderName::from_static("x-tutti-external-auth");

/// What an authorization service is asked, and how.
pub struct ExternalPlan {
    /// Who.
    pub target: Target,
    /// Its name.
    pub service: ServiceName,
    /// How.
    pub ask: ExternalAsk,
    /// How long its answer is waited for.
    pub timeout: Duration,
    /// Whether requests pass without one.
    pub open: bool,
    /// What it is shown of the request's header; `None`: all of it.
    pub shown: Option<Names>,
    /// What only it may say to the service behind.
    pub upstream: Names,
    client: Option<Names>,
    on_success: Names,
    sign_in: Option<String>,
    /// How much it is shown of the request's body.
    pub body: Option<ExternalBody>,
    /// Permissions that are remembered.
    pub cache: Option<Cache>,
    /// What became of requests.
    pub counters: Counters,
    under_way: AtomicUsize,
}

/// What became of requests.
pub struct Counters {
    /// They may pass.
    pub allowed: Arc<Counter>,
    /// They may not.
    pub denied: Arc<Counter>,
    /// They may pass, as one before them that was alike.
    pub remembered: Arc<Counter>,
    /// There was no decision, and they were refused.
    pub refused: Arc<Counter>,
    /// There was no decision, and they passed.
    pub passed: Arc<Counter>,
}

/// What is known of a request that is asked about.
pub struct About<'a> {
    /// It.
    pub request: &'a Request<Body>,
    /// Its client's address.
    pub client: IpAddr,
    /// Who sent it.
    pub peer: Option<SocketAddr>,
    /// Where it came in.
    pub local: Option<SocketAddr>,
    /// The TLS that it came by.
    pub tls: Option<&'a TlsInfo>,
    /// What it was spoken in.
    pub protocol: Protocol,
    /// Its id.
    pub id: &'a str,
    /// The beginning of its body, and whether there is more of it.
    pub body: Option<(Bytes, bool)>,
}

/// A decision.
pub enum Decision {
    /// It may pass.
    Allowed(Arc<Allowed>),
    /// It may not.
    Denied(Box<Denied>),
}

/// What is done to a request that may pass.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Fields of the request that are removed first.
    pub remove: Vec<HeaderName>,
    /// Fields of the request that are set.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are added to those that are there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Parameters of the query that are set, and those that are removed.
    pub query: (Vec<(String, String)>, Vec<String>),
    /// Fields of the answer to the client.
    pub client: Vec<(HeaderName, HeaderValue)>,
}

/// What a client is told that may not pass.
#[derive(Debug)]
pub struct Denied {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether the service has said any of it.
    pub told: bool,
}

impl ExternalPlan {
    /// Compiles; the text says what is wrong.
    pub fn compile(external: &External, target: Target, metrics: &Metrics) -> Result<Self, String> {
        let service = external.to.service.clone();
        let path = match &external.ask {
            ExternalAsk::Path(path) => Some(path.clone()),
            ExternalAsk::Prefix(prefix) => Some(format!("{prefix}/")),
            ExternalAsk::Grpc(_) => None,
        };
        if let Some(path) = path.filter(|path| path.parse::<::http::uri::PathAndQuery>().is_err()) {
            return Err(format!("{path:?} is not a path"));
        }
        let count = |result| metrics.external.with(&[("service", service.as_str()), ("result", result)]);
        Ok(Self {
            target,
            ask: external.ask.clone(),
            timeout: external.timeout,
            open: external.unavailable == Unavailable::Open,
            shown: external.headers.as_ref().map(|names| Names::compile(names)).transpose()?,
            upstream: Names::compile(&external.upstream_headers)?,
            client: external.client_headers.as_ref().map(|names| Names::compile(names)).transpose()?,
            on_success: Names::compile(&external.client_headers_on_success)?,
            sign_in: external.sign_in.clone(),
            body: external.body,
            cache: external.cache.as_ref().map(Cache::new),
            counters: Counters {
                allowed: count("allowed"),
                denied: count("denied"),
                remembered: count("remembered"),
                refused: count("refused_unasked"),
                passed: count("passed_unasked"),
            },
            under_way: AtomicUsize::new(0),
            service,
        })
    }

    /// A place among the questions under way; `None` if there is none left.
    pub fn begin(&self) -> Option<UnderWay<'_>> {
        let place = UnderWay(&self.under_way);
        (self.under_way.fetch_add(1, Ordering::Relaxed) < limits::EXTERNAL_QUESTIONS).then_some(place)
    }

    /// The question.
    pub fn question(&self, about: &About<'_>) -> Result<Request<Bytes>, String> {
        match &self.ask {
            ExternalAsk::Grpc(context) => grpc::question(self, context, about),
            ExternalAsk::Path(path) => http::question(self, path.clone(), true, about),
            ExternalAsk::Prefix(prefix) => {
                let target = about.request.uri().path_and_query().map_or("/", |target| target.as_str());
                let target = if target == "*" { "/" } else { target };
                http::question(self, format!("{prefix}{target}"), false, about)
            }
        }
    }

    /// What an answer means; the error is a sentence.
    pub fn decision(&self, answer: Answer) -> Result<Decision, String> {
        match &self.ask {
            ExternalAsk::Grpc(_) => grpc::decision(self, &answer),
            _ => http::decision(self, answer.response),
        }
    }

    /// Whether a field of the request is shown.
    pub fn shows(&self, name: &HeaderName) -> bool {
        self.shown.as_ref().is_none_or(|names| names.hold(name) || *name == header::AUTHORIZATION)
    }

    /// Whether a field of a refusal reaches the client.
    fn tells(&self, name: &HeaderName) -> bool {
        const ALWAYS: [HeaderName; 4] =
            [header::LOCATION, header::WWW_AUTHENTICATE, header::CONTENT_TYPE, header::SET_COOKIE];
        self.client.as_ref().is_none_or(|names| names.hold(name) || ALWAYS.contains(name))
    }

    /// Where a browser is sent that was refused with 401.
    pub fn sign_in(&self, about: &About<'_>) -> Option<HeaderValue> {
        let target = self.sign_in.as_ref()?;
        let url = percent(&http::url(about));
        HeaderValue::from_str(&target.replace("{url}", &url)).ok()
    }
}

/// A question under way.
pub struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What no other service has a say in: how messages are framed, which hop they are of, and what the client asked for.
pub fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 8] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
    ];
    OURS.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "x-tutti-external-auth")
}

impl Allowed {
    /// Changes the request as the service wants it. `upstream` are the fields that only it may set.
    pub fn apply(&self, request: &mut Request<Body>, upstream: &Names) {
        let headers = request.headers_mut();
        upstream.strip(headers);
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
        let (set, removed) = &self.query;
        if !set.is_empty() || !removed.is_empty() {
            let query = query(request.uri().query().unwrap_or_default(), set, removed);
            let path = request.uri().path();
            let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
            if let Ok(uri) = target.parse() {
                *request.uri_mut() = uri;
            }
        }
    }

    /// Whether it may count for other requests: what is meant for one client alone may not.
    pub fn is_common(&self) -> bool {
        self.client.is_empty()
    }
}

impl Denied {
    /// As an answer to the client.
    pub fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A query with some parameters set and others removed.
fn query(query: &str, set: &[(String, String)], removed: &[String]) -> String {
    let key = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    let gone = |part: &&str| {
        let key = key(part);
        removed.iter().any(|name| percent(name) == key || *name == key)
            || set.iter().any(|(name, _)| percent(name) == key || *name == key)
    };
    let kept = query.split('&').filter(|part| !part.is_empty() && !gone(part)).map(str::to_owned);
    let new = set.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    kept.chain(new).collect::<Vec<_>>().join("&")
}

/// Percent-encoded but for what is unreserved (RFC 3986 section 2.3).
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_and_removed() {
        let set = [("user".to_owned(), "a b&c".to_owned())];
        let removed = ["token".to_owned()];
        assert_eq!(query("token=x&a=1&user=evil&token", &set, &removed), "a=1&user=a%20b%26c");
        assert_eq!(query("token=x", &[], &removed), "");
    }
}
