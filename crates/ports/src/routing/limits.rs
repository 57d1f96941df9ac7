//! What a listener allows its clients.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tutti_core::limits;

/// What a listener of the edge allows each of its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientLimits {
    /// Most connections of one client (an IPv4 address, or an IPv6 /64) at a time, over all workers; 0: no limit. `None`:
    /// [`limits::CLIENT_CONNECTIONS`] for others than this machine itself. Trusted proxies are never counted.
    pub connections: Option<u32>,
    /// Least bytes a second that a client sends of a request's body, and takes of a response over HTTP/1.1, on average over
    /// the time in which it is waited for; 0: no limit. gRPC streams are exempt.
    pub min_rate: u32,
    /// How long a client is waited for before the rate counts.
    pub min_rate_grace: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: None,
            min_rate: limits::CLIENT_MIN_RATE,
            min_rate_grace: limits::CLIENT_MIN_RATE_GRACE,
        }
    }
}
