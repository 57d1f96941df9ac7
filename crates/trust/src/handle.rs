//! What the other rooms and the application hold: the certificates in force, and a way to the running room.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tutti_core::limits;
use tutti_core::time::Clock;
use tutti_ports::certificates::{Certificates, Identity, OnDemand, Policy};

use crate::acme::ask;
use crate::acme::board::Board;
use crate::acme::keeper::Standing;
use crate::dev::desk::Desk;
use crate::error::TrustError;
use crate::metrics::Metrics;
use crate::model::gate::Gate;
use crate::model::names;
use crate::service::Call;
use crate::shelf::Shelf;

/// What the room and its handle share.
pub(crate) struct Shared {
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) board: Board,
    pub(crate) desk: Desk,
    pub(crate) gate: Mutex<Gate>,
    /// Names that a handshake waits for; others that wait for the same are not counted against the gate.
    pub(crate) pending: Mutex<HashSet<String>>,
    pub(crate) waiting: Semaphore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The mark of the first handshake that waits for a name.
struct Pending<'a> {
    names: &'a Mutex<HashSet<String>>,
    name: String,
}

impl<'a> Pending<'a> {
    /// `None`: another one waits for it already.
    fn begin(names: &'a Mutex<HashSet<String>>, name: &str) -> Option<Self> {
        let first = names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        first.then(|| Self { names, name: name.to_owned() })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The room's face.
pub struct Handle {
    shared: Arc<Shared>,
}

/// The room does not run.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the room of certificates has stopped")]
pub struct Stopped;

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Wants this from now on; in force when it returns, as far as certificates are there. On an error nothing has changed.
    pub async fn apply(&self, policy: Policy) -> Result<(), TrustError> {
        let (reply, applied) = oneshot::channel();
        let stopped = || TrustError::State(tutti_ports::state::StateError::Unavailable(Box::new(Stopped)));
        self.shared.calls.send(Call::Apply(Box::new(policy), reply)).await.map_err(|_| stopped())?;
        applied.await.map_err(|_| stopped())?
    }

    /// How every certificate is; empty if the room does not run.
    pub async fn standings(&self) -> Vec<Standing> {
        let (reply, standings) = oneshot::channel();
        if self.shared.calls.send(Call::Standings(reply)).await.is_err() {
            return Vec::new();
        }
        standings.await.unwrap_or_default()
    }

    /// What the room counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    fn find(&self, name: &str) -> Option<Arc<Identity>> {
        self.shared.shelf.find(name).or_else(|| self.shared.desk.find(Some(name)))
    }

    /// Whether a name that nobody listed may be asked for; a stranger chose it.
    async fn admitted(&self, name: &str, on_demand: &OnDemand) -> bool {
        let held = self.shared.shelf.len();
        let now = self.shared.clock.monotonic();
        let gate = || self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner);
        // What no pattern admits costs no question and no token; so strangers' nonsense does not shut out those who may.
        let listed = on_demand.allow.iter().any(|pattern| names::covers(pattern, name));
        let refused = |why: &str| self.shared.metrics.refused.with(&[("reason", why)]).inc();
        if !listed && on_demand.ask.is_none() {
            refused("not_allowed");
            return false;
        }
        let passed = gate().admit(now, name, held);
        if let Err(refusal) = passed {
            refused(refusal.as_str());
            return false;
        }
        if listed {
            return true;
        }
        let admitted = match &on_demand.ask {
            Some(url) => ask::admits(url, name).await,
            None => false,
        };
        if !admitted {
            gate().refuse(now, name);
            refused("not_allowed");
        }
        admitted
    }
}

#[async_trait::async_trait]
impl Certificates for Handle {
    fn current(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        match name {
            Some(name) => self.find(name),
            None => self.shared.desk.find(None).or_else(|| self.shared.shelf.first()),
        }
    }

    fn version(&self) -> u64 {
        crate::x509::made()
    }

    async fn obtain(&self, name: &str) -> Option<Arc<Identity>> {
        let name = names::normal(name).filter(|name| !name.starts_with("*."))?;
        if let Some(found) = self.find(&name).or_else(|| self.shared.desk.make(&name)) {
            return Some(found);
        }
        let policy = self.shared.policy.load_full();
        let acme = policy.acme.as_ref()?;
        let _place = self.shared.waiting.try_acquire().ok()?;
        let listed = acme.certificates.iter().flatten().any(|one| *one == name);
        let pending = Pending::begin(&self.shared.pending, &name);
        let asked = listed || pending.is_none();
        if !asked && !self.admitted(&name, acme.on_demand.as_ref()?).await {
            return None;
        }
        let (reply, news) = oneshot::channel();
        self.shared.calls.try_send(Call::Bring(name.clone(), reply)).ok()?;
        // An error means that the waiter was dropped, which is the news.
        let _ = tokio::time::timeout(limits::ON_DEMAND_WAIT, news).await;
        let found = self.find(&name);
        if found.is_none() && pending.is_some() && !listed {
            let now = self.shared.clock.monotonic();
            self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner).refuse(now, &name);
        }
        found
    }

    fn alpn_challenge(&self, name: &str) -> Option<Arc<Identity>> {
        self.shared.board.alpn(name)
    }

    fn http_challenge(&self, host: &str, token: &str) -> Option<String> {
        self.shared.board.http(host, token)
    }
}
