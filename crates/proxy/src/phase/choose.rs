//! Phase 7: which instance gets the request.
//!
//! Only instances that the catalog calls ready are chosen; one that refused a connection a moment ago only when there is
//! no other. If nobody is ready but somebody is starting or being replaced, the request waits for
//! [`crate::Options::ready_wait`]: a restart of a service with a single instance is a delay, not an error.

use std::time::Duration;

use tokio::time::Instant;
use tutti_core::limits;

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::snapshot::cluster::{Cluster, Slot};
use crate::snapshot::plan::{RoutePlan, Target};
use crate::upstream::endpoint::InFlight;
use crate::worker::Worker;

/// How long to wait before an instance that refused a connection is asked again, if it is the only one.
const AGAIN: Duration = Duration::from_millis(50);

/// The endpoints that a request has tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    uids: [u64; limits::TRIES as usize],
    count: usize,
}

impl Tried {
    /// Remembers one.
    pub fn add(&mut self, uid: u64) {
        if let Some(place) = self.uids.get_mut(self.count) {
            *place = uid;
            self.count += 1;
        }
    }

    fn has(&self, uid: u64) -> bool {
        self.uids.iter().take(self.count).any(|tried| *tried == uid)
    }
}

/// The backend of a route, by weight.
pub fn backend(exchange: &Exchange<'_>, route: &RoutePlan) -> Result<Target, Stop> {
    let at = route.picker.pick(&exchange.worker.rng, 0, |_| 0, |_| false);
    let target = at.and_then(|at| route.backends.get(at));
    target.copied().ok_or_else(|| Fault::no_backend(&route.name).into())
}

/// A ready instance that was not tried, at once; `None` if there is none. It is counted as under way before
/// anybody else runs, so whoever stops instances sees it.
pub fn now(worker: &Worker, slot: Slot, turn: u64, tried: &Tried) -> Option<InFlight> {
    let snapshot = worker.snapshot();
    let cluster = snapshot.clusters.get(slot)?;
    let load = |at: usize| cluster.ready.get(at).map_or(0, |endpoint| endpoint.load.get());
    let was_tried = |at: usize| cluster.ready.get(at).is_none_or(|endpoint| tried.has(endpoint.uid));
    let clock = worker.now();
    let cold =
        |at: usize| was_tried(at) || cluster.ready.get(at).is_none_or(|endpoint| endpoint.is_cold(clock));
    let picked = cluster.picker.pick(&worker.rng, turn, load, cold);
    let picked = picked.or_else(|| cluster.picker.pick(&worker.rng, turn, load, was_tried));
    picked.and_then(|at| cluster.ready.get(at)).map(InFlight::begin)
}

/// The first choice for a request: waits for an instance that is starting.
pub async fn first(
    worker: &Worker,
    slot: Slot,
    turn: u64,
    deadline: Option<Instant>,
) -> Result<InFlight, Fault> {
    if let Some(chosen) = now(worker, slot, turn, &Tried::default()) {
        return Ok(chosen);
    }
    let patience = worker.shared.options.ready_wait;
    let until = Instant::now() + patience;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    let mut waiting = None;
    loop {
        let mut adopted = std::pin::pin!(worker.adopted.notified());
        adopted.as_mut().enable();
        if let Some(chosen) = now(worker, slot, turn, &Tried::default()) {
            return Ok(chosen);
        }
        let snapshot = worker.snapshot();
        let Some(cluster) = snapshot.clusters.get(slot) else { return Err(unknown()) };
        if !cluster.hopeful || patience.is_zero() {
            return Err(nobody(cluster));
        }
        if waiting.is_none() {
            waiting = Some(Waiting::begin(worker)?);
        }
        if tokio::time::timeout_at(until, adopted).await.is_err() {
            return Err(nobody(cluster));
        }
    }
}

/// After the only instance has refused a connection: waits a moment, or for news of the catalog, and chooses again.
/// `None` when `until` has passed. A service that has just lost its only instance is most often being restarted.
pub async fn again(worker: &Worker, slot: Slot, turn: u64, until: Instant) -> Option<InFlight> {
    let _waiting = Waiting::begin(worker).ok()?;
    loop {
        if Instant::now() >= until {
            return None;
        }
        let pause = until.min(Instant::now() + AGAIN);
        // News and a moment gone by are the same here: look again.
        let _ = tokio::time::timeout_at(pause, worker.adopted.notified()).await;
        if let Some(chosen) = now(worker, slot, turn, &Tried::default()) {
            return Some(chosen);
        }
    }
}

/// A place in the bounded crowd of requests that wait.
struct Waiting<'a>(&'a Worker);

impl<'a> Waiting<'a> {
    fn begin(worker: &'a Worker) -> Result<Self, Fault> {
        if worker.waiting.get() >= limits::READY_WAITERS {
            let message = format!("{} requests already wait for an instance", limits::READY_WAITERS);
            return Err(Fault::overloaded(message));
        }
        worker.waiting.set(worker.waiting.get() + 1);
        Ok(Self(worker))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// The answer when nobody is ready.
pub fn nobody(cluster: &Cluster) -> Fault {
    let why =
        if cluster.why.is_empty() { "every instance was tried".to_owned() } else { cluster.why.clone() };
    Fault::no_instance(cluster.service.to_string(), why)
}

fn unknown() -> Fault {
    Fault::no_instance("unknown".to_owned(), "the service is not known to this worker yet".to_owned())
}
