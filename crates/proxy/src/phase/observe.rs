//! Around phase 8: whether a service may be called at all, and what each try tells of its instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Response, StatusCode};
use tutti_net::Body;
use tutti_ports::catalog::Catalog;
use tutti_ports::routing::Algorithm;

use crate::error::Fault;
use crate::grpc::status;
use crate::model::breaker::State;
use crate::model::outlier::Outcome;
use crate::model::retry;
use crate::page;
use crate::snapshot::cluster::{Cluster, Slot};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::guard::{News, Permit, Seen};
use crate::upstream::select::Asked;
use crate::worker::Worker;

/// What a try that failed at once is taken to have cost.
const FAILED: Duration = Duration::from_secs(1);

/// Leave to call a service.
#[derive(Default)]
pub struct Leave {
    /// To be kept as long as the request is under way.
    pub permit: Option<Permit>,
    /// The service itself is left in peace: only who stands in for it may be called.
    pub spares: bool,
}

/// Asks the circuit breaker. While it is open, whoever stands in for the service is called, if there is somebody.
pub fn admit(worker: &Worker, slot: Slot) -> Result<Leave, Fault> {
    let snapshot = worker.view();
    let Some(cluster) = snapshot.clusters.get(slot) else { return Ok(Leave::default()) };
    let Some(rules) = &cluster.policy.breaker else { return Ok(Leave::default()) };
    let stands_in = cluster.has_stand_in();
    match cluster.guard.admit(rules, stands_in, worker.now()) {
        Ok(permit) => Ok(Leave { permit, spares: false }),
        Err(_) if stands_in => Ok(Leave { permit: None, spares: true }),
        Err(after) => Err(Fault::breaker_open(cluster.service.as_str(), after)),
    }
}

/// Whether a request may be sent again: not to a service whose circuit breaker has opened since it was admitted. From then on only who stands
/// in for it is asked, if there is somebody.
pub fn may_go_on(worker: &Worker, slot: Slot, asked: &mut Asked) -> bool {
    let snapshot = worker.view();
    let Some(cluster) = snapshot.clusters.get(slot).filter(|cluster| cluster.policy.breaker.is_some()) else {
        return true;
    };
    if !asked.spares && matches!(cluster.guard.state(), State::Open { .. }) {
        asked.spares = cluster.has_stand_in();
        return asked.spares;
    }
    true
}

/// What an answer says of who gave it. An error of gRPC that comes without a message is in the header ("Trailers-Only").
pub fn answered(response: &Response<Body>) -> Outcome {
    said(response.status().as_u16(), response.headers())
}

/// What a status says, and one of gRPC in a header or in trailers.
pub fn said(status: u16, fields: &HeaderMap) -> Outcome {
    let outcome = Outcome::of(status);
    if outcome != Outcome::Fine {
        return outcome;
    }
    retry::grpc_status(fields).map_or(outcome, Outcome::of_grpc)
}

/// Whether what an answer says of who gave it will be known at its end only: it is of gRPC, and its status stands in the trailers.
pub fn is_open_end(response: &Response<Body>) -> bool {
    response.status() == StatusCode::OK
        && page::is_grpc(response.headers())
        && !response.headers().contains_key(status::STATUS)
        && response.body().in_memory().is_none()
}

/// A try whose answer has begun, and has yet to say what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Deferred {
    slot: Slot,
    /// When it began, and how long the head took, by the engine's clock.
    began: Duration,
    took: Duration,
}

/// An answer has begun, and what it says of its instance comes at its end. How quick the instance is is known now.
pub fn begun(worker: &Worker, slot: Slot, endpoint: &Arc<Endpoint>, began: Instant) -> Deferred {
    let began = began.saturating_duration_since(worker.shared.origin);
    let now = worker.now();
    let took = now.saturating_sub(began);
    if worker.view().clusters.get(slot).is_some_and(|cluster| cluster.algorithm == Algorithm::PeakEwma) {
        endpoint.cost.observe(took, now, true);
    }
    Deferred { slot, began, took }
}

