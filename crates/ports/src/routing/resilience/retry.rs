//! Sending a request again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how often a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Most tries after the first.
    pub attempts: u32,
    /// After what.
    pub on: Vec<RetryOn>,
    /// The first pause is at most so long; each further one may be twice as long. How long it is, chance decides
    /// ("full jitter"). A try that never reached an instance is repeated without a pause.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// The longest `Retry-After` of an answer that is waited for; an answer that asks for more is passed on.
    pub max_retry_after: Duration,
    /// Whether every request may be carried out twice, whatever its method.
    pub idempotent: bool,
    /// Whether requests with an `Idempotency-Key` may be.
    pub idempotency_key: bool,
    /// How much of a body is kept for another try.
    pub buffer: usize,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![
                RetryOn::ConnectFailure,
                RetryOn::Reset,
                RetryOn::Timeout,
                RetryOn::GatewayError,
                RetryOn::Grpc(14),
            ],
            backoff: Duration::from_millis(25),
            max_backoff: Duration::from_millis(250),
            max_retry_after: Duration::from_secs(1),
            idempotent: false,
            idempotency_key: false,
            buffer: 64 << 10,
        }
    }
}

/// What may be followed by another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryOn {
    /// No connection.
    ConnectFailure,
    /// The connection broke before the answer.
    Reset,
    /// A try took longer than the route's timeout for one.
    Timeout,
    /// The answer is 502, 503 or 504.
    GatewayError,
    /// The answer is 500 to 599.
    ServerError,
    /// The answer has this status.
    Status(u16),
    /// The answer is an error of gRPC with this status.
    Grpc(u8),
}

/// How many retries a service gets, all its callers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Retries for each 100 requests.
    pub percent: u32,
    /// Retries for each second that are allowed however few requests there are.
    pub min_per_second: u32,
}
