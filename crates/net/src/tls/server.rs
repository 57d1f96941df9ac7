//! The server's side: handshakes, with the certificate asked for anew in each.
//!
//! One configuration serves all handshakes of a listener; it never changes, and whatever can be set differently is another
//! [`Server`]. What may change under way, the certificates, is behind [`Keys`]. Over TCP the certificate is found before the
//! handshake goes on, since one that is made on demand takes a while, and is handed to the library with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;
use tutti_core::limits;

use super::cork::Corked;
use super::gate::Gate;
use super::key::{self, Key};
use super::{TlsInfo, Version, info, provider};
use crate::stream::Stream;

/// The protocol by which an authority looks at a certificate (RFC 8737).
const ACME: &[u8] = b"acme-tls/1";

/// Where a listener finds its certificates. Names are in lower case, without a trailing dot.
pub trait Keys: Send + Sync + 'static {
    /// The certificate for a name, or for clients that name none; at once.
    fn current(&self, name: Option<&str>) -> Option<Arc<Key>>;

    /// The certificate for a name that [`Keys::current`] has none for; it may take a while.
    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>>;

    /// The certificate that answers a TLS-ALPN-01 challenge for a name, while there is one.
    fn challenge(&self, name: &str) -> Option<Arc<Key>>;
}

/// Which clients have to prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// Nobody is asked.
    #[default]
    None,
    /// Clients may show a certificate, which must then be one of these authorities' (PEM).
    Optional(Vec<u8>),
    /// Clients must.
    Required(Vec<u8>),
}

/// What can be set about a TLS listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// The oldest version that is spoken.
    pub oldest: Version,
    /// Which clients have to prove who they are.
    pub client_auth: ClientAuth,
    /// Protocols of the application, the preferred one first (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// Longest time for a handshake.
    pub timeout: Duration,
    /// Most handshakes under way; a further one cuts the one that has taken the longest.
    pub handshakes: usize,
    /// Whether HTTP/3 is served with it too ([`crate::h3`]).
    pub http3: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            oldest: Version::Tls12,
            client_auth: ClientAuth::None,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            timeout: limits::TLS_HANDSHAKE_TIMEOUT,
            handshakes: limits::TLS_HANDSHAKES,
            http3: false,
        }
    }
}

/// Keys of session tickets, which change by themselves. Whoever has them can resume a session without showing a
/// certificate again, so listeners that ask for different ones must not share them.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// New keys; they are replaced every six hours, and tickets are good for twelve.
    pub fn new() -> Result<Self, SetupError> {
        rustls::crypto::aws_lc_rs::Ticketer::new().map(Self).map_err(SetupError::Crypto)
    }
}

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The authorities for clients' certificates cannot be used.
    #[error("the authorities of clients cannot be used: {0}")]
    Authorities(String),
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Crypto(#[source] rustls::Error),
}

/// Why a handshake did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client and we do not agree, or the connection broke.
    #[error(transparent)]
    Failed(std::io::Error),
    /// There is no certificate to show.
    #[error("there is no certificate for {}", .0.as_deref().unwrap_or("clients that name no host"))]
    NoCertificate(Option<String>),
    /// It took too long.
    #[error("it took longer than {0:?}")]
    Timeout(Duration),
    /// Too many were under way, and this one for the longest.
    #[error("too many handshakes were under way")]
    Cut,
    /// It was an authority's look at a challenge, and is over.
    #[error("it was the look of an authority at a challenge")]
    Challenge,
}

impl HandshakeError {
    /// One word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            HandshakeError::Failed(_) => "failed",
            HandshakeError::NoCertificate(_) => "no_certificate",
            HandshakeError::Timeout(_) => "timeout",
            HandshakeError::Cut => "cut",
            HandshakeError::Challenge => "challenge",
        }
    }
}

/// What a listener needs for TLS.
pub struct Server {
    keys: Arc<dyn Keys>,
    config: Arc<ServerConfig>,
    /// For an authority's look at a challenge.
    acme: Arc<ServerConfig>,
    quic: Option<Arc<QuicServerConfig>>,
    timeout: Duration,
    gate: Gate,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// The certificate of the handshake that is being polled, or that there is none for it.
    static FOUND: Option<Arc<Key>>;
}

/// Tells the library which certificate to show.
struct Resolver(Arc<dyn Keys>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = match FOUND.try_with(Option::clone) {
            Ok(found) => found,
            Err(_) => self.0.current(hello.server_name().map(in_our_form).as_deref()),
        };
        Some(Arc::clone(&key?.certified))
    }
}

