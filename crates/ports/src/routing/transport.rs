//! What carries a listener: TLS, HTTP/3, the PROXY protocol.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StreamRoute;
use super::cidr::Cidr;
use super::limits::ClientLimits;
use crate::certificates::Acme;

/// What carries a listener. The default is plain TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// TLS; `None` is plain.
    pub tls: Option<Tls>,
    /// HTTP/3 beside it; `None`: nothing was said of it.
    pub http3: Option<Http3>,
    /// What each client may take.
    pub limits: ClientLimits,
    /// Which proxies in front are believed, when they say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// Who begins connections with a header of the PROXY protocol; `None`: nobody.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which connections of TLS are not opened but passed on as they are, by the name that the client asks for. Those that no
    /// route is for are opened, if there is [`Transport::tls`].
    pub passthrough: Vec<StreamRoute>,
}

/// Who begins connections with a header of the PROXY protocol (HAProxy's specification, versions 1 and 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProtocol {
    /// The addresses of the proxies that do; nobody else is believed.
    pub from: Vec<Cidr>,
    /// Whether their connections must begin with one, and those of others are closed; if not, theirs may, and others are
    /// served as they come.
    pub required: bool,
}

/// The proxies in front of a listener that are believed. The default believes nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedProxies {
    /// Their addresses.
    pub ranges: Vec<Cidr>,
    /// Where they say for whom they ask.
    pub header: ForwardedHeader,
}

/// The header field in which proxies write down the addresses that a request came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly all of them write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// HTTP/3 (RFC 9114), at the same port of UDP, with the same certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http3 {
    /// Whether it is spoken. If not, clients that remember it are told to forget it.
    pub on: bool,
    /// The port that clients are told (RFC 7838), if it is another than the one that is listened at.
    pub advertised_port: Option<u16>,
    /// For how long they may remember it.
    pub max_age: Duration,
    /// Whether each client has to show that its address is its own before its handshake (RFC 9000 section 8.1.2), and not only
    /// while many are under way.
    pub retry: bool,
}

impl Default for Http3 {
    fn default() -> Self {
        Self { on: true, advertised_port: None, max_age: Duration::from_secs(24 * 60 * 60), retry: false }
    }
}

/// How TLS is spoken at a listener. The default shows what [`crate::certificates::Certificates`] has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Certificates in files. They come before those of [`crate::certificates::Certificates`]; the first is shown to
    /// clients that name no host, or one that nobody has a certificate for.
    pub files: Vec<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// An authority that is asked for certificates.
    pub acme: Option<Acme>,
    /// Whether clients show certificates.
    pub client_auth: Option<ClientAuth>,
}

/// A certificate in files, which are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
    /// An OCSP response in DER that is stapled (RFC 6066 section 8).
    pub ocsp: Option<PathBuf>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Which certificates of clients are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientAuth {
    /// The authorities in PEM.
    pub ca: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

impl TrustedProxies {
    /// Whether it is the address of one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }
}
