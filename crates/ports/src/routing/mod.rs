//! Listeners and routes: what the model declares and the proxy compiles.
//!
//! The matching model is that of the Kubernetes Gateway API's `HTTPRoute` (gateway.networking.k8s.io/v1),
//! so that routes of `tutti.yaml`, of Kubernetes and of xDS mean the same thing. These are plain types
//! that have been validated where they came from; the proxy may still refuse a regular expression.

pub mod cidr;
mod content;
pub mod guard;
mod limits;
mod observe;
mod rare;
mod resilience;
mod stream;
mod transport;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tutti_core::ServiceName;

use crate::catalog::AppProtocol;

pub use cidr::Cidr;
pub use content::{
    Coding, Compression, Content, Cors, Decompression, OpenApi, OpenApiMode, RequestLimits, SecurityHeaders,
};
pub use guard::{
    ApiKeys, Auth, Basic, CachePart, External, ExternalAsk, ExternalBody, ExternalCache, Guard, Jwt, KeyPart,
    KeySource, Place, RateLimit, Unavailable,
};
pub use limits::ClientLimits;
pub use observe::{AccessLog, Explain, LogField, LogFormat, LogTo, Observe};
pub use rare::{Absent, Rare};
pub use resilience::{
    Abort, Adaptive, AdaptiveRule, Concurrency, DeadlineRule, Fallback, FallbackOn, FallbackTo, FaultRule,
    Hedge, HedgeAfter, NORMAL_PRIORITY, Resilience, Retries, RetryBudget, RetryOn,
};
pub use stream::StreamRoute;
pub use transport::{
    CertificateFiles, ClientAuth, ForwardedHeader, Http3, ProxyProtocol, Tls, TlsVersion, Transport,
    TrustedProxies,
};
pub use upstream::{
    Algorithm, Balance, Breaker, CheckCarriage, DoorRules, Failover, HashOn, LatencyRule, Outlier,
    ProxyVersion, Rate, SameSite, SlowStart, Sticky, Subset, SuccessRate, Upstream, UpstreamTls,
};

/// All listeners of the edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// The listeners, each with an address of its own.
    pub listeners: Vec<Listener>,
    /// How services are called, whoever calls them: the edge or a door. A service that is not here has the defaults.
    pub upstreams: BTreeMap<ServiceName, Upstream>,
    /// What is told of requests.
    pub observe: Observe,
}

/// An address that is listened at, and what is served there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// A name for logs and errors, such as `gateway` or `web:8080`.
    pub name: String,
    /// Where to listen.
    pub bind: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// What is served.
    pub serve: Serve,
}

/// What a listener serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Serve {
    /// HTTP/1.1 and h2c by these routes.
    Http(Vec<Arc<Route>>),
    /// Bytes to one service.
    Tcp(Backend),
    /// Bytes of every connection by this route; `None`: only of those of TLS that [`Transport::passthrough`] has a route for, and
    /// others are refused.
    Stream(Option<Box<StreamRoute>>),
}

impl Serve {
    /// HTTP by these routes.
    pub fn http(routes: impl IntoIterator<Item = Route>) -> Self {
        Serve::Http(routes.into_iter().map(Arc::new).collect())
    }
}

/// A rule: which requests, what is done to them, and where they go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// A name for logs, metrics and explanations; unique in its listener.
    pub name: String,
    /// The host name of the part of the listener that it belongs to, exact or `*.suffix`: what the Gateway API calls a
    /// listener's `hostname`. A request belongs to the most specific part that holds its host, and only the routes of
    /// that part are looked at. `None`: the part of every host that has none of its own.
    pub section: Option<String>,
    /// Host names, exact or `*.suffix` (which matches one label or more); none matches every host.
    pub hosts: Vec<String>,
    /// Any of these must match; none matches every request.
    pub matches: Vec<Match>,
    /// A condition in CEL that must hold besides; evaluated when everything else matches.
    pub when: Option<String>,
    /// What is done, in this order.
    pub filters: Vec<Filter>,
    /// Where it goes, by weight. Empty only with a redirect; otherwise such a route answers 500, as the Gateway API asks.
    pub backends: Vec<Backend>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Who may ask, and how often.
    pub guard: Rare<Guard>,
    /// What requests and responses may hold, and how they are written.
    pub content: Rare<Content>,
    /// What is done when things go wrong.
    pub resilience: Rare<Resilience>,
    /// Its requests are not recorded in the access log.
    pub unlogged: bool,
}

