//! `services.NAME.upstream`: how a service is called.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::resilience::{Adaptive, Concurrency, Hedge, Retries, RetryBudget};

/// How a service is called, whoever calls it: the gateway or its peers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// How an instance is chosen. Default: the one of two with fewer requests under way.
    pub balance: Option<Algorithm>,
    /// What `ring_hash` and `maglev` place requests by. Default: the client's address.
    pub hash_on: Option<HashOn>,
    /// With a hash: an instance takes at most this percentage of the mean load, and what is over goes to the next one.
    pub bounded_load: Option<u32>,
    /// A client stays with its instance by a cookie: the cookie's name, or the whole.
    pub sticky: Option<StickyOrName>,
    /// New instances get their share bit by bit: over this time, or the whole.
    pub slow_start: Option<SlowStartOrTime>,
    /// When a smaller percentage of the instances than this is healthy, all get traffic. 0: never.
    pub panic_threshold: Option<u32>,
    /// Instances in the zone of this Tutti (`TUTTI_ZONE`) come first; the others take what they cannot.
    pub prefer_zone: bool,
    /// Instances keep all traffic as long as the healthy share of them times this percentage reaches 100.
    pub overprovisioning: Option<u32>,
    /// How many retries it gets, all its callers together.
    pub retry_budget: Option<RetryBudget>,
    /// How many requests it gets at a time.
    pub concurrency: Option<Concurrency>,
    /// A limit of them that is found out.
    pub adaptive: Option<Adaptive>,
    /// The service that takes over when instances are missing: `service` or `service:port`.
    pub failover: Option<String>,
    /// When an instance is passed over for what its answers show; `false`: never.
    pub outlier: Option<OutlierOrOff>,
    /// When the service is not called at all for a while: `true`, or the whole. Default: it is always called.
    pub breaker: Option<BreakerOrOn>,
    /// Connections to it begin with a header of the PROXY protocol that says who the client is: `v1` or `v2`. A connection is then
    /// for one client alone. Default: they do not.
    pub proxy_protocol: Option<ProxyVersion>,
    /// TLS is spoken to it: `true`, or how. Which HTTP is spoken over it is decided by the `protocol` of the service. Default:
    /// it is not.
    pub tls: Option<TlsOrOn>,
    /// What of these two health checks speak as well. Default: both.
    pub health_check: Option<CheckCarriage>,
    /// How its peers call it, over HTTP: what routes say of requests from outside.
    pub door: Option<Box<Door>>,
}

/// How a service is called by its peers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Door {
    /// Longest time to the response's head, all tries together. `0s`: no limit. Default: `60s`.
    pub timeout: Option<String>,
    /// Longest time of one try. Default: no limit.
    pub per_try_timeout: Option<String>,
    /// Longest silence within a body. Default: `60s`.
    pub idle_timeout: Option<String>,
    /// When a request is sent again: most tries after the first, or the whole. Default: only where nothing can be carried out twice.
    pub retries: Option<Retries>,
    /// When another instance is asked as well, and the faster one is heard: `p95`, `50ms`, or the whole. Default: never.
    pub hedge: Option<Hedge>,
}

/// Whether health checks begin as requests do.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckCarriage {
    /// With TLS: the same names, authorities and certificates. Default: `true` with `tls`.
    pub tls: Option<bool>,
    /// With a header of the PROXY protocol, which names no client. Default: `true` with `proxy_protocol`.
    pub proxy_protocol: Option<bool>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How TLS is spoken to a service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TlsOrOn {
    /// Whether at all.
    Whether(bool),
    /// How.
    How(Box<UpstreamTls>),
}

/// How TLS is spoken to a service. Files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// The authorities that are believed, in PEM. Default: those that this machine trusts.
    pub ca: Option<String>,
    /// The name that is asked for (SNI), and that the certificate must be for. Default: the host of `external`, else the name of
    /// the service.
    pub server_name: Option<String>,
    /// The certificate that is shown when the service asks for one, in PEM.
    pub cert: Option<String>,
    /// Its private key in PEM.
    pub key: Option<String>,
    /// The oldest version that is spoken: `1.2` or `1.3`. Default: `1.2`.
    pub min_version: Option<String>,
    /// INSECURE: believe anybody, whatever certificate is shown. Whoever sits in between can read and change everything.
    pub insecure_skip_verify: bool,
}

/// When an instance is passed over.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OutlierOrOff {
    /// Whether at all.
    Whether(bool),
    /// The rules.
    Rules(Box<Outlier>),
}

