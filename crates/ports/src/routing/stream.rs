//! Routes of connections whose bytes are passed on: what the Gateway API calls `TCPRoute` and `TLSRoute`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backend, Cidr};

/// Which connections, and where their bytes go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// A name for logs and metrics; unique in its listener.
    pub name: String,
    /// Of TLS: the names that are asked for (SNI), exact or `*.suffix` (which matches one label or more); none matches every
    /// connection, also those that name nobody.
    pub hosts: Vec<String>,
    /// Of TLS: one of these protocols is offered (ALPN); none matches every connection.
    pub alpn: Vec<String>,
    /// Where they go, by weight.
    pub backends: Vec<Backend>,
    /// Whose connections are taken; empty: everybody's. The narrowest range decides.
    pub allow: Vec<Cidr>,
    /// Whose are not.
    pub deny: Vec<Cidr>,
    /// How long one instance has to accept; `None`: the engine's default.
    pub connect_timeout: Option<Duration>,
    /// Longest silence, both ways; `None`: the engine's default. Zero: no limit.
    pub idle_timeout: Option<Duration>,
}
