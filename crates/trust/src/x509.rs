//! What a certificate says, and how one becomes an [`Identity`].

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tutti_ports::certificates::Identity;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::TrustError;

/// What we need to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Host names and addresses, in lower case.
    pub(crate) names: Vec<String>,
    /// Valid from, in seconds since 1970.
    pub(crate) not_before: u64,
    /// Valid until, in seconds since 1970.
    pub(crate) not_after: u64,
    /// Its name in renewal information (RFC 9773 section 4.1), if it names its authority's key.
    pub(crate) ari_id: Option<String>,
    /// Its subject's common name.
    pub(crate) common_name: String,
}

/// Reads a certificate in DER.
pub(crate) fn facts(der: &[u8]) -> Result<Facts, TrustError> {
    let unreadable = |error: String| TrustError::NotACertificate(error);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name_of).collect(),
        Ok(None) => Vec::new(),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let authority = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let serial = parsed.raw_serial();
    let common_name = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok());
    Ok(Facts {
        names,
        not_before: seconds(parsed.validity().not_before.timestamp()),
        not_after: seconds(parsed.validity().not_after.timestamp()),
        ari_id: authority
            .map(|id| format!("{}.{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(serial))),
        common_name: common_name.unwrap_or_default().to_owned(),
    })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

/// A moment as seconds since 1970; 0 for what was before.
pub(crate) fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The moment so many seconds after 1970.
pub(crate) fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(MOST_SECONDS))
}

/// The end of the year 9999, the last that a certificate can name (RFC 5280 section 4.1.2.5).
const MOST_SECONDS: u64 = 253_402_300_799;

/// The certificates of a PEM text, each in DER.
pub(crate) fn chain_of(pem: &[u8]) -> Result<Vec<Vec<u8>>, TrustError> {
    let mut chain = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| TrustError::NotACertificate(error.to_string()))?;
        if block.label == "CERTIFICATE" {
            chain.push(block.contents);
        }
    }
    if chain.is_empty() {
        return Err(TrustError::NotACertificate("there is no certificate in it".to_owned()));
    }
    Ok(chain)
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A certificate and its key as listeners show them.
pub(crate) fn identity(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Identity, TrustError> {
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    let facts = facts(leaf)?;
    Ok(Identity {
        names: facts.names,
        not_after: moment(facts.not_after),
        ocsp: None,
        serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        chain,
        key,
    })
}

/// Another number whenever a certificate has been made in this process.
pub(crate) fn made() -> u64 {
    SERIAL.load(Ordering::Relaxed)
}
