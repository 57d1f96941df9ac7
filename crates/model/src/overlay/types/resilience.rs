//! What is done when things go wrong, as `tutti.yaml` says it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Retries of a route: how many, or all of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Retries {
    /// Most tries after the first.
    Attempts(u32),
    /// The whole.
    Long(Box<RetryRules>),
}

/// When and how often a request is sent again. All retries of a service together are bounded by its budget.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRules {
    /// Most tries after the first; 2 if it is not said.
    pub attempts: Option<u32>,
    /// After what: `connect_failure`, `reset`, `timeout`, `gateway_error` (502, 503, 504), `5xx`, a status, or one of gRPC
    /// such as `unavailable`. Default: `connect_failure`, `reset`, `timeout`, `gateway_error`, `unavailable`.
    pub on: Option<Vec<super::OneText>>,
    /// The first pause is between nothing and this, each further one may be twice as long; `25ms` if it is not said.
    pub backoff: Option<String>,
    /// The longest pause; `250ms` if it is not said.
    pub max_backoff: Option<String>,
    /// The longest `Retry-After` that is waited for; `1s` if it is not said. An answer that asks for more is passed on.
    pub max_retry_after: Option<String>,
    /// Requests of this route may be carried out twice, whatever their method.
    pub idempotent: bool,
    /// Requests with the field `Idempotency-Key` may be carried out twice.
    pub idempotency_key: bool,
    /// How much of a body is kept for another try; `64KiB` if it is not said, at most 16 MiB.
    pub buffer: Option<Size>,
}

/// A number of bytes, or a size such as `64KiB`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(i64),
    /// A size; by the time it is read it is a number.
    Text(String),
}

impl Size {
    /// In bytes.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Size::Bytes(bytes) => u64::try_from(*bytes).ok(),
            Size::Text(text) => crate::value::bytes::parse(text).ok(),
        }
    }
}

/// What becomes of deadlines that come with requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deadline {
    /// They count, and what remains is passed on.
    Honour,
    /// The same, and a request that brings none gets the route's timeout, which is passed on.
    Propagate,
    /// They are taken off.
    Ignore,
}

/// How many retries a service gets, all its callers together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Retries for each 100 requests; 15 if it is not said.
    pub percent: Option<u32>,
    /// Retries for each second that are allowed however few requests there are; 10 if it is not said.
    pub min_per_second: Option<u32>,
}

/// How much a route's requests matter: when there is no room for all, those that matter less are turned away first.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Priority {
    /// By name.
    Name(PriorityName),
    /// 0 to 255.
    Number(u8),
}

/// How much a request matters.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriorityName {
    /// 224.
    Critical,
    /// 192.
    High,
    /// 128.
    Normal,
    /// 64.
    Low,
}

/// Requests at a time: how many, or all of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Concurrency {
    /// How many.
    Limit(u32),
    /// The whole.
    Long(ConcurrencyRules),
}

/// Requests at a time, and those that wait.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyRules {
    /// Requests at a time.
    pub limit: Option<u32>,
    /// Requests that wait; 100 if it is not said.
    pub queue: Option<u32>,
    /// How long one waits; `500ms` if it is not said, and less in an overload.
    pub queue_timeout: Option<String>,
}

/// A limit that is found out: how, or all of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Adaptive {
    /// How.
    Rule(AdaptiveRule),
    /// The whole.
    Long(AdaptiveRules),
}

/// How a limit is found out.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdaptiveRule {
    /// By how much longer requests take than they do alone, as in Envoy.
    #[default]
    Gradient,
    /// One more as long as all goes well, a tenth less when a request fails or is late, as in Netflix's concurrency-limits.
    Aimd,
}

/// A limit that is found out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveRules {
    /// How.
    pub rule: AdaptiveRule,
    /// Where it begins; 20 if it is not said.
    pub initial: Option<u32>,
    /// The least; 2 if it is not said.
    pub min: Option<u32>,
    /// The most; 1000 if it is not said.
    pub max: Option<u32>,
    /// `aimd`: what takes longer counts as a failure; `1s` if it is not said.
    pub timeout: Option<String>,
}

/// What is answered when the service cannot: another service's answer, or one that is always the same.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fallback {
    /// When: `unavailable` (nobody is ready), `connect_failure`, `reset`, `timeout`, `overloaded`, `gateway_error`, `5xx`, or a
    /// status. Default: all of them but `5xx` and single statuses.
    pub on: Option<Vec<super::OneText>>,
    /// `service` or `service:port`.
    pub service: Option<String>,
    /// The answer's status; 200 if it is not said.
    pub status: Option<u16>,
    /// The answer's body.
    pub body: Option<String>,
    /// A file with the answer's body, relative to the project's folder.
    pub file: Option<String>,
    /// What the body is; `text/plain; charset=utf-8` if it is not said.
    pub content_type: Option<String>,
}

/// A fault on purpose, to see what becomes of it. Never in `mode: production`, unless it says `in_production`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// The share of requests that it strikes, of 100.
    pub percent: Option<f64>,
    /// Header fields that a request must have for it to strike.
    pub headers: BTreeMap<String, String>,
    /// The request waits.
    pub delay: Option<Delay>,
    /// The request is not sent, but answered with a status, or one of gRPC such as `unavailable`.
    pub abort: Option<super::OneText>,
    /// The client's connection is reset.
    pub reset: bool,
    /// The response passes at so many bytes a second, such as `10KiB`.
    pub throttle: Option<Size>,
    /// Bits of the response's body are flipped.
    pub corrupt: bool,
    /// It is meant for production, too.
    pub in_production: bool,
}

/// How long a request waits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Delay {
    /// Always so long.
    Fixed(String),
    /// Between so long and so long.
    Between(Between),
}

/// Two durations.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The least.
    pub min: String,
    /// The most.
    pub max: String,
}

/// When another instance is asked as well: after which percentile or time, or the whole.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Hedge {
    /// After so long: `p95`, `50ms`.
    After(String),
    /// The whole.
    Long(HedgeRules),
}

/// When and how often another instance is asked as well.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HedgeRules {
    /// After which time: `p95`, the time that 95 of 100 recent answers of the service kept to; or a fixed one such as `50ms`.
    pub after: String,
    /// Most that are asked besides the first: 1 to 3. Default: 1.
    pub max_extra: Option<u32>,
    /// Every request may be carried out twice, whatever its method.
    pub idempotent: bool,
}
