//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446), by rustls with aws-lc-rs.
//!
//! Only suites with forward secrecy and authenticated encryption, and of the key exchanges the post-quantum hybrid
//! X25519MLKEM768 first. No early data: what it carries can be replayed.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | [`Key`]: a certificate chain with its private key, parsed once |
//! | [`server`] | [`Server`]: what a listener needs; asks for the certificate in every handshake |
//! | [`client`] | [`Client`]: how connections to servers are made |
//! | [`hello`] | the first message, read without a handshake, so that a connection can be passed on by its name |

mod cause;
pub mod client;
mod cork;
mod gate;
pub mod hello;
pub mod key;
pub mod server;
pub(crate) mod stream;

use std::sync::{Arc, OnceLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;

pub use client::Client;
pub use key::{Key, KeyError};
pub use server::{Keys, Server};

/// The version of TLS in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// As it is written in logs: `TLSv1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        }
    }
}

/// What a handshake has agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version.
    pub version: Version,
    /// The suite by its name in the IANA registry, such as `TLS_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// The key exchange, such as `X25519MLKEM768`; `None` where a session was resumed without one.
    pub group: Option<&'static str>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The name that the client asked for (RFC 6066 section 3), in lower case.
    pub sni: Option<Box<str>>,
    /// Whether `h2` was agreed on (RFC 7301).
    pub h2: bool,
    /// The certificate that was shown to the client. Server side only.
    pub key: Option<Arc<Key>>,
    /// The client's certificate, verified. Server side only.
    pub client: Option<ClientCertificate>,
}

/// What a verified certificate of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// Its alternative names: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub names: Vec<String>,
    /// SHA-256 over the certificate, in lower-case hexadecimal digits.
    pub fingerprint: String,
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = aws_lc_rs::default_provider();
        // Processors have instructions for SHA-256 and few for SHA-384, with which a handshake derives all its keys; 128 bits are enough
        // (NIST SP 800-57 part 1, table 4). The order of versions stays.
        provider
            .cipher_suites
            .sort_by_key(|suite| (suite.version().version != TLS13.version, !is_short(suite.suite())));
        Arc::new(provider)
    }))
}

fn is_short(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// The name in the IANA registry, where those of TLS 1.3 do not say so.
fn registered(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// What both sides of a connection can tell of it.
pub(crate) fn info(common: &rustls::CommonState) -> TlsInfo {
    let suite = common.negotiated_cipher_suite();
    TlsInfo {
        version: match common.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => Version::Tls13,
        },
        suite: suite.map_or("unknown", |suite| registered(suite.suite())),
        group: common.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
        resumed: common.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        sni: None,
        h2: common.alpn_protocol() == Some(b"h2"),
        key: None,
        client: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
