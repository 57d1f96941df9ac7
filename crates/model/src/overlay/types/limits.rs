//! What each client of the gateway may take.

use schemars::JsonSchema;
use serde::Deserialize;

/// What each client of the gateway may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientLimits {
    /// Most connections of one client (an IPv4 address, or an IPv6 /64) at a time; 0: no limit. Default: 1024, and no limit for this
    /// machine itself.
    pub connections_per_client: Option<u32>,
    /// Least bytes a second that a client sends of a request's body and takes of a response, while it is waited for; 0: no limit. Default: 240.
    pub min_rate: Option<u32>,
    /// How long a client is waited for before the rate counts. Default: 10s.
    pub min_rate_grace: Option<String>,
}
