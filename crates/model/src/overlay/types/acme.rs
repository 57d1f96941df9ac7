//! The types of `gateway.tls.acme:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Line, Several};

/// Certificates of an authority that is asked by ACME (RFC 8555). To ask is to agree to its terms of service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The URL of its directory, or `letsencrypt` (the default) or `letsencrypt-staging`.
    pub directory: Option<String>,
    /// How it may find out that a name is ours, the preferred way first. Default: `tls-alpn-01`, `http-01`, and `dns-01` with a
    /// `dns_hook`.
    pub challenges: Vec<AcmeChallenge>,
    /// Names for which certificates are always held: one each, or a list for one with all of them. Default: the hosts of the routes.
    pub hosts: Option<Vec<Several>>,
    /// Names that become known only when a client asks for them.
    pub on_demand: Option<OnDemand>,
    /// An account that exists already at the authority's operator.
    pub eab: Option<ExternalAccount>,
    /// The program that writes DNS records for `dns-01`.
    pub dns_hook: Option<DnsHook>,
    /// A PEM file with the root of the authority's own HTTPS certificate, if this machine does not trust it.
    pub ca_certificate: Option<String>,
}

/// How an authority finds out that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AcmeChallenge {
    /// A file at port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate at port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record; the only one for wildcards.
    #[serde(rename = "dns-01")]
    Dns01,
}

/// Which names a client may bring up: at least one of `allow` and `ask`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnDemand {
    /// Names, exact or `*.suffix` (one label).
    pub allow: Vec<String>,
    /// An `http://` URL that is asked with `?domain=NAME`; 200 admits the name.
    pub ask: Option<String>,
}

/// An account that was made outside of ACME.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// The name of its key, as the operator gave it.
    pub kid: String,
    /// The file that holds the key, in base64url as the operator gave it.
    pub key_file: String,
}

/// A program that writes and removes DNS records.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsHook {
    /// The command; `present` or `cleanup`, the record's name and its value follow.
    pub run: Line,
    /// Longest time for one run. Default: `60s`.
    pub timeout: Option<String>,
    /// How long to wait after it, until the record is seen everywhere. Default: `10s`.
    pub propagation: Option<String>,
}
