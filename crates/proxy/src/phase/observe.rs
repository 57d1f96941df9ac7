//! Around phase 8: whether a service may be called at all, and what each try tells of its instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use tutti_net::Body;
use tutti_ports::routing::Algorithm;

use crate::error::Fault;
use crate::model::breaker::State;
use crate::model::outlier::Outcome;
use crate::model::retry;
use crate::snapshot::cluster::Slot;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::guard::{Permit, Seen};
use crate::worker::Worker;

/// What a try that failed at once is taken to have cost.
const FAILED: Duration = Duration::from_secs(1);

/// Asks the circuit breaker. The permit is to be kept as long as the request is under way.
pub fn admit(worker: &Worker, slot: Slot) -> Result<Option<Permit>, Fault> {
    let snapshot = worker.view();
    let Some(cluster) = snapshot.clusters.get(slot) else { return Ok(None) };
    let Some(rules) = &cluster.policy.breaker else { return Ok(None) };
    let asked = cluster.guard.admit(rules, worker.now());
    asked.map_err(|after| Fault::breaker_open(cluster.service.as_str(), after))
}

/// Whether the circuit breaker has opened since the request was admitted: then it is not tried again.
pub fn is_open(worker: &Worker, slot: Slot) -> bool {
    let snapshot = worker.view();
    let cluster = snapshot.clusters.get(slot).filter(|cluster| cluster.policy.breaker.is_some());
    cluster.is_some_and(|cluster| matches!(cluster.guard.state(), State::Open { .. }))
}

/// What an answer says of who gave it. An error of gRPC that comes without a message is in the header ("Trailers-Only").
pub fn answered(response: &Response<Body>) -> Outcome {
    let outcome = Outcome::of(response.status().as_u16());
    if outcome != Outcome::Fine {
        return outcome;
    }
    let grpc = retry::grpc_status(response.headers());
    grpc.map_or(outcome, Outcome::of_grpc)
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
    let seen = Seen { outcome, began, now: worker.now() };
    if cluster.algorithm == Algorithm::PeakEwma {
        // What breaks at once must not look fast.
        let took = seen.now.saturating_sub(began);
        let took = if outcome == Outcome::Local { took.max(FAILED) } else { took };
        endpoint.cost.observe(took, seen.now, true);
    }
    cluster.guard.observe(cluster, endpoint, seen, |endpoint, news| {
        let (reason, seconds) = (news.reason.as_str(), news.long.as_secs_f64());
        tracing::warn!(instance = %endpoint.instance, reason, seconds, "an instance is passed over");
        let why = format!("passed over for {seconds:.0} s: {reason}");
        worker.shared.catalog.suspect(&endpoint.instance, &why);
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
