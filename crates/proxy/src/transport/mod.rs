//! How the connections of a listener are carried, compiled: TLS with its certificates.

pub mod files;
pub mod keys;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use http::HeaderValue;
use tutti_core::code;
use tutti_net::Transport;
use tutti_net::tls::server::{self, ClientAuth, SetupError, Tickets};
use tutti_net::tls::{Keys, Server, Version};
use tutti_net::transport::{Passing, Proxies};
use tutti_ports::certificates::Certificates;
use tutti_ports::routing::{self, Serve, Tls, TlsVersion};

use crate::metrics::Metrics;
use crate::model::sni::Finder;
use files::{FileKeys, Stamp, stamps_of};
use keys::{Cache, ListenerKeys};

/// Why a listener cannot be carried as was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is nothing to show to clients.
    #[error("there is no certificate: name files under gateway.tls")]
    NoCertificate,
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate cannot be used.
    #[error("the certificate {} with the key {} cannot be used", .cert.display(), .key.display())]
    Key {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: tutti_net::tls::KeyError,
    },
    /// TLS cannot be set up so.
    #[error("TLS cannot be set up")]
    Setup(#[source] SetupError),
    /// TLS to a service cannot be set up so.
    #[error("TLS to the service cannot be set up")]
    Client(#[source] tutti_net::tls::client::SetupError),
}

/// Compiles transports, and keeps what outlives a configuration: keys of tickets, parsed certificates, what was
/// compiled before and is still asked for.
pub struct Book {
    certificates: Option<Arc<dyn Certificates>>,
    cache: Arc<Cache>,
    tickets: HashMap<(String, ClientAuth), Tickets>,
    files: Vec<Weak<FileKeys>>,
    /// Listeners whose clients were told of HTTP/3.
    advertised: BTreeSet<String>,
    known: HashMap<String, Known>,
}

/// A transport that was compiled, and what of.
struct Known {
    of: routing::Transport,
    http: bool,
    made: Arc<Transport>,
    files: Arc<FileKeys>,
    /// Of the file of clients' authorities, as it was when it was last looked at.
    clients: Vec<Stamp>,
}

impl Book {
    /// With the certificates of this installation, if there is somebody who keeps them.
    pub fn new(certificates: Option<Arc<dyn Certificates>>) -> Self {
        Self {
            certificates,
            cache: Arc::default(),
            tickets: HashMap::new(),
            files: Vec::new(),
            advertised: BTreeSet::new(),
            known: HashMap::new(),
        }
    }

    /// Compiles what carries a listener; `None` for plain TCP. Reads files, unless nothing of it has changed.
    pub fn compile(
        &mut self,
        listener: &routing::Listener,
    ) -> Result<Option<Arc<Transport>>, TransportError> {
        let carried = &listener.transport;
        if carried.tls.is_none() && carried.proxy_protocol.is_none() && carried.passthrough.is_empty() {
            self.known.remove(&listener.name);
            return Ok(None);
        }
        let http = matches!(listener.serve, Serve::Http(_));
        if let Some(known) = self.known.get(&listener.name)
            && (&known.of, known.http) == (&listener.transport, http)
        {
            return Ok(Some(Arc::clone(&known.made)));
        }
        let clients = stamps_of(clients(carried).collect());
        let files = Arc::new(FileKeys::load(carried.tls.as_ref().map_or(&[][..], |tls| &tls.files))?);
        let made = Arc::new(self.transport(&listener.name, carried, http, &files)?);
        self.files.retain(|files| files.strong_count() > 0);
        if carried.tls.as_ref().is_some_and(|tls| !tls.files.is_empty()) {
            self.files.push(Arc::downgrade(&files));
        }
        let known = Known { of: carried.clone(), http, made: Arc::clone(&made), files, clients };
        self.known.insert(listener.name.clone(), known);
        Ok(Some(made))
    }

    fn transport(
        &mut self,
        listener: &str,
        carried: &routing::Transport,
        http: bool,
        files: &Arc<FileKeys>,
    ) -> Result<Transport, TransportError> {
        let quic = carried.http3.filter(|quic| http && quic.on);
        let tls = match &carried.tls {
            None => None,
            Some(tls) => Some(Arc::new(self.tls(listener, tls, (http, quic.is_some()), files)?)),
        };
        let proxies = carried.proxy_protocol.as_ref().map(proxies);
        let passthrough = (!carried.passthrough.is_empty()).then(|| passing(&carried.passthrough));
        Ok(Transport { proxies, passthrough, tls, validate: quic.is_some_and(|quic| quic.retry) })
    }

    fn tls(
        &mut self,
        listener: &str,
        tls: &Tls,
        (http, http3): (bool, bool),
        files: &Arc<FileKeys>,
    ) -> Result<Server, TransportError> {
        if tls.files.is_empty() && self.certificates.is_none() {
            return Err(TransportError::NoCertificate);
        }
        let client_auth = match &tls.client_auth {
            None => ClientAuth::None,
            Some(auth) => {
                let pem = files::read(&auth.ca)?;
                if auth.required { ClientAuth::Required(pem) } else { ClientAuth::Optional(pem) }
            }
        };
        let tickets = self.tickets(listener, &client_auth)?;
        let mut options = server::Options { client_auth, http3, ..server::Options::default() };
        if tls.min_version == TlsVersion::Tls13 {
            options.oldest = Version::Tls13;
        }
        if !http {
            options.alpn.clear();
        }
        let (certificates, cache, files) =
            (self.certificates.clone(), Arc::clone(&self.cache), Arc::clone(files));
        let keys = Arc::new(ListenerKeys { files, certificates, cache }) as Arc<dyn Keys>;
        Server::new(keys, &options, &tickets).map_err(TransportError::Setup)
    }

    /// Keys of tickets belong to a listener and to whom it asks for certificates: a session must not lead around either.
    fn tickets(&mut self, listener: &str, auth: &ClientAuth) -> Result<Tickets, TransportError> {
        let place = (listener.to_owned(), auth.clone());
        if let Some(tickets) = self.tickets.get(&place) {
            return Ok(tickets.clone());
        }
        let made = Tickets::new().map_err(TransportError::Setup)?;
        // One listener has one set; what it asked for before is not asked for any more.
        self.tickets.retain(|(other, _), _| other != listener);
        self.tickets.insert(place, made.clone());
        Ok(made)
    }

    /// What a listener at this port tells its clients of HTTP/3 (RFC 7838): where it is, or, once they may remember it and it is
    /// switched off, that they should forget it.
    pub fn alt_svc(&mut self, listener: &routing::Listener, port: u16) -> Option<HeaderValue> {
        if !matches!(listener.serve, Serve::Http(_)) || listener.transport.tls.is_none() {
            return None;
        }
        match listener.transport.http3 {
            Some(http3) if http3.on => {
                self.advertised.insert(listener.name.clone());
                let (port, age) = (http3.advertised_port.unwrap_or(port), http3.max_age.as_secs());
                HeaderValue::from_str(&format!("h3=\":{port}\"; ma={age}")).ok()
            }
            Some(_) => Some(HeaderValue::from_static("clear")),
            None => self.advertised.contains(&listener.name).then(|| HeaderValue::from_static("clear")),
        }
    }

    /// Forgets listeners that are gone.
    pub fn keep(&mut self, names: &[&str]) {
        self.known.retain(|name, _| names.contains(&name.as_str()));
        self.tickets.retain(|(name, _), _| names.contains(&name.as_str()));
        self.advertised.retain(|name| names.contains(&name.as_str()));
    }

    /// Reads files again that have changed; whether any has, and which listeners are carried otherwise from now on.
    pub fn refresh(&mut self, metrics: &Metrics) -> (bool, Vec<(String, Arc<Transport>)>) {
        let files = self.files.iter().filter_map(Weak::upgrade);
        let mut changed = false;
        for renewed in files.filter_map(|files| files.refresh()) {
            metrics.reread("certificates", renewed);
            changed |= renewed;
        }
        (changed, self.clients(metrics))
    }

    /// Looks at the authorities of clients. What cannot be used leaves those from before.
    fn clients(&mut self, metrics: &Metrics) -> Vec<(String, Arc<Transport>)> {
        let mut changed = Vec::new();
        for (name, known) in &mut self.known {
            let now = stamps_of(clients(&known.of).collect());
            if known.clients != now {
                known.clients = now;
                changed.push((name.clone(), known.of.clone(), known.http, Arc::clone(&known.files)));
            }
        }
        let mut renewed = Vec::new();
        for (name, of, http, files) in changed {
            let made = self.transport(&name, &of, http, &files);
            metrics.reread("client_authorities", made.is_ok());
            match made {
                Ok(made) => {
                    let made = Arc::new(made);
                    if let Some(known) = self.known.get_mut(&name) {
                        known.made = Arc::clone(&made);
                    }
                    tracing::info!(listener = name, "the authorities of clients were read again");
                    renewed.push((name, made));
                }
                Err(error) => tracing::warn!(
                    code = %code::TLS_FILES, listener = name, error = %tutti_core::error::chain(&error),
                    "changed authorities of clients cannot be used; those from before stay in force"
                ),
            }
        }
        renewed
    }
}

/// The file of clients' authorities, if there is one.
fn clients(carried: &routing::Transport) -> impl Iterator<Item = &PathBuf> {
    carried.tls.iter().filter_map(|tls| tls.client_auth.as_ref()).map(|auth| &auth.ca)
}

/// Who tells who the client is, by the PROXY protocol.
fn proxies(said: &routing::ProxyProtocol) -> Proxies {
    let from = said.from.clone();
    let are = Box::new(move |address| from.iter().any(|range| range.contains(address)));
    Proxies { are, required: said.required }
}

/// By which routes connections of TLS are passed on.
fn passing(routes: &[routing::StreamRoute]) -> Passing {
    let finder = Finder::new(routes);
    Box::new(move |hello| finder.find(hello.sni.as_deref(), &hello.alpn))
}
