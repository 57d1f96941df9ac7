//! What carries the connections to a service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::routing::{CertificateFiles, TlsVersion};

/// A version of the PROXY protocol (HAProxy's specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Whether health checks begin as requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckCarriage {
    /// With TLS, where requests have it.
    pub tls: bool,
    /// With a header of the PROXY protocol that names no client, where requests have one.
    pub proxy_protocol: bool,
}

impl Default for CheckCarriage {
    fn default() -> Self {
        Self { tls: true, proxy_protocol: true }
    }
}

/// How TLS is spoken to a service. Its files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// The authorities that are believed, in PEM; `None`: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The name that is asked for (SNI), and that the certificate must be for.
    pub server_name: String,
    /// The certificate that is shown when the service asks for one.
    pub certificate: Option<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether anybody is believed: then whoever sits in between reads and changes everything.
    pub insecure_skip_verify: bool,
}
