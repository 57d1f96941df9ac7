//! What guards a cluster, over all workers and snapshots: the detector of outliers among its endpoints, its circuit
//! breaker, and the budget of its retries. A cluster without a breaker and without a failure costs a few reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tutti_core::metrics::Counter;
use tutti_ports::routing::{Breaker as BreakerRules, Outlier};

use super::endpoint::Endpoint;
use crate::metrics::Metrics;
use crate::model::breaker::{Breaker, State, Verdict};
use crate::model::budget::{Allowance, Budget};
use crate::model::outlier::{self, Outcome, Reason};
use crate::snapshot::cluster::Cluster;

/// The state of one cluster's guard.
#[derive(Debug)]
pub struct Guard {
    metrics: GuardMetrics,
    /// When the rates are looked at next, in milliseconds of the engine's clock.
    next_look: AtomicU64,
    /// Held while somebody decides about ejections, so that two do not eject one each where one may be.
    deciding: Mutex<()>,
    /// Whether the breaker is not closed; then its lock must be taken to pass.
    tripped: AtomicBool,
    breaker: Mutex<Breaker>,
    /// How many retries there are; made when the first is asked for.
    budget: Mutex<Option<Budget>>,
    /// Requests that the budget has not heard of.
    requests: AtomicU64,
}

#[derive(Debug)]
struct GuardMetrics {
    ejections: [Arc<Counter>; Reason::ALL.len()],
    opened: Arc<Counter>,
    refused: Arc<Counter>,
    diverted: Arc<Counter>,
}

/// A try, as the guard sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, by the engine's clock.
    pub began: Duration,
    /// How long the answer's head took.
    pub took: Duration,
    /// When it ended.
    pub now: Duration,
}

/// An endpoint has just been ejected.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// Why.
    pub reason: Reason,
    /// For how long.
    pub long: Duration,
}

impl Guard {
    /// A guard that has seen nothing.
    pub fn new(service: &str, metrics: &Metrics) -> Self {
        let metrics = GuardMetrics {
            ejections: Reason::ALL
                .map(|reason| metrics.ejections.with(&[("service", service), ("reason", reason.as_str())])),
            opened: metrics.breaker_opened.with(&[("service", service)]),
            refused: metrics.breaker_refused.with(&[("service", service)]),
            diverted: metrics.breaker_diverted.with(&[("service", service)]),
        };
        Self {
            metrics,
            next_look: AtomicU64::new(0),
            deciding: Mutex::default(),
            tripped: AtomicBool::new(false),
            breaker: Mutex::default(),
            budget: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// A try has ended. Calls `tell` for each endpoint that is passed over from now on.
    pub fn observe(
        &self,
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
        seen: Seen,
        tell: impl Fn(&Arc<Endpoint>, News),
    ) {
        let rules = &cluster.policy.outlier;
        if let Some(reason) = endpoint.passive.note(seen.outcome).due(rules)
            && let Some(news) = self.eject(cluster, endpoint, reason, seen.now)
        {
            tell(endpoint, news);
        }
        if watches_rates(rules) {
            endpoint.passive.count(seen.outcome, seen.took, seen.now);
            if self.is_time(rules, seen.now) {
                self.look(cluster, seen.now, tell);
            }
        }
        // Who stands in says nothing of who is left in peace.
        if let Some(rules) = &cluster.policy.breaker
            && endpoint.service == cluster.service
        {
            self.record(rules, seen);
        }
    }

    /// Whether a request may pass. An error says after which time to ask again. `stands_in`: somebody else takes it otherwise.
    pub fn admit(
        self: &Arc<Self>,
        rules: &BreakerRules,
        stands_in: bool,
        now: Duration,
    ) -> Result<Option<Permit>, Duration> {
        if !self.tripped.load(Ordering::Acquire) {
            return Ok(None);
        }
        match self.breaker().admit(rules, now) {
            Verdict::Pass => Ok(None),
            Verdict::Probe(probe) => Ok(Some(Permit { guard: Arc::clone(self), probe })),
            Verdict::Refuse(after) => {
                if stands_in {
                    self.metrics.diverted.inc();
                } else {
                    self.metrics.refused.inc();
                }
                Err(after)
            }
        }
    }

    /// So many requests were sent for the first time. Workers tell it of several at once.
    pub fn count(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Whether the budget, which all workers share, allows a retry; if so, it is paid for.
    pub fn may_retry(&self, allowance: Allowance, now: Duration) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budget.get_or_insert_with(|| Budget::new(allowance, now));
        budget.adjust(allowance);
        budget.deposit(self.requests.swap(0, Ordering::Relaxed));
        budget.withdraw(now)
    }

    /// Where the breaker is.
    pub fn state(&self) -> State {
        self.breaker().state()
    }

    fn record(&self, rules: &BreakerRules, seen: Seen) {
        let mut breaker = self.breaker();
        let before = breaker.state();
        breaker.record(rules, seen.began, seen.now, seen.outcome != Outcome::Fine);
        let after = breaker.state();
        self.tripped.store(after != State::Closed, Ordering::Release);
        if matches!(after, State::Open { .. }) && before != after {
            self.metrics.opened.inc();
        }
    }

    /// Passes an endpoint over, if that may be.
    fn eject(&self, cluster: &Cluster, endpoint: &Endpoint, reason: Reason, now: Duration) -> Option<News> {
        let _alone = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoint.passive.is_ejected(now) {
            return None;
        }
        let ejected = cluster.ready.iter().filter(|one| one.passive.is_ejected(now)).count();
        let panic = cluster.policy.balance.panic_threshold;
        if !outlier::may_eject(&cluster.policy.outlier, ejected, cluster.ready.len(), panic) {
            return None;
        }
        let long = endpoint.passive.eject(&cluster.policy.outlier, reason, now);
        let place = Reason::ALL.iter().position(|one| *one == reason);
        if let Some(counter) = place.and_then(|at| self.metrics.ejections.get(at)) {
            counter.inc();
        }
        Some(News { reason, long })
    }

    /// Whether the interval is over; true for one of those that ask.
    fn is_time(&self, rules: &Outlier, now: Duration) -> bool {
        let next = self.next_look.load(Ordering::Relaxed);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if millis(now) < next {
            return false;
        }
        let after = millis(now + rules.interval);
        let first =
            self.next_look.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // The first interval has only just begun.
        first && next != 0
    }

    fn look(&self, cluster: &Cluster, now: Duration, tell: impl Fn(&Arc<Endpoint>, News)) {
        let samples: Vec<_> = cluster.ready.iter().map(|endpoint| endpoint.passive.take()).collect();
        for (at, reason) in outlier::outliers(&cluster.policy.outlier, &samples) {
            let Some(endpoint) = cluster.ready.get(at) else { continue };
            if let Some(news) = self.eject(cluster, endpoint, reason, now) {
                tell(endpoint, news);
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the rates of an interval are looked at.
pub fn watches_rates(rules: &Outlier) -> bool {
    rules.success_rate.is_some() || rules.failure_percentage.is_some() || rules.latency.is_some()
}

/// Leave to be a probe; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    guard: Arc<Guard>,
    probe: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.guard.breaker().release(self.probe);
    }
}
