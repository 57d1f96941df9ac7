//! A gate that requests of all workers go through: [`crate::model::gate`] with a lock, a clock, and those who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tutti_core::metrics::{Counter, Gauge};
use tutti_ports::routing::{Adaptive, AdaptiveRule, Concurrency};

use crate::model::adaptive::{Bounds, Rule, Sample};
use crate::model::gate::{Entry, Refusal, Rules};

/// A gate.
#[derive(Debug)]
pub struct Gate {
    /// What it is before, for people: `the route "checkout"`.
    pub what: String,
    state: Mutex<State>,
    origin: Instant,
    counters: Counters,
}

/// What a gate tells.
#[derive(Debug)]
pub struct Counters {
    /// Requests that were turned away.
    pub shed: Arc<Counter>,
    /// Requests that may be in at a time.
    pub limit: Arc<Gauge>,
    /// Requests that wait.
    pub waiting: Arc<Gauge>,
}

#[derive(Debug)]
struct State {
    gate: crate::model::gate::Gate<Waiter>,
    ticket: u64,
}

/// Hears whether it gets in.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    tell: oneshot::Sender<bool>,
}

impl Gate {
    /// A gate with nobody there.
    pub fn new(what: String, rules: Rules, counters: Counters) -> Self {
        let state = State { gate: crate::model::gate::Gate::new(rules, Duration::ZERO), ticket: 0 };
        let gate = Self { what, state: Mutex::new(state), origin: Instant::now(), counters };
        gate.show(&gate.lock());
        gate
    }

    /// From now on other rules hold.
    pub fn adjust(&self, rules: Rules) {
        let mut state = self.lock();
        state.gate.adjust(rules, self.now());
        self.fill(&mut state);
    }

    /// Waits to get in, at most until `deadline`.
    pub async fn enter(
        self: &Arc<Self>,
        priority: u8,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Permit, Refusal> {
        let (mut waiting, patience) = {
            let mut state = self.lock();
            if state.gate.admit() {
                return Ok(self.permit());
            }
            let now = self.now();
            state.ticket += 1;
            let (tell, told) = oneshot::channel();
            let ticket = state.ticket;
            let entered = state.gate.enter(priority, Waiter { ticket, tell }, now);
            self.show(&state);
            match entered {
                Entry::Admitted => return Ok(self.permit()),
                Entry::Refused(_) => return Err(self.shed(Refusal::Full)),
                Entry::Waiting(out) => {
                    if let Some(out) = out {
                        // It may have left in this very moment.
                        let _ = out.tell.send(false);
                    }
                }
            }
            (Waiting { gate: self, priority, ticket, told, over: false }, state.gate.patience(priority, now))
        };
        let until = tokio::time::Instant::now() + patience;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let told = tokio::time::timeout_at(until, &mut waiting.told).await;
        if told.is_err() && !waiting.give_up() {
            return Err(self.shed(Refusal::Late));
        }
        waiting.over = true;
        match told {
            Ok(Ok(true)) | Err(_) => Ok(self.permit()),
            Ok(_) => Err(self.shed(Refusal::Full)),
        }
    }

    /// How many may be in, are in, and wait.
    pub fn standing(&self) -> (u32, u32, u32) {
        let state = self.lock();
        (state.gate.limit(), state.gate.inside(), state.gate.waiting())
    }

    /// Gets in at once, or not at all.
    pub fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        self.lock().gate.admit().then(|| self.permit())
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { gate: Arc::clone(self), sample: None }
    }

    fn shed(&self, refusal: Refusal) -> Refusal {
        self.counters.shed.inc();
        refusal
    }

    fn leave(&self, sample: Option<Sample>) {
        let mut state = self.lock();
        state.gate.leave(sample, self.now());
        self.fill(&mut state);
    }

    /// Lets in as many as there is room for.
    fn fill(&self, state: &mut State) {
        let now = self.now();
        while let Some(waiter) = state.gate.next(now) {
            if waiter.tell.send(true).is_err() {
                state.gate.give_back();
            }
        }
        self.show(state);
    }

