//! Between phases 8 and 9: what each try tells of its instance.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tutti_net::Body;
use tutti_ports::routing::Algorithm;

use crate::snapshot::cluster::Slot;
use crate::upstream::endpoint::Endpoint;
use crate::worker::Worker;

/// A try has ended: with the head of an answer, or without one.
pub fn tried(
    worker: &Worker,
    slot: Slot,
    endpoint: &Arc<Endpoint>,
    began: Duration,
    response: Option<&Response<Body>>,
) {
    let snapshot = worker.snapshot();
    let Some(cluster) = snapshot.clusters.get(slot) else { return };
    if cluster.algorithm == Algorithm::PeakEwma {
        // A try without an answer took as long as it took: what breaks at once must not look fast.
        let now = worker.now();
        let took = now.saturating_sub(began);
        let took = if response.is_some() { took } else { took.max(FAILED) };
        endpoint.cost.observe(took, now, true);
    }
}

/// What a try that failed at once is taken to have cost.
const FAILED: Duration = Duration::from_secs(1);
