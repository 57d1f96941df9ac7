//! What snapshots are made of, and what must hold of listeners before any is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use tutti_core::{ServiceName, limits};
use tutti_ports::catalog::View;
use tutti_ports::rate::Policy;
use tutti_ports::routing::Routing;

use crate::error::ApplyError;
use crate::guard::auth::keyring::Keyrings;
use crate::guard::identity::Fields;
use crate::snapshot::cluster::Clusters;
use crate::snapshot::plan::ListenerPlan;
use crate::transport::Book;

/// What makes snapshots; one at a time.
pub(crate) struct Control {
    pub(crate) clusters: Clusters,
    pub(crate) keyrings: Keyrings,
    /// Header fields that only we set, as the routes that are being compiled say.
    pub(crate) identity: Option<Arc<Fields>>,
    pub(crate) edge: Vec<(tutti_ports::routing::Listener, Arc<ListenerPlan>)>,
    pub(crate) doors: BTreeMap<(ServiceName, u16), Arc<ListenerPlan>>,
    pub(crate) view: Arc<View>,
    pub(crate) generation: u64,
    pub(crate) keys: u64,
    pub(crate) book: Book,
    /// The last change of routes that is in force, by its number.
    pub(crate) changed: u64,
    /// When the next one may be.
    pub(crate) next_change: tokio::time::Instant,
}

impl Control {
    pub(crate) fn new(view: Arc<View>, book: Book) -> Self {
        Self {
            clusters: Clusters::default(),
            keyrings: Keyrings::default(),
            identity: None,
            edge: Vec::new(),
            doors: BTreeMap::new(),
            view,
            generation: 0,
            keys: 0,
            book,
            changed: 0,
            next_change: tokio::time::Instant::now(),
        }
    }
}

/// The rate limits that are in force.
pub(crate) fn policies<'a>(plans: impl Iterator<Item = &'a ListenerPlan>) -> Vec<Arc<Policy>> {
    let routes = plans.filter_map(|plan| match &plan.serve {
        crate::snapshot::plan::Serve::Http(routes) => Some(&routes.routes),
        crate::snapshot::plan::Serve::Tcp(_) => None,
    });
    let guards = routes.flatten().filter_map(|route| route.guard.as_ref()?.limits.as_ref());
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
