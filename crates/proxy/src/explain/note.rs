//! What is noted of a request while it goes by.

use std::time::{Duration, Instant};

use tutti_core::{Origin, limits};

use super::record::{Ended, KEPT, Stood, Timing, Trouble, Try};
use crate::error::Fault;
use crate::phase::Exchange;
use crate::phase::attempt::{Failed, How, Sent};
use crate::upstream::endpoint::Endpoint;

/// A try has ended.
pub fn tried(exchange: &mut Exchange<'_>, endpoint: u64, timing: &Timing, result: &Result<Sent, Failed>) {
    let now = Instant::now();
    let one = of((exchange.started, now), endpoint, timing, ended(result));
    exchange.entry.head = Some(now);
    exchange.entry.trail.add(one);
}

/// A try that ends now, of a request that began at `started`.
pub fn of((started, now): (Instant, Instant), endpoint: u64, timing: &Timing, ended: Ended) -> Try {
    let began = timing.began.unwrap_or(now);
    Try {
        endpoint,
        began_us: micros(began.saturating_duration_since(started)),
        connect_us: timing.connect.map_or(KEPT, micros),
        took_us: micros(now.saturating_duration_since(began)),
        ended,
    }
}

/// How a try ended.
pub fn ended(result: &Result<Sent, Failed>) -> Ended {
    match result {
        Ok(sent) => Ended::Answered(sent.response.status().as_u16()),
        Err(Failed { how: How::Refused, .. }) => Ended::Refused,
        Err(Failed { how: How::Stale, .. }) => Ended::Stale,
        Err(Failed { how: How::Late, .. }) => Ended::Late,
        Err(Failed { how: How::Broke, .. }) => Ended::Broke,
    }
}

/// A request has failed: what is told of it to whoever runs this, and how its service stood.
pub fn trouble(exchange: &Exchange<'_>, fault: Fault) -> Box<Trouble> {
    let mut stood = Vec::new();
    let slot = (exchange.entry.trail.slot as usize).checked_sub(1);
    if fault.origin == Origin::Upstream
        && let Some(slot) = slot
    {
        let snapshot = exchange.worker.view();
        let now = exchange.worker.now();
        if let Some(cluster) = snapshot.clusters.get(slot) {
            let some = cluster.ready.iter().take(limits::EXPLAIN_OTHERS);
            stood.extend(some.map(|endpoint| Stood {
                endpoint: endpoint.uid,
                in_flight: endpoint.load.get(),
                passed_over: passed_over(endpoint, now),
            }));
        }
    }
    Box::new(Trouble { fault, stood })
}

/// Why an endpoint is passed over; empty if it is not.
pub fn passed_over(endpoint: &Endpoint, now: Duration) -> &'static str {
    match endpoint.passive.ejected(now) {
        Some(ejected) => ejected.reason.as_str(),
        None if endpoint.is_cold(now) => "refused",
        None => "",
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
