//! Phase 7: which instance gets the request.
//!
//! Only instances that the catalog calls ready are chosen; one that refused a connection a moment ago only when there is
//! no other. If nobody is ready but somebody is starting or being replaced, the request waits for
//! [`crate::Options::ready_wait`]: a restart of a service with a single instance is a delay, not an error.

use std::net::IpAddr;
use std::time::Duration;

use http::{Response, header};
use tokio::time::Instant;
use tutti_core::limits;
use tutti_net::Body;
use tutti_ports::routing::HashOn;

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::model::balance::{Alike, Draw};
use crate::snapshot::cluster::{Cluster, Slot};
use crate::snapshot::plan::{RoutePlan, Target};
use crate::upstream::endpoint::InFlight;
use crate::upstream::place;
use crate::upstream::select::select;
pub use crate::upstream::select::{Asked, Tried};
use crate::worker::Worker;

/// How long to wait before an instance that refused a connection is asked again, if it is the only one.
const AGAIN: Duration = Duration::from_millis(50);

/// How many others are looked at when an instance has no stream free.
const OTHERS: u32 = 3;

/// The backend of a route, by weight.
pub fn backend(exchange: &Exchange<'_>, route: &RoutePlan) -> Result<Target, Stop> {
    let draw = Draw { rng: &exchange.worker.rng, turn: 0, hash: None };
    let at = route.picker.pick(&draw, &Alike);
    let target = at.and_then(|at| route.backends.get(at));
    target.copied().ok_or_else(|| Fault::no_backend(&route.name).into())
}

/// What the request brings to its choice among the instances of a service: its turn, and where the service asks for it,
/// what it is placed by and what its cookie says.
pub fn asked(exchange: &Exchange<'_>, slot: Slot, turn: u64) -> Asked {
    let snapshot = exchange.worker.view();
    let Some(cluster) = snapshot.clusters.get(slot) else { return Asked::turn(turn) };
    let request = &exchange.request;
    let hash = if cluster.hashes {
        place::key(&cluster.policy.balance.hash_on, request.headers(), request.uri(), exchange.entry.client)
    } else {
        None
    };
    let pinned = cluster.sticky.as_ref().and_then(|plan| plan.pinned(request.headers()));
    Asked { turn, hash, pinned, spares: false }
}

/// The same for a connection whose bytes are passed on: of it only the client's address is known.
pub fn asked_by_address(worker: &Worker, slot: Slot, turn: u64, client: Option<IpAddr>) -> Asked {
    let snapshot = worker.view();
    let by_source = snapshot
        .clusters
        .get(slot)
        .is_some_and(|cluster| cluster.hashes && cluster.policy.balance.hash_on == HashOn::Source);
    Asked { turn, hash: client.filter(|_| by_source).map(place::address), pinned: None, spares: false }
}

/// Holds the client to the instance that answered, if its service does that and the client is not held already.
pub fn hold(exchange: &Exchange<'_>, slot: Slot, asked: Asked, response: &mut Response<Body>) {
    let snapshot = exchange.worker.view();
    let Some(plan) = snapshot.clusters.get(slot).and_then(|cluster| cluster.sticky.as_ref()) else { return };
    let Some(chosen) = &exchange.entry.chosen else { return };
    let uid = chosen.endpoint().uid;
    if asked.pinned != Some(uid)
        && let Some(field) = plan.field(uid)
    {
        response.headers_mut().append(header::SET_COOKIE, field);
    }
}

/// A ready instance that was not tried, at once; `None` if there is none. It is counted as under way before
/// anybody else runs, so whoever stops instances sees it.
pub fn now(worker: &Worker, slot: Slot, asked: Asked, tried: &Tried) -> Option<InFlight> {
    let snapshot = worker.view();
    let cluster = snapshot.clusters.get(slot)?;
    select(cluster, &asked, tried, &worker.rng, worker.now()).map(InFlight::begin)
}

/// The first choice for a request: waits for an instance that is starting.
pub async fn first(
    worker: &Worker,
    slot: Slot,
    asked: Asked,
    deadline: Option<Instant>,
) -> Result<InFlight, Fault> {
    if let Some(chosen) = now(worker, slot, asked, &Tried::default()) {
        return Ok(chosen);
    }
    let patience = worker.shared.options.ready_wait;
    let until = Instant::now() + patience;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    let mut waiting = None;
    loop {
        let mut adopted = std::pin::pin!(worker.adopted.notified());
        adopted.as_mut().enable();
        if let Some(chosen) = now(worker, slot, asked, &Tried::default()) {
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

/// Another one that has a stream free, if the chosen one has none; it, if nobody has.
pub fn with_room(worker: &Worker, slot: Slot, asked: Asked, tried: &Tried, chosen: InFlight) -> InFlight {
    if !worker.is_full(chosen.endpoint()) || asked.pinned == Some(chosen.endpoint().uid) {
        return chosen;
    }
    let mut seen = *tried;
    seen.add(chosen.endpoint().uid);
    for look in 1..=OTHERS {
        let Some(other) = now(worker, slot, asked.after(look), &seen) else { break };
        if !worker.is_full(other.endpoint()) && !other.endpoint().is_passed_over(worker.now()) {
            worker.shared.metrics.stream_diverted.inc();
            return other;
        }
        seen.add(other.endpoint().uid);
    }
    chosen
}

/// After the only instance has refused a connection: waits a moment, or for news of the catalog, and chooses again.
/// `None` when `until` has passed. A service that has just lost its only instance is most often being restarted.
pub async fn again(worker: &Worker, slot: Slot, asked: Asked, until: Instant) -> Option<InFlight> {
    let _waiting = Waiting::begin(worker).ok()?;
    loop {
        if Instant::now() >= until {
            return None;
        }
        let pause = until.min(Instant::now() + AGAIN);
        // News and a moment gone by are the same here: look again.
        let _ = tokio::time::timeout_at(pause, worker.adopted.notified()).await;
        if let Some(chosen) = now(worker, slot, asked, &Tried::default()) {
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
