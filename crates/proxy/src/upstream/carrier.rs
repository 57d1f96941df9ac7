//! How connections to a service's instances begin: with a header of the PROXY protocol, with TLS, with both in this order.
//!
//! The files of TLS are looked at again and again. What cannot be used (half of a renewal) is left, and what was there
//! before stays in force. Other files make another carrier, and with it other endpoints: connections that were made with the ones before
//! finish what is under way on them, and are not used again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tutti_core::{ServiceName, code, limits};
use tutti_net::Stream;
pub use tutti_net::carry::{BeginError, Carries};
use tutti_net::carry::{Beginning, Begun, Carriage};
use tutti_net::proxy_protocol::{self, Version};
use tutti_net::tls::client::{Client, Options, Trust};
use tutti_net::tls::{self, Key};
use tutti_ports::routing::{CheckCarriage, ProxyVersion, TlsVersion, Upstream, UpstreamTls};

use crate::metrics::Metrics;
use crate::transport::TransportError;
use crate::transport::files::{self, Stamp};

/// Whom a connection is for, and what that client had connected to.
pub type Ends = (SocketAddr, SocketAddr);

/// How the connections to one service begin.
#[derive(Debug)]
pub struct Carrier {
    proxy: Option<Version>,
    tls: Option<Secure>,
    checks: CheckCarriage,
}

impl Carrier {
    fn new(upstream: &Upstream) -> Result<Option<Self>, TransportError> {
        let proxy = upstream.proxy_protocol.map(|version| match version {
            ProxyVersion::V1 => Version::V1,
            ProxyVersion::V2 => Version::V2,
        });
        let tls = upstream.tls.as_ref().map(Secure::read).transpose()?;
        Ok((proxy.is_some() || tls.is_some()).then_some(Self { proxy, tls, checks: upstream.checks }))
    }

    /// Whether connections belong to one client.
    pub fn is_private(&self) -> bool {
        self.proxy.is_some()
    }

    /// Begins a connection that was just made.
    pub async fn begin(
        &self,
        stream: Stream,
        carries: Carries,
        client: Option<Ends>,
    ) -> Result<Stream, BeginError> {
        let tls = self.tls.as_ref().filter(|_| carries != Carries::Sealed);
        begin(stream, carries, self.proxy.map(|version| (version, client)), tls).await
    }

    /// The same for a health check, as far as it speaks what traffic speaks.
    async fn check(&self, stream: Stream, carries: Carries) -> Result<Begun, BeginError> {
        let proxy = self.proxy.filter(|_| self.checks.proxy_protocol).map(|version| (version, None));
        let tls = self.tls.as_ref().filter(|_| self.checks.tls);
        let stream = begin(stream, carries, proxy, tls).await?;
        Ok(Begun { stream, server_name: tls.map(|tls| tls.rules.server_name.clone()) })
    }
}

async fn begin(
    mut stream: Stream,
    carries: Carries,
    proxy: Option<(Version, Option<Ends>)>,
    tls: Option<&Secure>,
) -> Result<Stream, BeginError> {
    if let Some((version, client)) = proxy {
        let header = proxy_protocol::write(version, client);
        stream.begin_with(&header).await.map_err(BeginError::Header)?;
    }
    let Some(tls) = tls else { return Ok(stream) };
    let made = tls.client(carries).secure(stream, limits::UPSTREAM_TLS_TIMEOUT).await;
    let (stream, told) = made.map_err(BeginError::Tls)?;
    if carries == Carries::Http2 && !told.h2 {
        return Err(BeginError::NoHttp2);
    }
    Ok(stream)
}

/// TLS to one service.
#[derive(Debug)]
struct Secure {
    rules: UpstreamTls,
    http1: Client,
    http2: Client,
    bytes: Client,
}

impl Secure {
    fn read(rules: &UpstreamTls) -> Result<Self, TransportError> {
        let trust = match &rules.ca {
            _ if rules.insecure_skip_verify => Trust::Anybody,
            None => Trust::Machine,
            Some(ca) => Trust::Authorities(files::read(ca)?),
        };
        let key = rules.certificate.as_ref().map(files::read_one).transpose()?;
        let oldest = match rules.min_version {
            TlsVersion::Tls12 => tls::Version::Tls12,
            TlsVersion::Tls13 => tls::Version::Tls13,
        };
        let (server_name, key): (String, Option<Key>) = (rules.server_name.clone(), key);
        let options = Options { trust, server_name, key, alpn: Vec::new(), oldest: Some(oldest) };
        let bytes = Client::new(&options).map_err(TransportError::Client)?;
        let (http1, http2) = (bytes.speaking(&["http/1.1"]), bytes.speaking(&["h2"]));
        Ok(Self { rules: rules.clone(), http1, http2, bytes })
    }

