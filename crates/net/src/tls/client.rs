//! The client's side: connections to servers that speak TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

pub use super::cause::{Cause, ServerHandshakeError};
use super::cork::Corked;
use super::key::Key;
use super::{TlsInfo, Version, info, provider, server};
use crate::stream::Stream;

/// Whom to believe that it is the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this machine trusts.
    #[default]
    Machine,
    /// These authorities (PEM), and no other.
    Authorities(Vec<u8>),
    /// Anybody. Whoever sits in between can read and change everything.
    Anybody,
}

/// How to connect.
#[derive(Debug, Default)]
pub struct Options {
    /// Whom to believe.
    pub trust: Trust,
    /// The name that the server's certificate must be for, and that it is asked for.
    pub server_name: String,
    /// The certificate that we show if asked.
    pub key: Option<Key>,
    /// Protocols of the application, the preferred one first (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that is spoken; `None`: 1.2.
    pub oldest: Option<Version>,
}

const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const ALL: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Why connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The name is not one.
    #[error("{0:?} is neither a host name nor an address")]
    Name(String),
    /// The authorities cannot be used.
    #[error("the authorities of the server cannot be used: {0}")]
    Authorities(String),
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Crypto(#[source] rustls::Error),
}

/// Makes encrypted streams to one server. Sessions are resumed.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the options and prepares.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let name = ServerName::try_from(options.server_name.clone());
        let name = name.map_err(|_| SetupError::Name(options.server_name.clone()))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(match options.oldest {
                Some(Version::Tls13) => NEW,
                Some(Version::Tls12) | None => ALL,
            })
            .map_err(SetupError::Crypto)?;
        let builder = match &options.trust {
            Trust::Machine => builder.with_root_certificates(machine()?),
            Trust::Authorities(pem) => {
                builder.with_root_certificates(server::authorities(pem).map_err(SetupError::Authorities)?)
            }
            Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)),
        };
        let mut config = match &options.key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(&key.certified));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols.clone_from(&options.alpn);
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// The same for other protocols of the application, with sessions of its own.
    pub fn speaking(&self, alpn: &[&str]) -> Self {
        let mut config = ClientConfig::clone(self.connector.config());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = Resumption::default();
        Self { connector: TlsConnector::from(Arc::new(config)), name: self.name.clone() }
    }

    /// Makes a handshake on a fresh stream, within a time, and says what was wrong in words that help.
    pub async fn secure(
        &self,
        stream: Stream,
        timeout: Duration,
    ) -> Result<(Stream, TlsInfo), ServerHandshakeError> {
        let made = tokio::time::timeout(timeout, self.connect(stream)).await;
        let failed = |source: io::Error| ServerHandshakeError { cause: Cause::of(&source), source };
        made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
    }

    /// Makes a handshake on a fresh stream. The caller bounds the time.
    pub async fn connect(&self, stream: Stream) -> std::io::Result<(Stream, TlsInfo)> {
        let made = self.connector.connect(self.name.clone(), Corked::open(stream)).await?;
        let (_, session) = made.get_ref();
        let told = info(session);
        Ok((Stream::encrypted(made.into()), told))
    }
}

fn machine() -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why =
            found.errors.first().map_or_else(|| "this machine has none".to_owned(), ToString::to_string);
        return Err(SetupError::Authorities(why));
    }
    Ok(roots)
}

/// Checks that the server has the key of the certificate that it shows, and nothing of the certificate.
#[derive(Debug)]
pub(crate) struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
