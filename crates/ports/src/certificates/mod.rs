//! Certificates: what the listeners show to clients, and the answers that prove to an authority that a name is ours.
//!
//! The room that keeps certificates renews and replaces them whenever it likes; a listener asks anew for every
//! handshake, so that a change is in force with the next connection and cuts none.

mod policy;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use policy::{Acme, Challenge, DnsHook, ExternalAccount, OnDemand, Policy};

/// A certificate with its key, and what proves that it was not revoked.
#[derive(Clone)]
pub struct Identity {
    /// The chain in DER, the server's own certificate first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The private key: PKCS #8 in DER. Never shown.
    pub key: Vec<u8>,
    /// A stapled OCSP response in DER (RFC 6066 section 8), if there is one.
    pub ocsp: Option<Vec<u8>>,
    /// The names it is valid for, in lower case; `*.suffix` covers one label.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: SystemTime,
    /// Changes whenever any of the others does; unique in the process.
    pub serial: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, not_after, serial, .. } = self;
        f.debug_struct("Identity")
            .field("names", names)
            .field("not_after", not_after)
            .field("serial", serial)
            .finish_non_exhaustive()
    }
}

/// The certificates of this installation. Names are host names in lower case, without a port or a trailing dot.
#[async_trait::async_trait]
pub trait Certificates: Send + Sync + 'static {
    /// The certificate for a name, or for clients that name none; at once, from memory. Called in every handshake.
    fn current(&self, name: Option<&str>) -> Option<Arc<Identity>>;

    /// The certificate for a name that [`Certificates::current`] has none for: it may be asked of an authority, if the
    /// name is one that may be. Bounded in time and in number; `None`: there is none to be had.
    async fn obtain(&self, name: &str) -> Option<Arc<Identity>>;

    /// The certificate that answers a TLS-ALPN-01 challenge for a name (RFC 8737), while there is one.
    fn alpn_challenge(&self, name: &str) -> Option<Arc<Identity>>;

    /// Another number whenever a certificate has been made or replaced.
    fn version(&self) -> u64 {
        0
    }

    /// The body that answers a GET of `/.well-known/acme-challenge/<token>` at a host (RFC 8555 section 8.3), while
    /// there is such a challenge.
    fn http_challenge(&self, host: &str, token: &str) -> Option<String>;
}
