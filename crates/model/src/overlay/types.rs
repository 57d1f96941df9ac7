//! The types of `tutti.yaml`. Its JSON Schema is made from them, and so are the words that an editor shows.

pub mod resilience;

use std::collections::BTreeMap;

pub mod acme;
mod auth;
pub mod content;
pub mod external;
pub mod filters;
pub mod gateway;
mod guard;
pub mod limits;
mod observe;
pub mod streams;
pub mod upstream;

use schemars::JsonSchema;
use serde::Deserialize;

pub use auth::{ApiKey, Auth, Basic, Jwt};
pub use filters::{Fraction, GrpcMatch, Mirror, MirrorShare, OneOrMany};
pub use gateway::{CertificateFiles, ClientAuth, Gateway, Tls};
pub use guard::{Algorithm, OneRateLimit, RateLimit, RateLimits, Unavailable};
pub use limits::ClientLimits;
pub use observe::{AccessLog, LogFormat, LogRules};
pub use upstream::{Subset, Upstream};

/// What Tutti needs to know beside the compose file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "tutti.yaml")]
pub struct Overlay {
    /// Where this runs. In `production`, faults on purpose are refused.
    pub mode: Mode,
    /// Additions to the services of the compose file.
    pub services: BTreeMap<String, Service>,
    /// The gateway.
    pub gateway: Option<Gateway>,
    /// The routes of the gateway, in the order of the file; the most specific one wins, as in the Gateway API.
    pub routes: Vec<Route>,
    /// Ports whose bytes are passed on to a service.
    pub tcp_routes: Vec<streams::TcpRoute>,
    /// Connections of TLS that are passed on as they are, by the name that the client asks for.
    pub tls_routes: Vec<streams::TlsRoute>,
}

/// Where an application runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// On somebody's own machine, or in a test.
    #[default]
    Development,
    /// Where others depend on it.
    Production,
}

/// Additions to a service of the compose file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// How it is run as a process. `PORT` and the rest of its environment are set. A string is run by `/bin/sh -c`.
    pub run: Option<Line>,
    /// Steps before it is run, such as installing and building, in order. An empty list: there are none.
    pub setup: Option<Vec<Line>>,
    /// The folder of `run` and `setup`, relative to the compose file. Default: its build context.
    pub dir: Option<String>,
    /// More environment variables; they win over those of the compose file.
    pub env: BTreeMap<String, Scalar>,
    /// The port at which it listens when it cannot be told by `PORT`.
    pub port: Option<u16>,
    /// What is spoken at its ports: one word for the main one, or a word for each.
    pub protocol: Option<Protocols>,
    /// How to find out whether it is well: a path for HTTP, `none`, or the whole.
    pub health: Option<Health>,
    /// Other services that it calls and that the compose file does not let it depend on.
    pub uses: Vec<String>,
    /// Do not run it here.
    pub skip: bool,
    /// It runs elsewhere: its address `host:port`, or an address for each of its ports.
    pub external: Option<External>,
    /// How many copies run.
    pub replicas: Option<u32>,
    /// Its version, for routes that mean one. Default: the image's label or tag.
    pub version: Option<String>,
    /// The failure domain in which its instances are.
    pub zone: Option<String>,
    /// Tags of its instances, for routes that mean some of them.
    pub tags: Vec<String>,
    /// The share of an instance beside others of the same service; 0: none.
    pub weight: Option<u32>,
    /// How it is called.
    pub upstream: Option<Upstream>,
    /// Its description in OpenAPI, for the routes that go to it alone.
    pub openapi: Option<content::OpenApi>,
}

/// A command: a line for the shell, or a program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Line {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Args(Vec<String>),
}

/// A text, or what can be written as one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Removes the variable.
    Null(()),
}

/// What is spoken at the ports of a service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Protocols {
    /// At the main port.
    Main(Protocol),
    /// At each port.
    Each(BTreeMap<String, Protocol>),
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 when the client speaks it.
    Http,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// Anything else.
    Tcp,
}

/// How to find out whether a service is well.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Health {
    /// A path for HTTP at the main port, or `none`.
    Short(String),
    /// The whole.
    Long(Box<HealthCheck>),
}

