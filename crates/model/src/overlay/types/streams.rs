//! The types of `tcp_routes:` and `tls_routes:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{OneText, Several, Targets};

/// Connections whose bytes are passed on to a service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpRoute {
    /// A name for logs and metrics. Default: `tcp-1`, `tcp-2` …
    pub name: Option<String>,
    /// The address, such as `127.0.0.1:5432`, `:5432` or `5432`.
    pub listen: OneText,
    /// Where they go: `service`, `service:port`, or several with weights.
    pub to: Targets,
    /// The addresses and ranges whose connections are taken. Default: everybody's.
    pub allow: Option<Several>,
    /// Those whose connections are not.
    pub deny: Option<Several>,
    /// How long an instance has to accept. Default: `1s`.
    pub connect_timeout: Option<String>,
    /// Longest silence, both ways; `0s`: no limit. Default: `1h`.
    pub idle_timeout: Option<String>,
}

/// Connections of TLS that are passed on to a service as they are, by the name that the client asks for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsRoute {
    /// A name for logs and metrics. Default: `tls-1`, `tls-2` …
    pub name: Option<String>,
    /// The address. Default: the one of `gateway.https`, where other names are served as ever.
    pub listen: Option<OneText>,
    /// The names that are asked for (SNI), exact or `*.suffix`. Default: any, and none.
    pub host: Option<Several>,
    /// The client offers one of these protocols (ALPN), such as `h2`. Default: any, and none.
    pub alpn: Option<Several>,
    /// Where they go: `service`, `service:port`, or several with weights.
    pub to: Targets,
    /// The addresses and ranges whose connections are taken. Default: everybody's.
    pub allow: Option<Several>,
    /// Those whose connections are not.
    pub deny: Option<Several>,
    /// How long an instance has to accept. Default: `1s`.
    pub connect_timeout: Option<String>,
    /// Longest silence, both ways; `0s`: no limit. Default: `1h`.
    pub idle_timeout: Option<String>,
}