/// A name as [`Keys`] has it.
fn in_our_form(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Server {
    /// Checks the options and prepares.
    pub fn new(keys: Arc<dyn Keys>, options: &Options, tickets: &Tickets) -> Result<Self, SetupError> {
        let mut config = base(&keys, options.oldest, &options.client_auth)?;
        config.alpn_protocols.clone_from(&options.alpn);
        resume_by(tickets, &mut config);
        let quic = if options.http3 { Some(quic(&keys, options, tickets)?) } else { None };
        let mut acme = base(&keys, Version::Tls12, &ClientAuth::None)?;
        acme.alpn_protocols = vec![ACME.to_vec()];
        acme.send_tls13_tickets = 0;
        acme.session_storage = Arc::new(NoServerSessionStorage {});
        let (config, acme) = (Arc::new(config), Arc::new(acme));
        Ok(Self { keys, config, acme, quic, timeout: options.timeout, gate: Gate::new(options.handshakes) })
    }

    /// What QUIC is set up with, if it is.
    pub(crate) fn quic(&self) -> Option<Arc<dyn quinn::crypto::ServerConfig>> {
        self.quic.clone().map(|config| config as Arc<dyn quinn::crypto::ServerConfig>)
    }

    /// What can be told of a handshake that QUIC has made, for the name and with the client's certificates.
    pub(crate) fn told(&self, name: Option<String>, chain: Option<&Vec<CertificateDer<'static>>>) -> TlsInfo {
        let sni = name.as_deref().map(in_our_form);
        TlsInfo {
            version: Version::Tls13,
            suite: "unknown",
            group: None,
            resumed: false,
            key: self.keys.current(sni.as_deref()),
            sni: sni.map(Into::into),
            h2: false,
            client: chain.and_then(|chain| key::describe(chain.first()?)),
        }
    }

    /// Makes a handshake on a stream that a client has just opened.
    pub async fn accept(&self, stream: Stream) -> Result<(Stream, TlsInfo), HandshakeError> {
        let mut ticket = self.gate.enter();
        tokio::select! {
            biased;
            () = ticket.cut() => Err(HandshakeError::Cut),
            made = tokio::time::timeout(self.timeout, self.handshake(stream)) => {
                made.unwrap_or(Err(HandshakeError::Timeout(self.timeout)))
            }
        }
    }

    async fn handshake(&self, stream: Stream) -> Result<(Stream, TlsInfo), HandshakeError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), Corked::server(stream))
            .await
            .map_err(HandshakeError::Failed)?;
        let hello = start.client_hello();
        let sni = hello.server_name().map(in_our_form);
        let looks = hello.alpn().is_some_and(|mut alpn| (alpn.next(), alpn.next()) == (Some(ACME), None));
        if looks && let Some(key) = sni.as_deref().and_then(|name| self.keys.challenge(name)) {
            let config = Arc::clone(&self.acme);
            let shown = FOUND.scope(Some(key), async { start.into_stream(config).await });
            let mut stream = shown.await.map_err(HandshakeError::Failed)?;
            // The connection ends with the handshake (RFC 8737 section 3).
            stream.get_mut().0.end();
            let _ = stream.shutdown().await;
            return Err(HandshakeError::Challenge);
        }
        let mut key = self.keys.current(sni.as_deref());
        if let (None, Some(name)) = (&key, &sni) {
            key = self.keys.obtain(name).await;
        }
        // The future does its first steps at once, so it is made inside of the scope.
        let config = Arc::clone(&self.config);
        let made = FOUND.scope(key.clone(), async { start.into_stream(config).into_fallible().await }).await;
        // Without a certificate it fails, and tells the client so in the words of TLS.
        let mut accepted = match made {
            Ok(accepted) => accepted,
            Err((error, mut below)) => {
                // What TLS says of it may be held.
                below.end();
                let _ = below.flush().await;
                return Err(key.map_or(HandshakeError::NoCertificate(sni), |_| HandshakeError::Failed(error)));
            }
        };
        accepted.get_mut().0.end();
        let (_, session) = accepted.get_ref();
        let mut told = info(session);
        told.client = session.peer_certificates().and_then(|chain| key::describe(chain.first()?));
        told.sni = sni.map(Into::into);
        told.key = key;
        Ok((Stream::encrypted(accepted.into()), told))
    }
}

/// Sessions are resumed by tickets alone, so nothing is remembered of them. One for each handshake: a client uses each once, gets the next
/// by using it, and has as many as it had connections. Two are two more of everything that a ticket costs.
fn resume_by(tickets: &Tickets, config: &mut ServerConfig) {
    config.ticketer = Arc::clone(&tickets.0);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
}

/// For QUIC, which has TLS 1.3 alone (RFC 9001 section 4.2), and HTTP/3 on it. No early data.
fn quic(
    keys: &Arc<dyn Keys>,
    options: &Options,
    tickets: &Tickets,
) -> Result<Arc<QuicServerConfig>, SetupError> {
    let mut config = base(keys, Version::Tls13, &options.client_auth)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    resume_by(tickets, &mut config);
    let made = QuicServerConfig::try_from(config);
    let no_suite = || rustls::Error::General("there is no suite that QUIC begins with".to_owned());
    made.map(Arc::new).map_err(|_| SetupError::Crypto(no_suite()))
}

/// What an endpoint of QUIC is made with that chooses for each connection: it has nothing to show.
pub(crate) fn no_certificate() -> Option<Arc<dyn quinn::crypto::ServerConfig>> {
    struct Nobody;
    impl Keys for Nobody {
        fn current(&self, _: Option<&str>) -> Option<Arc<Key>> {
            None
        }
        fn obtain<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>> {
            Box::pin(std::future::ready(None))
        }
        fn challenge(&self, _: &str) -> Option<Arc<Key>> {
            None
        }
    }
    let keys = Arc::new(Nobody) as Arc<dyn Keys>;
    let made = quic(&keys, &Options::default(), &Tickets::new().ok()?).ok()?;
    Some(made)
}

fn base(keys: &Arc<dyn Keys>, oldest: Version, clients: &ClientAuth) -> Result<ServerConfig, SetupError> {
    let versions: &[_] = match oldest {
        Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        Version::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(SetupError::Crypto)?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(pem) | ClientAuth::Required(pem) => {
            let roots = Arc::new(authorities(pem).map_err(SetupError::Authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let optional = matches!(clients, ClientAuth::Optional(_));
            let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| SetupError::Authorities(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(Arc::clone(keys))));
    // Our order of suites, not the client's: see `provider`.
    config.ignore_client_order = true;
    Ok(config)
}

/// Authorities out of PEM; otherwise what is wrong.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the PEM cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
}
