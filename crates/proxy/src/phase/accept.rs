//! Phase 1: connections. A listener of HTTP serves requests; one of TCP carries bytes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tutti_core::limits;
use tutti_net::server::{self, Admission, Refusal, Settings, StreamHandler};
use tutti_net::transport::{Failure, Transport};
use tutti_net::{
    Body, ConnectionInfo, DrainSignal, Listener, LocalHandler, MinRate, Protocol, Stream, h3, serve_local,
};

use super::carry::{self, Carried};
use crate::clients::Client;
use crate::snapshot::plan::{ListenerPlan, Serve, Side};
use crate::upstream::carrier::Carries;
use crate::worker::Worker;

/// How long a client may say nothing at a door before it is taken for one that waits for the server to speak first, as
/// those of databases and mail servers do.
const SILENCE: Duration = Duration::from_millis(500);

/// The first byte of a record that holds a handshake of TLS (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

type Plan = Rc<RefCell<Arc<ListenerPlan>>>;

/// Serves a listener until it is drained.
pub async fn run(worker: Rc<Worker>, plan: Plan, listener: Listener, drain: DrainSignal) {
    let current = Arc::clone(&plan.borrow());
    let carries_anything = matches!(&current.serve, Serve::Http(routes) if routes.otherwise.is_some());
    let settings = Settings {
        connections: worker.shared.options.connections,
        other_after: carries_anything.then_some(SILENCE),
        ..Settings::named(Arc::clone(&current.name))
    };
    // The server wants an `Arc`, though nothing of this ever leaves the thread.
    #[allow(clippy::arc_with_non_send_sync)]
    let handler = Arc::new(Connections { worker, plan });
    let served = match current.serve {
        Serve::Http(_) => serve_local(listener, handler, settings, drain).await,
        Serve::Tcp(_) | Serve::Stream(_) => server::serve_streams(listener, handler, settings, drain).await,
    };
    if served.cut > 0 {
        tracing::warn!(listener = %current.name, connections = served.cut, "connections were cut at the end of a drain");
    }
}

/// Serves HTTP/3 beside a listener until it is drained.
pub async fn run_http3(worker: Rc<Worker>, plan: Plan, endpoint: h3::Endpoint, drain: DrainSignal) {
    let name = Arc::clone(&plan.borrow().name);
    let settings = Settings {
        connections: worker.shared.options.connections,
        ..Settings::named(format!("{name} (HTTP/3)"))
    };
    #[allow(clippy::arc_with_non_send_sync)]
    let handler = Arc::new(Connections { worker, plan });
    let served = h3::serve_local(endpoint, handler, settings, drain).await;
    if served.cut > 0 {
        tracing::warn!(listener = %name, connections = served.cut, "HTTP/3 connections were cut at the end of a drain");
    }
}

/// What every connection of a listener needs.
struct Connections {
    worker: Rc<Worker>,
    plan: Plan,
}

impl Connections {
    fn carried(&self) -> Option<Arc<Transport>> {
        self.plan.borrow().transport.clone()
    }

    fn count(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        let (plan, shared) = (self.plan.borrow(), &self.worker.shared);
        if let Err(Failure::ProxyHeader(error)) = &result {
            tracing::debug!(%error, peer = %connection.peer, "a connection did not begin");
            shared.metrics.proxy_header(&plan.name, error.as_str());
            return self.worker.recorder.unproxied(&plan, connection, error.reason());
        }
        if let Err(failure @ Failure::NoRoute) = &result {
            self.worker.recorder.unrouted(&plan, connection);
            return shared.metrics.handshake(&plan.name, failure.as_str());
        }
        if connection.proxied.is_some() {
            shared.metrics.proxy_header(&plan.name, "ok");
        }
        let result = match (result, &connection.tls) {
            (Err(failure), _) => {
                let error = tutti_core::error::chain(failure);
                tracing::debug!(%error, peer = %connection.peer, "a connection did not begin");
                failure.as_str()
            }
            // QUIC does not tell which.
            (Ok(()), Some(_)) if connection.protocol == Protocol::Http3 => "quic",
            (Ok(()), Some(tls)) if tls.resumed => "resumed",
            (Ok(()), Some(_)) => "full",
            (Ok(()), None) => return,
        };
        shared.metrics.handshake(&plan.name, result);
    }