/// A health check: exactly one of `http`, `tcp`, `grpc` and `command`, and how often.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// The path of a GET that answers 2xx or 3xx.
    pub http: Option<String>,
    /// A connection is accepted.
    pub tcp: Option<bool>,
    /// `grpc.health.v1` says SERVING; the value is the service asked for, empty for the server.
    pub grpc: Option<String>,
    /// A command ends with status 0.
    pub command: Option<Line>,
    /// The port, as peers know it; the main one if it is not said.
    pub port: Option<u16>,
    /// Time between two probes, such as `10s`.
    pub interval: Option<String>,
    /// Longest time for one probe.
    pub timeout: Option<String>,
    /// So many failures in a row make it unhealthy.
    pub retries: Option<u32>,
    /// Failures do not count while it is younger than this.
    pub start_period: Option<String>,
}

/// Where a service runs that is not run here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum External {
    /// The address of its main port.
    Main(String),
    /// The address of each port.
    Each(BTreeMap<String, String>),
}

/// A text that may be a number.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneText {
    /// A number.
    Int(u16),
    /// A text.
    Text(String),
}

/// Which requests go where, and what is done to them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// A name for logs and metrics.
    pub name: Option<String>,
    /// Host names, exact or `*.suffix`.
    pub host: Option<Several>,
    /// Path prefixes, by whole elements: `/api` matches `/api/x` and not `/apix`.
    pub path: Option<Several>,
    /// The whole path.
    pub path_exact: Option<Several>,
    /// A regular expression for the whole path.
    pub path_regex: Option<Several>,
    /// Methods of gRPC services.
    pub grpc: Option<OneOrMany<GrpcMatch>>,
    /// Methods.
    pub method: Option<Several>,
    /// Conditions on header fields.
    pub headers: BTreeMap<String, Condition>,
    /// Conditions on query parameters.
    pub query: BTreeMap<String, Condition>,
    /// A condition in CEL that must hold for the route to match: `request.headers['x-team'] in ['a', 'b']`.
    pub when: Option<String>,
    /// Where it goes: `service`, `service:port`, or several with weights.
    pub to: Option<Targets>,
    /// Take the matched prefix off the path.
    pub strip_prefix: bool,
    /// Change what the service is asked for.
    pub rewrite: Option<Rewrite>,
    /// Answer with a redirect instead.
    pub redirect: Option<Redirect>,
    /// Sends copies of requests elsewhere too; their answers are thrown away.
    pub mirror: Option<OneOrMany<Mirror>>,
    /// Edits of the request's header.
    pub request_headers: Option<HeaderEdit>,
    /// Edits of the response's header.
    pub response_headers: Option<HeaderEdit>,
    /// The methods that are taken; others are answered 405.
    pub allow_methods: Option<Several>,
    /// The media types that bodies of requests may have, such as `application/json` or `image/*`; others are answered 415.
    pub allow_content_types: Option<Several>,
    /// Longest body of a request, such as `10M`; longer ones are answered 413.
    pub max_request_body: Option<content::Size>,
    /// Longest body of a response; longer ones are an error or are cut.
    pub max_response_body: Option<content::Size>,
    /// Most header fields of a request; more are answered 431.
    pub max_header_fields: Option<u32>,
    /// Most bytes of all header fields of a request; more are answered 431.
    pub max_header_bytes: Option<content::Size>,
    /// Longest path and query; longer ones are answered 414.
    pub max_uri_bytes: Option<content::Size>,
    /// Longest query; longer ones are answered 414.
    pub max_query_bytes: Option<content::Size>,
    /// Most parameters in the query; more are answered 414.
    pub max_query_parameters: Option<u32>,
    /// Which pages of other origins may read the answers. Preflights are answered by the gateway.
    pub cors: Option<content::Cors>,
    /// Adds header fields that tell browsers to be careful, where the service does not say them.
    pub security_headers: Option<content::Switch<content::SecurityHeaders>>,
    /// Compresses responses for clients that accept it.
    pub compression: Option<content::Switch<content::Compression>>,
    /// Decompresses the bodies of requests.
    pub decompress: Option<content::Switch<content::Decompression>>,
    /// Whether requests of gRPC-Web, as browsers send them, become requests of gRPC. Default: where the services speak gRPC, or the route matches by
    /// `grpc`.
    pub grpc_web: Option<bool>,
    /// Holds requests, and answers if asked to, against an OpenAPI description. Default: that of the service to which the route goes.
    pub openapi: Option<content::OpenApi>,
    /// Longest time to the response's head, all tries together. `0s`: no limit.
    pub timeout: Option<String>,
    /// Longest time of one try.
    pub per_try_timeout: Option<String>,
    /// Longest silence within a body.
    pub idle_timeout: Option<String>,
    /// Addresses whose requests are taken, such as `10.0.0.0/8`. If it is there, others are refused.
    pub allow: Option<Several>,
    /// Addresses whose requests are refused. Of two ranges that hold an address the narrower decides.
    pub deny: Option<Several>,
    /// How often a caller may ask.
    pub rate_limit: Option<RateLimits>,
    /// What becomes of deadlines that come with requests (`grpc-timeout`, `x-tutti-deadline`); `honour` if it is not said.
    pub deadline: Option<resilience::Deadline>,
    /// When a request is sent again: most tries after the first, or the whole.
    pub retries: Option<resilience::Retries>,
    /// When another instance is asked as well, and the faster one is heard: `p95`, `50ms`, or the whole.
    pub hedge: Option<resilience::Hedge>,
    /// Which credentials are taken.
    pub auth: Option<Auth>,
    /// A condition in CEL on the request and on who asks, that must hold: `'admin' in auth.claims.roles`.
    pub authorize: Option<String>,
    /// Another service that is asked, after everything else, whether a request may pass; `false`: not the one that the gateway names.
    pub external_auth: Option<content::Switch<external::ExternalAuth>>,
    /// Whether its requests are recorded in the access log; `true` if it is not said.
    pub access_log: Option<bool>,
    /// How much its requests matter: `critical`, `high`, `normal`, `low`, or 0 to 255.
    pub priority: Option<resilience::Priority>,
    /// How many of its requests there may be at a time.
    pub concurrency: Option<resilience::Concurrency>,
    /// What is answered when the service cannot.
    pub fallback: Option<resilience::Fallback>,
    /// A fault on purpose.
    pub fault: Option<resilience::Fault>,
}

