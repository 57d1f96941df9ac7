//! What snapshots are made of, and what must hold of listeners before any is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use tutti_core::{ServiceName, limits};
use tutti_ports::catalog::View;
use tutti_ports::rate::Policy;
use tutti_ports::routing::{self, Explain, Routing};

use crate::access_log::{self, plan::Plan};
use crate::config::Options;
use crate::error::ApplyError;
use crate::guard::auth::keyring::Keyrings;
use crate::model::router::Made;
use crate::openapi::document::Documents;
use crate::snapshot::book::Book;
use crate::snapshot::cluster::Clusters;
use crate::snapshot::plan::ListenerPlan;
use crate::transport;
use crate::upstream::carrier::Carriers;

/// What makes snapshots; one at a time.
pub(crate) struct Control {
    pub(crate) clusters: Clusters,
    pub(crate) keyrings: Keyrings,
    /// Descriptions of services.
    pub(crate) documents: Documents,
    pub(crate) made: Made,
    /// Who is told why a request went where it went.
    pub(crate) explain: Explain,
    /// How requests are recorded.
    pub(crate) log: Option<Arc<Plan>>,
    /// Changes of listeners and routes that were taken into force.
    pub(crate) routes: u64,
    pub(crate) edge: Vec<Edge>,
    pub(crate) doors: BTreeMap<(ServiceName, u16), Arc<ListenerPlan>>,
    pub(crate) view: Arc<View>,
    pub(crate) generation: u64,
    pub(crate) keys: u64,
    pub(crate) transports: transport::Book,
    /// The certificates that the last snapshot knew of.
    pub(crate) certificates: u64,
    pub(crate) carriers: Carriers,
    /// Listeners whose socket for HTTP/3 another process still has.
    pub(crate) http3_missing: Vec<u64>,
}

/// A listener of the edge.
pub(crate) struct Edge {
    /// As it was declared; the routes are in the book.
    pub(crate) listener: routing::Listener,
    pub(crate) book: Book,
    /// As it is in the next snapshot.
    pub(crate) plan: Arc<ListenerPlan>,
}

impl Edge {
    /// Whether a listener is this one, perhaps changed. With port 0 only the name tells listeners apart.
    pub(crate) fn is(&self, other: &routing::Listener) -> bool {
        let own = &self.listener;
        own.bind == other.bind && (own.bind.port() != 0 || own.name == other.name)
    }

    /// Whether its connections can go on with the other.
    pub(crate) fn serves_like(&self, other: &routing::Listener) -> bool {
        use routing::Serve::Http;
        matches!(self.listener.serve, Http(_)) == matches!(other.serve, Http(_))
    }
}

impl Control {
    pub(crate) fn new(view: Arc<View>, transports: transport::Book) -> Self {
        Self {
            clusters: Clusters::default(),
            keyrings: Keyrings::default(),
            documents: Documents::default(),
            made: Made::default(),
            explain: Explain::Off,
            log: None,
            routes: 0,
            edge: Vec::new(),
            doors: BTreeMap::new(),
            view,
            generation: 0,
            keys: 0,
            transports,
            certificates: 0,
            carriers: Carriers::default(),
            http3_missing: Vec::new(),
        }
    }
}

/// The rate limits that are in force.
pub(crate) fn policies<'a>(plans: impl Iterator<Item = &'a ListenerPlan>) -> Vec<Arc<Policy>> {
    let routes = plans.filter_map(|plan| match &plan.serve {
        crate::snapshot::plan::Serve::Http(routes) => Some(routes),
        crate::snapshot::plan::Serve::Tcp(_) | crate::snapshot::plan::Serve::Stream(_) => None,
    });
    let guards =
        routes.flat_map(|routes| routes.iter()).filter_map(|route| route.guard.as_ref()?.limits.as_ref());
    let limits = guards.flat_map(|limits| limits.stages.iter().flatten());
    limits.map(|limit| Arc::clone(&limit.policy)).collect()
}

/// Refuses listeners that would stand in each other's way.
pub(crate) fn check(routing: &Routing) -> Result<(), ApplyError> {
    if routing.listeners.len() > limits::LISTENERS {
        return Err(ApplyError::TooMany(limits::LISTENERS));
    }
    for (at, listener) in routing.listeners.iter().enumerate() {
        for other in routing.listeners.iter().take(at) {
            if other.name == listener.name {
                return Err(ApplyError::Duplicate { what: "name", value: listener.name.clone() });
            }
            if other.bind == listener.bind && listener.bind.port() != 0 {
                return Err(ApplyError::Duplicate { what: "address", value: listener.bind.to_string() });
            }
        }
    }
    Ok(())
}

/// How requests are recorded from now on: as before, if that has not changed. A file must open: who asks for a log is told at once when
/// there will be none.
pub(crate) fn log(
    routing: &Routing,
    options: &Options,
    before: Option<&Arc<Plan>>,
) -> Result<Option<Arc<Plan>>, ApplyError> {
    let Some(plan) = Plan::compile(&routing.observe.access_log, options.access_log.as_ref()) else {
        return Ok(None);
    };
    if let Some(before) = before.filter(|before| ***before == *plan) {
        return Ok(Some(Arc::clone(before)));
    }
    if let Some(path) = &plan.sink.path {
        let opened = access_log::open(path);
        opened.map_err(|source| ApplyError::AccessLog { path: path.clone(), source })?;
    }
    Ok(Some(plan))
}
