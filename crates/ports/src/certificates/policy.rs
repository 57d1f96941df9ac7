//! Which certificates an application wants, and of whom: the model says it, the room of certificates carries it out.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which certificates are wanted. The default wants none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The development authority of this user makes certificates, for names of this machine and for `hosts`.
    pub development: bool,
    /// Host names of the routes, exact or `*.suffix`, in lower case.
    pub hosts: Vec<String>,
    /// An authority that is asked by ACME (RFC 8555).
    pub acme: Option<Acme>,
}

/// An authority that speaks ACME, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acme {
    /// The URL of its directory (RFC 8555 section 7.1.1).
    pub directory: String,
    /// Where it may write to about certificates that end soon.
    pub email: Option<String>,
    /// How it may find out that a name is ours, the preferred way first; never empty.
    pub challenges: Vec<Challenge>,
    /// Certificates that are always held: the names of each, in lower case, without duplicates.
    pub certificates: Vec<Vec<String>>,
    /// Names that become known only when a client asks for them.
    pub on_demand: Option<OnDemand>,
    /// An account that exists already at the authority's operator (RFC 8555 section 7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The program that writes DNS records for DNS-01.
    pub dns_hook: Option<DnsHook>,
    /// A PEM file with the root of the authority's own HTTPS certificate, if this machine does not trust it.
    pub trusted_root: Option<PathBuf>,
}

/// How an authority finds out that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Challenge {
    /// A file at port 80 (RFC 8555 section 8.3).
    Http01,
    /// A certificate at port 443 (RFC 8737).
    TlsAlpn01,
    /// A TXT record (RFC 8555 section 8.4); the only one for wildcards.
    Dns01,
}

impl Challenge {
    /// The name in ACME, and in configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01 => "dns-01",
        }
    }
}

/// Which names a client may bring up. Without a condition that admits it, no name is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemand {
    /// Names, exact or `*.suffix` (one label), in lower case.
    pub allow: Vec<String>,
    /// An `http://` URL that is asked with `?domain=NAME`; 200 admits the name.
    pub ask: Option<String>,
}

/// An account that was made outside of ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAccount {
    /// Its key's name, as the operator gave it.
    pub kid: String,
    /// The file that holds the key, in base64url as the operator gave it.
    pub key_file: PathBuf,
}

/// A program that writes and removes DNS records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsHook {
    /// The program and its first arguments; `present` or `cleanup`, the record's name and its value follow.
    pub command: Vec<String>,
    /// Longest time for one run.
    pub timeout: Duration,
    /// How long to wait after it, until the record is seen everywhere.
    pub propagation: Duration,
}