/// One or several texts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Several {
    /// One.
    One(String),
    /// Several: any of them.
    Many(Vec<String>),
}

/// A condition on a value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    /// It is this.
    Exact(String),
    /// It matches this.
    Regex(Pattern),
}

/// A regular expression.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The regular expression, for the whole value.
    pub regex: String,
}

/// Where a route goes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Targets {
    /// To one service.
    One(String),
    /// To some instances of a service.
    Some(Box<Weighted>),
    /// To several by weight.
    Many(Vec<Target>),
}

/// One of several services.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    /// With weight 1.
    Short(String),
    /// With a weight.
    Long(Box<Weighted>),
}

/// A service and its share.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Weighted {
    /// `service` or `service:port`.
    pub service: String,
    /// Its share among the others; 1 if it is not said.
    pub weight: Option<u32>,
    /// Edits of the header of requests that go there.
    pub request_headers: Option<HeaderEdit>,
    /// Edits of the header of responses that come from there.
    pub response_headers: Option<HeaderEdit>,
    /// Some of its instances.
    pub subset: Option<Subset>,
}

/// What the service is asked for instead. `path` and `prefix` exclude each other.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The new Host.
    pub host: Option<String>,
    /// The whole new path.
    pub path: Option<String>,
    /// What takes the place of the matched prefix.
    pub prefix: Option<String>,
}

/// A redirect; what is not said stays as it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The whole new path.
    pub path: Option<String>,
    /// What takes the place of the matched prefix.
    pub prefix: Option<String>,
    /// 301, 302, 303, 307 or 308; 302 if it is not said.
    pub status: Option<u16>,
}

/// Edits of a header: removes, then sets, then adds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdit {
    /// Replaces fields.
    pub set: BTreeMap<String, String>,
    /// Adds fields.
    pub add: BTreeMap<String, String>,
    /// Removes fields.
    pub remove: Vec<String>,
}

impl Line {
    /// The command of the application.
    pub(crate) fn command(&self) -> crate::app::Command {
        match self {
            Line::Shell(line) => crate::app::Command::Shell(line.clone()),
            Line::Args(args) => crate::app::Command::Args(args.clone()),
        }
    }
}

impl OneText {
    /// As a text.
    pub(crate) fn text(&self) -> String {
        match self {
            OneText::Int(number) => number.to_string(),
            OneText::Text(text) => text.clone(),
        }
    }
}

impl Several {
    /// The texts.
    pub(crate) fn list(this: Option<&Self>) -> Vec<String> {
        match this {
            None => Vec::new(),
            Some(Several::One(text)) => vec![text.clone()],
            Some(Several::Many(list)) => list.clone(),
        }
    }
}