    fn show(&self, state: &State) {
        self.counters.limit.set(i64::from(state.gate.limit()));
        self.counters.waiting.set(i64::from(state.gate.waiting()));
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the crowd. Whoever leaves it without a word gives it up.
struct Waiting<'a> {
    gate: &'a Gate,
    priority: u8,
    ticket: u64,
    told: oneshot::Receiver<bool>,
    over: bool,
}

impl Waiting<'_> {
    /// Leaves the crowd. Whether it had been let in at this very moment.
    fn give_up(&mut self) -> bool {
        self.over = true;
        let mut state = self.gate.lock();
        state.gate.forget(self.priority, |waiter| waiter.ticket == self.ticket);
        self.gate.show(&state);
        // Under the lock: nobody lets it in any more.
        self.told.try_recv() == Ok(true)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over && self.give_up() {
            self.gate.leave(None);
        }
    }
}

/// A request that is in. It is out when this is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    sample: Option<Sample>,
}

impl Permit {
    /// What a limit that is found out learns of the request.
    pub fn learn(&mut self, took: Duration, good: bool) {
        self.sample = Some(Sample { took, good });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(self.sample.take());
    }
}

/// The rules of what was declared; `None` if there is no limit in it.
pub fn rules(concurrency: Option<&Concurrency>, adaptive: Option<&Adaptive>) -> Option<Rules> {
    let limit = concurrency.and_then(|concurrency| concurrency.limit);
    if limit.is_none() && adaptive.is_none() {
        return None;
    }
    let default = Concurrency::default();
    let crowd = concurrency.unwrap_or(&default);
    let adaptive = adaptive.map(|adaptive| Bounds {
        rule: match adaptive.rule {
            AdaptiveRule::Gradient => Rule::Gradient,
            AdaptiveRule::Aimd(longest) => Rule::Aimd(longest),
        },
        initial: adaptive.initial,
        min: adaptive.min.max(1),
        max: adaptive.max.max(adaptive.min).max(1),
    });
    Some(Rules { limit, queue: crowd.queue, patience: crowd.queue_timeout, adaptive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit: u32, queue: u32) -> Arc<Gate> {
        let concurrency = Concurrency { limit: Some(limit), queue, queue_timeout: Duration::from_millis(50) };
        let rules = rules(Some(&concurrency), None).unwrap();
        let counters = Counters { shed: Arc::default(), limit: Arc::default(), waiting: Arc::default() };
        Arc::new(Gate::new("it".to_owned(), rules, counters))
    }

    #[tokio::test]
    async fn a_place_goes_to_who_waits_or_is_free_again() {
        let gate = gate(1, 2);
        let first = gate.enter(128, None).await.unwrap();
        assert!(gate.try_enter().is_none());
        let entering = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(128, None).await }
        });
        // One that leaves the crowd takes nothing with it.
        let left = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(200, None).await }
        });
        while gate.lock().gate.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        left.abort();
        assert!(left.await.is_err());
        assert_eq!(gate.counters.waiting.get(), 1);
        drop(first);
        let second = entering.await.unwrap().unwrap();
        assert!(gate.try_enter().is_none());
        drop(second);
        assert!(gate.try_enter().is_some());
        assert_eq!(gate.lock().gate.inside(), 0);
    }

    #[tokio::test]
    async fn waiting_ends() {
        let gate = gate(1, 1);
        let _first = gate.enter(128, None).await.unwrap();
        assert_eq!(gate.enter(128, None).await.unwrap_err(), Refusal::Late);
        let waits = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(128, None).await.map(drop) }
        });
        while gate.lock().gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter(128, None).await.unwrap_err(), Refusal::Full);
        // Who matters more takes the place.
        let more = gate.enter(129, None).await;
        assert_eq!((waits.await.unwrap(), more.unwrap_err()), (Err(Refusal::Full), Refusal::Late));
        assert_eq!((gate.counters.shed.get(), gate.lock().gate.waiting()), (4, 0));
    }
}
