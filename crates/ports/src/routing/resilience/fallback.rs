//! What is answered when a service cannot, and faults on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::routing::Backend;

/// What is answered when the service cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// When.
    pub on: Vec<FallbackOn>,
    /// What.
    pub to: FallbackTo,
}

/// What makes a fallback step in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackOn {
    /// Nobody is ready, or the service's circuit breaker is open.
    Unavailable,
    /// No connection.
    ConnectFailure,
    /// The connection broke before the answer, or the answer is none.
    Reset,
    /// There was no answer in time.
    Timeout,
    /// A limit of the route, the service or Tutti was reached.
    Overloaded,
    /// The answer is 502, 503 or 504.
    GatewayError,
    /// The answer is 500 to 599.
    ServerError,
    /// The answer has this status.
    Status(u16),
}

/// What a fallback is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackTo {
    /// Another service is asked.
    Service(Backend),
    /// An answer that is always the same.
    Answer {
        /// Its status.
        status: u16,
        /// Its body.
        body: Vec<u8>,
        /// What the body is.
        content_type: String,
    },
}

/// A fault on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// The share of requests that it strikes, of 100.
    pub percent: f64,
    /// Header fields that a request must have for it to strike; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The request waits, between so long and so long.
    pub delay: Option<(Duration, Duration)>,
    /// The request is not sent, and answered with this.
    pub abort: Option<Abort>,
    /// The client's connection is reset, over HTTP/2 its stream.
    pub reset: bool,
    /// The response passes at so many bytes a second.
    pub throttle: Option<u64>,
    /// Bits of the response's body are flipped.
    pub corrupt: bool,
}

/// What a request is answered with that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Abort {
    /// A status.
    Status(u16),
    /// A status of gRPC.
    Grpc(u8),
}