    /// Counts the connection of a client of the edge. Asked for each connection: one look at a table, when there is a limit.
    fn place(&self, connection: &ConnectionInfo) -> Admission {
        let plan = self.plan.borrow();
        let Some(peer) = connection.peer.socket_addr().map(|peer| peer.ip()) else { return Admission::Free };
        if plan.side == Side::Door {
            return Admission::Free;
        }
        let most = match plan.limits.connections {
            Some(0) => return Admission::Free,
            Some(most) => most,
            None if peer.is_loopback() => return Admission::Free,
            None => limits::CLIENT_CONNECTIONS,
        };
        let shared = &self.worker.shared;
        let proxies = plan.transport.as_ref().and_then(|transport| transport.proxies.as_ref());
        let is_proxy = connection.proxied.is_none() && proxies.is_some_and(|proxies| (proxies.are)(peer));
        if is_proxy || plan.trusted.contains(peer) {
            return Admission::Free;
        }
        match shared.clients.connect(Client::at(peer), most) {
            Some(place) => Admission::Counted(Box::new(place)),
            None => {
                shared.metrics.clients_refused.inc();
                tracing::debug!(listener = %plan.name, %peer, most, "a client has too many connections");
                Admission::Refused
            }
        }
    }
}

impl LocalHandler for Connections {
    async fn handle(&self, request: Request<Body>, connection: &ConnectionInfo) -> Response<Body> {
        let plan = Arc::clone(&self.plan.borrow());
        super::run(&self.worker, &plan, connection, request).await
    }

    fn refused(&self, refusal: Refusal, connection: &ConnectionInfo) {
        self.worker.recorder.refused(&self.plan.borrow(), connection, &refusal);
    }

    fn flooded(&self, reason: &'static str, connection: &ConnectionInfo) {
        self.worker.recorder.flooded(&self.plan.borrow(), connection, reason);
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        self.carried()
    }

    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        self.count(connection, result);
    }

    fn admit(&self, connection: &ConnectionInfo) -> Admission {
        self.place(connection)
    }

    fn min_rate(&self) -> Option<MinRate> {
        self.plan.borrow().min_rate()
    }

    /// A door's port may speak anything: what is not HTTP is carried as it is.
    async fn other(&self, stream: Stream, connection: &ConnectionInfo) {
        StreamHandler::handle(self, stream, connection).await;
    }
}

impl StreamHandler for Connections {
    fn admit(&self, connection: &ConnectionInfo) -> Admission {
        self.place(connection)
    }

    async fn handle(&self, stream: Stream, connection: &ConnectionInfo) {
        let plan = Arc::clone(&self.plan.borrow());
        let carried = match (&connection.passed, &plan.serve) {
            (Some(passed), _) => match Carried::passed(&self.worker, &plan, passed) {
                Some(carried) => carried,
                // Its route went away in this moment.
                None => return,
            },
            (None, Serve::Tcp(target)) => Carried::to(&self.worker, *target, Carries::Bytes),
            (None, Serve::Stream(Some(stream))) => match Carried::by(&self.worker, stream, Carries::Bytes) {
                Some(carried) => carried,
                None => return,
            },
            (None, Serve::Stream(None)) => return,
            (None, Serve::Http(routes)) => match routes.otherwise {
                // A peer that speaks TLS itself to a service that wants it.
                Some(target) if stream.first_seen() == Some(TLS_HANDSHAKE) => {
                    Carried::to(&self.worker, target, Carries::Sealed)
                }
                Some(target) => Carried::to(&self.worker, target, Carries::Bytes),
                None => return,
            },
        };
        carry::run(&self.worker, &plan, carried, stream, connection).await;
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        self.carried()
    }

    fn begun(&self, connection: &ConnectionInfo, result: Result<(), &Failure>) {
        self.count(connection, result);
    }
}