/// When an instance is passed over. Names and meaning are Envoy's where it has them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// So many answers of 500 to 599 in a row; 0: not looked at. Default: 0.
    pub consecutive_5xx: Option<u32>,
    /// So many answers of 502, 503 or 504 in a row; 0: not looked at. Default: 5.
    pub consecutive_gateway_errors: Option<u32>,
    /// So many failures in a row to get an answer; 0: not looked at. Default: 5.
    pub consecutive_local_failures: Option<u32>,
    /// Fewer successes than its siblings have.
    pub success_rate: Option<SuccessRate>,
    /// More failures than a fixed share.
    pub failure_percentage: Option<FailurePercentage>,
    /// Slower than its siblings are.
    pub latency: Option<Latency>,
    /// How often rates are looked at. Default: `10s`.
    pub interval: Option<String>,
    /// How long it is passed over the first time; longer by this each further time. Default: `10s`.
    pub base_ejection: Option<String>,
    /// How long at most. Default: `5m`.
    pub max_ejection: Option<String>,
    /// So many percent of the instances at most, though one always may be if there are others. Default: 50.
    pub max_ejection_percent: Option<u32>,
}

/// Success rates against each other.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessRate {
    /// So many standard deviations below the mean is an outlier. Default: 1.9.
    pub stdev_factor: Option<f64>,
    /// So many instances must have the volume. Default: 5.
    pub minimum_hosts: Option<u32>,
    /// So many requests in an interval make a rate count. Default: 100.
    pub request_volume: Option<u32>,
}

/// A fixed share of failures.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailurePercentage {
    /// So many percent of failures are too many. Default: 85.
    pub threshold: Option<u32>,
    /// So many instances must have the volume. Default: 5.
    pub minimum_hosts: Option<u32>,
    /// So many requests in an interval make a rate count. Default: 50.
    pub request_volume: Option<u32>,
}

/// Latencies against each other.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// So many times the median of the instances is too slow. Default: 3.
    pub factor: Option<f64>,
    /// What is faster than this is never too slow. Default: `50ms`.
    pub minimum: Option<String>,
    /// So many instances must have the volume. Default: 3.
    pub minimum_hosts: Option<u32>,
    /// So many requests in an interval make a latency count. Default: 20.
    pub request_volume: Option<u32>,
}

/// When the service is not called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BreakerOrOn {
    /// Whether at all.
    Whether(bool),
    /// The rules.
    Rules(Breaker),
}

/// A circuit breaker.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Over how long failures are counted. Default: `10s`.
    pub window: Option<String>,
    /// Fewer requests than this in the window decide nothing. Default: 20.
    pub minimum: Option<u32>,
    /// It opens when so many percent of them fail. Default: 50.
    pub failure_percent: Option<u32>,
    /// How long it stays open the first time; twice as long each further time. Default: `5s`.
    pub open: Option<String>,
    /// How long at most. Default: `1m`.
    pub open_max: Option<String>,
    /// So many requests must succeed before it closes; so many are let through at a time. Default: 3.
    pub probes: Option<u32>,
}

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Of two drawn by chance, the one with fewer requests under way.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Of two drawn by chance, the one expected to answer sooner.
    PeakEwma,
    /// By a hash, on a ring.
    RingHash,
    /// By a hash, through Maglev's table.
    Maglev,
}

/// What requests are placed by.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HashOn {
    /// `source`, `path` or `uri` (the path and the query).
    Word(String),
    /// A part of the request with a name.
    Named(NamedHash),
}

/// A part of the request: exactly one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NamedHash {
    /// A header field.
    pub header: Option<String>,
    /// A cookie.
    pub cookie: Option<String>,
    /// A query parameter.
    pub query: Option<String>,
}

/// A cookie that holds a client to its instance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StickyOrName {
    /// Its name.
    Name(String),
    /// The whole.
    Whole(Sticky),
}

/// A cookie that holds a client to its instance.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// Its name. Default: `tutti-` and the service's name.
    pub cookie: Option<String>,
    /// How long the browser keeps it, such as `1h`. Default: until it is closed.
    pub ttl: Option<String>,
    /// The path that it is sent for. Default: `/`.
    pub path: Option<String>,
    /// Send it only over HTTPS.
    pub secure: bool,
    /// `lax`, `strict` or `none`. Default: `lax`.
    pub same_site: Option<SameSite>,
}

/// When a browser sends a cookie.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Also when a link is followed from elsewhere.
    Lax,
    /// Only from the same site.
    Strict,
    /// Always; needs `secure`.
    None,
}

/// A ramp for new instances.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SlowStartOrTime {
    /// How long it takes.
    Time(String),
    /// The whole.
    Whole(SlowStart),
}

/// A ramp for new instances.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowStart {
    /// How long it takes to the full share, such as `30s`.
    pub window: String,
    /// The percentage of the share that it begins with. Default: 10.
    pub minimum: Option<u32>,
}

/// Some of a service's instances.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Subset {
    /// Of this version.
    pub version: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// What to do when there is no such instance: `none` (503), or `any` of the others. Default: `none`.
    pub fallback: Option<Fallback>,
}

/// What to do when a subset is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// Answer 503.
    None,
    /// Take any other instance.
    Any,
}