impl Route {
    /// A route that takes every request to one service, with the defaults in everything else.
    pub fn to(name: impl Into<String>, backend: Backend) -> Self {
        Self { backends: vec![backend], ..Self::named(name) }
    }

    /// A route that takes every request and goes nowhere yet.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            section: None,
            hosts: Vec::new(),
            matches: Vec::new(),
            when: None,
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: Timeouts::default(),
            guard: Rare::default(),
            content: Rare::default(),
            resilience: Rare::default(),
            unlogged: false,
        }
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// On the path; `None` matches every path.
    pub path: Option<PathMatch>,
    /// On the method, in capitals.
    pub method: Option<String>,
    /// On header fields; of several values of one field the joined value counts.
    pub headers: Vec<FieldMatch>,
    /// On query parameters; of several values of one parameter the first counts.
    pub query: Vec<FieldMatch>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`. A trailing `/` makes no difference.
    Prefix(String),
    /// A regular expression (crate `regex`) that must match the whole path.
    Regex(String),
    /// The method of a gRPC service, whose path is `/service/method`, exactly; what is `None` may be any.
    Grpc {
        /// The full name of the service, such as `shop.v1.Catalog`.
        service: Option<String>,
        /// The method.
        method: Option<String>,
    },
}

/// A condition on a header field or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMatch {
    /// The name; of a header in lower case.
    pub name: String,
    /// The condition on its value.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatch {
    /// It is this.
    Exact(String),
    /// A regular expression that must match the whole value.
    Regex(String),
}

/// Something done to a request or to its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// Edits the request's header.
    RequestHeaders(HeaderEdit),
    /// Edits the response's header.
    ResponseHeaders(HeaderEdit),
    /// Changes what the upstream is asked for.
    Rewrite {
        /// The new Host.
        host: Option<String>,
        /// The new path.
        path: Option<PathRewrite>,
    },
    /// Answers with a redirect; parts that are `None` stay as they were.
    Redirect {
        /// `http` or `https`.
        scheme: Option<String>,
        /// The host.
        host: Option<String>,
        /// The port.
        port: Option<u16>,
        /// The path.
        path: Option<PathRewrite>,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// Sends a copy of the request, whose answer nobody waits for. There may be several.
    Mirror {
        /// Where the copy goes.
        backend: Box<Backend>,
        /// So many of `denominator` requests are copied.
        numerator: u32,
        /// Not 0, and not less than the numerator.
        denominator: u32,
    },
}

/// Removes, then sets, then adds header fields. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderEdit {
    /// Replaces every field of the name.
    pub set: Vec<(String, String)>,
    /// Appends a field.
    pub add: Vec<(String, String)>,
    /// Removes every field of the name.
    pub remove: Vec<String>,
}

/// How a path is rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    /// The whole path becomes this.
    Full(String),
    /// The matched prefix becomes this; `/` strips it.
    Prefix(String),
}

/// A service that a route sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The service.
    pub service: ServiceName,
    /// The port that its peers know.
    pub port: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// Its share among the route's backends.
    pub weight: u32,
    /// What is done to requests that go there and to their responses, after what the route does to all: edits of
    /// headers and rewrites.
    pub filters: Vec<Filter>,
    /// Which of its instances; `None`: all.
    pub subset: Option<Subset>,
}

impl Backend {
    /// A backend with the weight 1, all of its instances, and nothing done to what goes there.
    pub fn new(service: ServiceName, port: u16, protocol: AppProtocol) -> Self {
        Self { service, port, protocol, weight: 1, filters: Vec::new(), subset: None }
    }
}

/// How long a request may take. `None` is the engine's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the request's first byte to the response's head, all tries together. Zero: no limit.
    pub request: Option<Duration>,
    /// One try, to the response's head. Zero: no limit.
    pub per_try: Option<Duration>,
    /// Longest silence in the middle of a body, either way. Zero: no limit.
    pub idle: Option<Duration>,
}
