//! A certificate chain with its private key, parsed once and used in every handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{ClientCertificate, provider};

/// A certificate with its key, ready for handshakes.
pub struct Key {
    pub(super) certified: Arc<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_after: SystemTime,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no certificate.
    #[error("there is no certificate in it: it begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// There is no private key.
    #[error(
        "there is no private key in it that can be read: it is PEM, unencrypted, of PKCS #8, PKCS #1 or SEC 1"
    )]
    NoKey,
    /// The certificate is not one.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The key does not belong to the certificate, or is of a kind that is not supported.
    #[error("the key cannot be used with the certificate")]
    Unfit(#[source] rustls::Error),
}

impl Key {
    /// From DER: the chain with the server's own certificate first, its key, and an OCSP response.
    pub fn from_der(chain: Vec<Vec<u8>>, key: Vec<u8>, ocsp: Option<Vec<u8>>) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::try_from(key).map_err(|_| KeyError::NoKey)?;
        Self::new(chain.into_iter().map(CertificateDer::from).collect(), key, ocsp)
    }

    /// From PEM, as files have it; the OCSP response in DER.
    pub fn from_pem(chain: &[u8], key: &[u8], ocsp: Option<Vec<u8>>) -> Result<Self, KeyError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| KeyError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| KeyError::NoKey)?;
        Self::new(chain, key, ocsp)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self, KeyError> {
        let first = chain.first().ok_or(KeyError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| KeyError::Certificate)?;
        let (names, addresses) = subject_names(&parsed);
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let key = provider().key_provider.load_private_key(key).map_err(KeyError::Unfit)?;
        // Compared here: the library's own comparison refuses certificates with critical extensions that it does not know, such
        // as those that answer an authority's challenge (RFC 8737 section 3).
        if key.public_key().is_some_and(|public| public.as_ref() != parsed.public_key().raw) {
            return Err(KeyError::Unfit(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)));
        }
        let mut certified = CertifiedKey::new(chain, key);
        certified.ocsp = ocsp.filter(|response| !response.is_empty());
        Ok(Self { certified: Arc::new(certified), names, addresses, not_after })
    }

    /// The host names that the certificate is for, in lower case, exact or `*.suffix`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the certificate is for a host: a name in lower case without a port, or an address. `*` stands for one
    /// label (RFC 6125 section 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => name == host,
        })
    }
}

/// The names and addresses in the subject's alternative names; nobody looks at the common name any more (RFC 9525 section 2).
fn subject_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in alternatives(certificate) {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
            _ => {}
        }
    }
    (names, addresses)
}

fn alternatives<'a>(certificate: &'a X509Certificate<'a>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| &extension.value.general_names)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

/// What a verified certificate of a client says.
pub(super) fn describe(certificate: &[u8]) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = alternatives(&parsed).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
        GeneralName::IPAddress(octets) => address(octets).map(|address| format!("IP:{address}")),
        _ => None,
    });
    Some(ClientCertificate {
        subject: parsed.subject().to_string(),
        names: names.collect(),
        fingerprint: sha256_hex(certificate),
    })
}

fn sha256_hex(bytes: &[u8]) -> String {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as SUITE;
    let rustls::SupportedCipherSuite::Tls13(suite) = SUITE else { return String::new() };
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}