/// Waits for the end of an answer, and judges the instance by it.
pub struct Judge {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    deferred: Deferred,
    /// The beginning of the engine's clock.
    origin: Instant,
    /// What comes later is the caller's own doing.
    deadline: Option<tokio::time::Instant>,
    catalog: Arc<dyn Catalog>,
}

impl Judge {
    /// For an answer of this instance.
    pub fn new(
        worker: &Worker,
        deferred: Deferred,
        endpoint: &Arc<Endpoint>,
        deadline: Option<tokio::time::Instant>,
    ) -> Option<Self> {
        let cluster = Arc::clone(worker.view().clusters.get(deferred.slot)?);
        let (endpoint, origin) = (Arc::clone(endpoint), worker.shared.origin);
        let catalog = Arc::clone(&worker.shared.catalog);
        Some(Self { cluster, endpoint, deferred, origin, deadline, catalog })
    }

    /// The answer has ended so.
    pub fn settle(self, outcome: Outcome) {
        if outcome != Outcome::Fine
            && self.deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now())
        {
            return;
        }
        if self.cluster.plain && outcome == Outcome::Fine {
            self.endpoint.passive.note(outcome);
            return;
        }
        let Deferred { began, took, .. } = self.deferred;
        let seen = Seen { outcome, began, took, now: self.origin.elapsed() };
        let catalog = &self.catalog;
        self.cluster.guard.observe(&self.cluster, &self.endpoint, seen, |endpoint, news| {
            tell(catalog.as_ref(), endpoint, news);
        });
    }
}

fn tell(catalog: &dyn Catalog, endpoint: &Endpoint, news: News) {
    let (reason, seconds) = (news.reason.as_str(), news.long.as_secs_f64());
    tracing::warn!(instance = %endpoint.instance, reason, seconds, "an instance is passed over");
    let why = format!("passed over for {seconds:.0} s: {reason}");
    catalog.suspect(&endpoint.instance, &why);
}

/// A try was given up since another one was faster: all that is known of its instance is that it took so long at least.
pub fn given_up(worker: &Worker, slot: Slot, endpoint: &Arc<Endpoint>, began: Instant) {
    let snapshot = worker.view();
    if snapshot.clusters.get(slot).is_some_and(|cluster| cluster.algorithm == Algorithm::PeakEwma) {
        endpoint.cost.observe(began.elapsed(), worker.now(), true);
    }
}

/// A try has ended.
pub fn tried(worker: &Worker, slot: Slot, endpoint: &Arc<Endpoint>, began: Instant, outcome: Outcome) {
    let snapshot = worker.view();
    let Some(cluster) = snapshot.clusters.get(slot) else { return };
    if cluster.plain && outcome == Outcome::Fine {
        endpoint.passive.note(outcome);
        return;
    }
    let began = began.saturating_duration_since(worker.shared.origin);
    let now = worker.now();
    let seen = Seen { outcome, began, took: now.saturating_sub(began), now };
    if cluster.algorithm == Algorithm::PeakEwma {
        // What breaks at once must not look fast.
        let took = if outcome == Outcome::Local { seen.took.max(FAILED) } else { seen.took };
        endpoint.cost.observe(took, seen.now, true);
    }
    cluster.guard.observe(cluster, endpoint, seen, |endpoint, news| {
        tell(worker.shared.catalog.as_ref(), endpoint, news);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_grpc_are_errors() {
        let answer = |status: u16, grpc: Option<&str>| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            if let Some(grpc) = grpc.and_then(|grpc| grpc.parse().ok()) {
                response.headers_mut().insert("grpc-status", grpc);
            }
            answered(&response)
        };
        assert_eq!(answer(200, None), Outcome::Fine);
        assert_eq!(answer(200, Some("0")), Outcome::Fine);
        assert_eq!(answer(200, Some("5")), Outcome::Fine);
        assert_eq!(answer(200, Some("14")), Outcome::Gateway);
        assert_eq!(answer(200, Some("2")), Outcome::ServerError);
        assert_eq!(answer(503, Some("0")), Outcome::Gateway);
        assert_eq!(answer(200, Some("what")), Outcome::Fine);
    }
}
