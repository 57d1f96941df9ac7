//! The probes under way and those that wait for room. All of them are owned here, and end with this value.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::model::check::Verdict;
use crate::model::schedule::CheckKey;
use crate::probe::{Found, Order, Prober};

/// A probe that has ended.
pub(crate) struct Ended {
    pub key: CheckKey,
    pub found: Found,
    pub took: Duration,
}

/// Probes that share a limit. Urgent ones may go beyond it, up to its double: probes that hang must not keep a
/// suspicion from being looked into.
struct Lane {
    limit: usize,
    flying: usize,
    urgent: VecDeque<CheckKey>,
    waiting: VecDeque<CheckKey>,
}

impl Lane {
    fn pop(&mut self) -> Option<CheckKey> {
        if self.flying < self.limit {
            return self.urgent.pop_front().or_else(|| self.waiting.pop_front());
        }
        if self.flying < self.limit.saturating_mul(2) { self.urgent.pop_front() } else { None }
    }
}

struct Flight {
    key: CheckKey,
    began: Duration,
    lane: usize,
}

/// The probes.
pub(crate) struct Flights {
    prober: Arc<dyn Prober>,
    tasks: JoinSet<Found>,
    flying: HashMap<Id, Flight>,
    abort: HashMap<CheckKey, AbortHandle>,
    lanes: [Lane; 2],
}

impl Flights {
    /// At most so many over the network, and so many commands.
    pub(crate) fn new(prober: Arc<dyn Prober>, network: usize, commands: usize) -> Self {
        let lane = |limit: usize| Lane {
            limit: limit.max(1),
            flying: 0,
            urgent: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        let lanes = [lane(network), lane(commands)];
        Self { prober, tasks: JoinSet::new(), flying: HashMap::new(), abort: HashMap::new(), lanes }
    }

    /// Puts a probe into its queue; urgent ones go first.
    pub(crate) fn add(&mut self, key: CheckKey, command: bool, urgent: bool) {
        if let Some(lane) = self.lanes.get_mut(usize::from(command)) {
            if urgent { lane.urgent.push_back(key) } else { lane.waiting.push_back(key) }
        }
    }

    /// Begins what there is room for. `order` gives nothing for what is of no interest any more.
    pub(crate) fn launch(&mut self, now: Duration, mut order: impl FnMut(CheckKey) -> Option<Order>) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            while let Some(key) = lane.pop() {
                let Some(order) = order(key) else { continue };
                let prober = Arc::clone(&self.prober);
                let handle = self.tasks.spawn(async move { prober.probe(order).await });
                lane.flying += 1;
                self.flying.insert(handle.id(), Flight { key, began: now, lane: index });
                self.abort.insert(key, handle);
            }
        }
    }

    /// Ends the probe of a check, if one is under way.
    pub(crate) fn cancel(&mut self, key: CheckKey) {
        if let Some(handle) = self.abort.remove(&key) {
            handle.abort();
            self.land(handle.id());
        }
    }

    fn land(&mut self, id: Id) -> Option<Flight> {
        let flight = self.flying.remove(&id)?;
        if let Some(lane) = self.lanes.get_mut(flight.lane) {
            lane.flying = lane.flying.saturating_sub(1);
        }
        Some(flight)
    }

    /// The next probe that ends; never, if none is under way. Cancel safe.
    pub(crate) async fn ended(&mut self, now: impl Fn() -> Duration) -> Ended {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(joined) => {
                    if let Some(ended) = self.take(joined, now()) {
                        return ended;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// A probe that has ended already.
    pub(crate) fn try_ended(&mut self, now: Duration) -> Option<Ended> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            if let Some(ended) = self.take(joined, now) {
                return Some(ended);
            }
        }
        None
    }

    fn take(&mut self, joined: Result<(Id, Found), JoinError>, now: Duration) -> Option<Ended> {
        let (id, found) = match joined {
            Ok(joined) => joined,
            // Without an answer the check would wait for ever. What was cancelled is not in the list any more.
            Err(error) => {
                (error.id(), Found { verdict: Verdict::Fail, reason: "the probe broke off".to_owned() })
            }
        };
        let flight = self.land(id)?;
        self.abort.remove(&flight.key);
        Some(Ended { key: flight.key, found, took: now.saturating_sub(flight.began) })
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len() + lane.urgent.len()).sum()
    }

    /// Ends all of them, and waits until they have ended.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
        self.flying.clear();
        self.abort.clear();
    }
}
