//! What is done when things go wrong, as `tutti.yaml` says it.

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
    pub on: Option<Vec<String>>,
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