    fn client(&self, carries: Carries) -> &Client {
        match carries {
            Carries::Http1 => &self.http1,
            Carries::Http2 => &self.http2,
            Carries::Bytes | Carries::Sealed => &self.bytes,
        }
    }
}

fn paths(rules: &UpstreamTls) -> Vec<&PathBuf> {
    let shown = rules.certificate.as_ref();
    let files = [rules.ca.as_ref(), shown.map(|files| &files.cert), shown.map(|files| &files.key)];
    files.into_iter().flatten().collect()
}

/// The carriers of all services that have one.
#[derive(Debug, Default)]
pub struct Carriers {
    known: HashMap<ServiceName, Known>,
}

/// A carrier, and what it was made of.
#[derive(Clone, Debug)]
struct Known {
    asked: Upstream,
    /// Of the files, as they were when they were last looked at.
    stamps: Vec<Stamp>,
    carrier: Arc<Carrier>,
}

/// Carriers by service.
pub type ByService = HashMap<ServiceName, Arc<Carrier>>;

impl Carriers {
    /// Makes what is asked for; what is known stays, with its sessions. Nothing changes if something cannot be made.
    pub fn compile(
        &self,
        upstreams: &BTreeMap<ServiceName, Upstream>,
    ) -> Result<Self, (ServiceName, Box<TransportError>)> {
        let mut made = HashMap::new();
        for (service, upstream) in upstreams {
            let asked = Upstream {
                proxy_protocol: upstream.proxy_protocol,
                tls: upstream.tls.clone(),
                checks: upstream.checks,
                ..Upstream::default()
            };
            if let Some(known) = self.known.get(service).filter(|known| known.asked == asked) {
                made.insert(service.clone(), known.clone());
                continue;
            }
            if asked.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify) {
                tracing::warn!(
                    %service,
                    "INSECURE: the certificates of this service are not verified (insecure_skip_verify); \
                     whoever sits in between can read and change everything"
                );
            }
            // Looked at before they are read: what changes in between is read once more.
            let stamps = files::stamps_of(asked.tls.as_ref().map(paths).unwrap_or_default());
            let failed = |error| (service.clone(), Box::new(error));
            if let Some(carrier) = Carrier::new(&asked).map_err(failed)?.map(Arc::new) {
                made.insert(service.clone(), Known { asked, stamps, carrier });
            }
        }
        Ok(Self { known: made })
    }

    /// All of them.
    pub fn by_service(&self) -> ByService {
        self.known.iter().map(|(service, known)| (service.clone(), Arc::clone(&known.carrier))).collect()
    }

    /// Reads files again that have changed; whether there are other carriers now.
    pub fn refresh(&mut self, metrics: &Metrics) -> bool {
        let mut changed = false;
        for (service, known) in &mut self.known {
            let Some(rules) = &known.asked.tls else { continue };
            let stamps = files::stamps_of(paths(rules));
            if known.stamps == stamps {
                continue;
            }
            known.stamps = stamps;
            let made = Carrier::new(&known.asked);
            metrics.reread("upstream_tls", made.is_ok());
            match made {
                Ok(carrier) => {
                    tracing::info!(%service, "the files of TLS to a service were read again");
                    known.carrier = carrier.map_or_else(|| Arc::clone(&known.carrier), Arc::new);
                    changed = true;
                }
                Err(error) => tracing::warn!(
                    code = %code::UPSTREAM_TLS_FILES, %service, error = %tutti_core::error::chain(&error),
                    "changed files of TLS to a service cannot be used; those from before stay in force"
                ),
            }
        }
        changed
    }
}

/// The carriers that are in force, for whoever connects beside the workers.
#[derive(Debug, Default)]
pub struct InForce(ArcSwap<ByService>);

impl InForce {
    /// These are, from now on.
    pub fn set(&self, carriers: ByService) {
        self.0.store(Arc::new(carriers));
    }
}

impl Carriage for InForce {
    fn check<'a>(&'a self, service: &'a str, stream: Stream, carries: Carries) -> Beginning<'a> {
        let carrier = self.0.load().get(service).cloned();
        Box::pin(async move {
            match carrier {
                Some(carrier) => carrier.check(stream, carries).await,
                None => Ok(Begun { stream, server_name: None }),
            }
        })
    }
}

/// The ends of a connection as they are told: the client as it is believed to be, and what it had connected to.
pub fn ends(connection: &tutti_net::ConnectionInfo, client: Option<std::net::IpAddr>) -> Option<Ends> {
    let peer = connection.peer.socket_addr()?;
    let to = match &connection.proxied {
        Some(proxied) => proxied.to,
        None => connection.local.socket_addr()?,
    };
    // Whom a proxy in front speaks for by a header field has no port that anybody knows.
    let from = match client {
        Some(client) if client.to_canonical() != peer.ip().to_canonical() => SocketAddr::new(client, 0),
        _ => peer,
    };
    Some((from, to))
}
