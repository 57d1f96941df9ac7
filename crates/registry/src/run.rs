//! The run loop: one task that owns all state, and does in each turn everything that is ready.
//!
//! A turn: take what has come (calls, results, times, suspicions), step the machines, begin probes, publish *one* view for
//! all of it, answer the callers, and begin to write if nothing is being written. So a thousand changes at once are one
//! wake-up of the data plane and a few transactions.
//!
//! **What comes first.** The view is always published before the change is durable. Traffic must not be sent to an instance
//! that is gone because a disk is slow or full; and for additions too the memory is the truth, because instances die
//! with this process: nothing that is read from the store at the next start can bring one back. The store keeps the past
//! (and what has to be declared gone after a crash), and callers are told when it does, for as long as it answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tutti_core::error::chain;
use tutti_core::limits::REGISTRY_CALLS;
use tutti_core::random::Rng;
use tutti_core::time::Clock;
use tutti_core::{Classify, InstanceId, Kind};
use tutti_ports::catalog::{CatalogError, Health, Probe, Registration, Report, Transition, View};
use tutti_ports::state::{Outcome, StateError, Store};

use crate::config::Options;
use crate::flights::{Ended, Flights};
use crate::handle::{Applied, Call, Suspects};
use crate::journal::{Change, Failed, Journal, Record, first_number};
use crate::metrics::Metrics;
use crate::model::check::{INTERVAL_MIN, Moment, Rules, Verdict};
use crate::model::instance::{Action, Event, Instance};
use crate::model::schedule::{CheckKey, Schedule};
use crate::probe::{Order, address, kind};
use crate::recover::Recovered;
use crate::roster::{Roster, Slot};
use crate::service::Registry;
use crate::text::{REASON_BYTES, printable};

/// The pause before a failed write is tried again, at first.
const WRITE_RETRY_MIN: Duration = Duration::from_millis(100);

/// Longest sleep without anything to wait for.
const IDLE: Duration = Duration::from_secs(3_600);

/// How much later than promised a check may be looked at: what falls due within this time is one turn. Suspicions, calls
/// and results do not wait for it.
const GRAIN: Duration = Duration::from_millis(5);

type Writing = Pin<Box<dyn Future<Output = Result<Outcome, StateError>> + Send>>;

/// A registry that runs.
pub(crate) struct Run {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rng: Rng,
    options: Options,
    calls: mpsc::Receiver<Call>,
    suspects: Arc<Suspects>,
    publisher: watch::Sender<Arc<View>>,
    metrics: Arc<Metrics>,
    roster: Roster,
    schedule: Schedule,
    flights: Flights,
    journal: Journal,
    writing: Option<Writing>,
    /// The pause before the next attempt to write; zero when the last one succeeded.
    retry: Duration,
    /// Nothing is written yet: the process that hands its instances over may still take them back.
    held: bool,
    /// That instances are gone which nobody has taken over yet.
    unclaimed: BTreeMap<InstanceId, Change>,
    /// Callers to be answered when the view is out.
    replies: Vec<(oneshot::Sender<Applied>, Result<(), CatalogError>)>,
}

impl Run {
    pub(crate) fn new(registry: Registry, recovered: Recovered) -> Self {
        let Registry { store, clock, rng, options, prober, calls, suspects, publisher, metrics } = registry;
        let journal = Journal::new(recovered.epoch, recovered.kept, recovered.before);
        let mut roster = Roster::default();
        roster.begin(first_number(recovered.epoch));
        let unclaimed = recovered.gone.into_iter().map(|change| (change.id.clone(), change)).collect();
        let flights = Flights::new(prober, options.probes_in_flight, options.commands_in_flight);
        let mut run = Self {
            store,
            clock,
            rng,
            options,
            calls,
            suspects,
            publisher,
            metrics,
            roster,
            schedule: Schedule::default(),
            flights,
            journal,
            writing: None,
            retry: Duration::ZERO,
            held: options.take_over,
            unclaimed,
            replies: Vec::new(),
        };
        if !run.held {
            run.settle();
        }
        run
    }

    /// From now on the state is this run's. What nobody has taken over is gone.
    fn settle(&mut self) {
        self.held = false;
        for change in std::mem::take(&mut self.unclaimed).into_values() {
            self.note(change);
        }
    }

    /// Takes turns until told to stop.
    pub(crate) async fn until(&mut self, mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>) {
        loop {
            self.finish_turn();
            let wait = match self.schedule.next() {
                Some(at) => at.saturating_sub(self.clock.monotonic()).max(GRAIN),
                None => IDLE,
            };
            let clock = &self.clock;
            // Which of them is first does not matter: every turn takes all that is ready from all of them.
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(call) = self.calls.recv() => self.call(call),
                ended = self.flights.ended(|| clock.monotonic()) => self.ended(ended),
                () = self.suspects.woken.notified() => {}
                outcome = written(&mut self.writing) => self.written(outcome),
                () = tokio::time::sleep(wait) => {}
            }
            self.take_what_is_ready();
        }
    }

    fn take_what_is_ready(&mut self) {
        for _ in 0..REGISTRY_CALLS {
            let Ok(call) = self.calls.try_recv() else { break };
            self.call(call);
        }
        let now = self.clock.monotonic();
        while let Some(ended) = self.flights.try_ended(now) {
            self.ended(ended);
        }
        for (id, reason) in self.suspects.take() {
            tracing::debug!(instance = %id, reason, "an instance is suspected");
            if let Some(serial) = self.roster.serial(&id) {
                self.step(serial, Event::Suspicion);
            }
        }
        while let Some((promised, key)) = self.schedule.pop(now) {
            if let Ok(check) = usize::try_from(key.check) {
                self.step(key.serial, Event::Time { check, promised });
            }
        }
    }

    /// Begins probes, publishes, answers, and writes.
    fn finish_turn(&mut self) {
        let roster = &self.roster;
        self.flights.launch(self.clock.monotonic(), |key| order(roster, key));
        if let Some(view) = self.roster.publish() {
            self.metrics.generation.set(i64::try_from(view.generation).unwrap_or(i64::MAX));
            self.publisher.send_replace(view);
        }
        for (reply, result) in self.replies.drain(..) {
            let _ = reply.send(result.map(|()| self.journal.when_durable()));
        }
        self.begin_writing();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.probes_in_flight.set(gauge(self.flights.flying()));
        self.metrics.probes_waiting.set(gauge(self.flights.waiting()));
        self.metrics.writes_pending.set(gauge(self.journal.pending()));
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Register { registration, reply } => {
                let result = self.register(registration);
                self.replies.push((reply, result));
            }
            Call::Drain { id, reason, reply } => {
                let result = self.drain(&id, &reason);
                self.replies.push((reply, result));
            }
            Call::Deregister { id, reason, reply } => {
                self.deregister(&id, &reason);
                self.replies.push((reply, Ok(())));
            }
            Call::Report { id, check, report, note, reply } => {
                let result = self.report(&id, check, report, &note);
                self.replies.push((reply, result));
            }
            Call::LetGo { reply } => {
                (self.held, self.writing) = (true, None);
                self.replies.push((reply, Ok(())));
            }
            Call::Settle { reply } => {
                self.settle();
                self.replies.push((reply, Ok(())));
            }
            Call::Pending { service, reply } => {
                let _ = reply.send(self.journal.pending_of(&service));
            }
        }
    }

    fn register(&mut self, registration: Registration) -> Result<(), CatalogError> {
        let Registration { spec, checks, exec, standing } = registration;
        if self.roster.serial(&spec.id).is_some() {
            return Err(CatalogError::Exists(spec.id));
        }
        let rules = if checks.len() > 1 { Rules::named } else { Rules::of };
        let (now, rules) = (self.clock.monotonic(), checks.iter().map(rules));
        let (state, actions) = match &standing {
            Some(standing) => Instance::resumed(rules, standing, now),
            None => Instance::new(rules, now),
        };
        let since = standing.as_ref().map_or_else(|| self.clock.wall(), |standing| standing.since);
        let slot = Slot { spec: Arc::new(spec), checks, exec, state, since };
        if let Some(standing) = standing {
            // Nothing has happened to it: what is stored of it stays true.
            self.unclaimed.remove(&slot.spec.id);
            self.count(None, Some(standing.health));
            let serial = self.roster.insert(slot);
            self.act(serial, actions, false);
            return Ok(());
        }
        let serial = self.roster.insert(slot);
        self.transition(serial, None);
        self.act(serial, actions, false);
        Ok(())
    }

    fn drain(&mut self, id: &InstanceId, reason: &str) -> Result<(), CatalogError> {
        let serial = self.roster.serial(id).ok_or_else(|| CatalogError::Unknown(id.clone()))?;
        self.step(serial, Event::Drain { reason: printable(reason, REASON_BYTES) });
        Ok(())
    }

    fn deregister(&mut self, id: &InstanceId, reason: &str) {
        let Some(serial) = self.roster.serial(id) else { return };
        self.cancel(serial);
        let Some(slot) = self.roster.remove(serial) else { return };
        let from = slot.state.health();
        let reason = printable(reason, REASON_BYTES);
        tracing::info!(instance = %id, from = from.as_str(), reason, "instance is gone");
        self.count(Some(from), None);
        let transition = Transition { at: self.clock.wall(), from: Some(from), to: None, reason };
        let (id, service) = (slot.spec.id.clone(), slot.spec.service.clone());
        self.note(Change { id, service, transition, record: None });
    }

    fn report(
        &mut self,
        id: &InstanceId,
        name: String,
        report: Report,
        note: &str,
    ) -> Result<(), CatalogError> {
        let serial = self.roster.serial(id).ok_or_else(|| CatalogError::Unknown(id.clone()))?;
        let slot = self.roster.slot(serial).ok_or_else(|| CatalogError::Unknown(id.clone()))?;
        let found = slot.checks.iter().position(|c| c.name == name && matches!(c.probe, Probe::Ttl { .. }));
        let check = found.ok_or_else(|| CatalogError::UnknownCheck(id.clone(), name))?;
        self.step(serial, Event::Report { check, report, note: printable(note, REASON_BYTES) });
        Ok(())
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { key, found, took } = ended;
        let Ok(check) = usize::try_from(key.check) else { return };
        if let Some(check) = self.roster.slot(key.serial).and_then(|slot| slot.checks.get(check)) {
            let result = match found.verdict {
                Verdict::Pass => "pass",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
                Verdict::Refused => "refused",
            };
            self.metrics.probes.with(&[("kind", kind(&check.probe)), ("result", result)]).inc();
            self.metrics.probe_seconds.record(took);
        }
        let reason = printable(&found.reason, REASON_BYTES);
        self.step(key.serial, Event::Result { check, verdict: found.verdict, reason });
    }

    fn step(&mut self, serial: u64, event: Event) {
        let at = Moment { now: self.clock.monotonic(), chance: self.rng.unit() };
        let urgent = matches!(event, Event::Suspicion);
        let Some(slot) = self.roster.slot_mut(serial) else { return };
        let actions = slot.state.step(event, at, self.options.suspicion_pause);
        self.act(serial, actions, urgent);
    }

    fn act(&mut self, serial: u64, actions: Vec<Action>, urgent: bool) {
        for action in actions {
            match action {
                Action::Probe { check } => {
                    let probe = self.roster.slot(serial).and_then(|slot| slot.checks.get(check));
                    let command = probe.is_some_and(|check| matches!(check.probe, Probe::Command { .. }));
                    self.flights.add(key(serial, check), command, urgent);
                }
                Action::Call { check, at } => self.schedule.add(at, key(serial, check)),
                Action::Changed { from } => {
                    if let Some(slot) = self.roster.slot_mut(serial) {
                        slot.since = self.clock.wall();
                    }
                    self.roster.refresh(serial);
                    self.transition(serial, Some(from));
                }
                Action::Reworded => self.roster.refresh(serial),
                Action::Cancel => self.cancel(serial),
            }
        }
    }

    fn cancel(&mut self, serial: u64) {
        let checks = self.roster.slot(serial).map_or(0, |slot| slot.checks.len());
        (0..checks).for_each(|check| self.flights.cancel(key(serial, check)));
    }

    /// Notes that an instance has become what it is.
    fn transition(&mut self, serial: u64, from: Option<Health>) {
        let Some(slot) = self.roster.slot(serial) else { return };
        let (to, since) = (slot.state.health(), slot.since);
        let reason = slot.state.reason().to_owned();
        let (id, service) = (slot.spec.id.clone(), slot.spec.service.clone());
        let from_name = from.map_or("none", Health::as_str);
        tracing::info!(instance = %id, from = from_name, to = to.as_str(), reason, "health has changed");
        let transition = Transition { at: since, from, to: Some(to), reason: reason.clone() };
        let record = Some(Record { spec: Arc::clone(&slot.spec), health: to, reason, since });
        self.count(from, Some(to));
        self.note(Change { id, service, transition, record });
    }

    fn count(&self, from: Option<Health>, to: Option<Health>) {
        for (health, by) in [(from, -1), (to, 1)] {
            if let Some(health) = health {
                self.metrics.instances.with(&[("health", health.as_str())]).add(by);
            }
        }
    }

    fn note(&mut self, change: Change) {
        self.metrics.transitions.inc();
        let lost = self.journal.add(change);
        self.lose(lost);
    }

    fn lose(&self, changes: usize) {
        self.metrics.writes_lost.add(changes as u64);
    }

    fn begin_writing(&mut self) {
        if self.writing.is_some() || self.held {
            return;
        }
        let Some(txn) = self.journal.next() else { return };
        let (store, pause) = (Arc::clone(&self.store), self.retry.mul_f64(0.5 + 0.5 * self.rng.unit()));
        self.writing = Some(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            store.txn(txn).await
        }));
    }

    fn written(&mut self, outcome: Result<Outcome, StateError>) {
        self.writing = None;
        match outcome {
            Ok(outcome) => {
                if !self.retry.is_zero() {
                    tracing::info!("the catalog's changes are written again");
                }
                self.retry = Duration::ZERO;
                let lost = self.journal.written(outcome.succeeded);
                if !outcome.succeeded {
                    tracing::error!(
                        "another process writes the registry's state; nothing more is written here"
                    );
                }
                self.lose(lost);
            }
            Err(error) => {
                self.metrics.write_failures.inc();
                let again = self.journal.failed(error.kind() == Kind::Invalid);
                if self.retry.is_zero() || again != Failed::Again {
                    tracing::error!(error = chain(&error), "changes of the catalog cannot be written");
                }
                match again {
                    Failed::Again => {
                        self.retry = (self.retry * 2).clamp(WRITE_RETRY_MIN, self.options.write_retry_max);
                    }
                    Failed::GivenUp(lost) => self.lose(lost),
                }
            }
        }
    }

    /// Ends the probes and writes what can be written in time.
    pub(crate) async fn finish(&mut self) {
        self.flights.stop().await;
        let deadline = tokio::time::sleep(self.options.flush_patience);
        tokio::pin!(deadline);
        loop {
            self.begin_writing();
            if self.writing.is_none() {
                return;
            }
            tokio::select! {
                outcome = written(&mut self.writing) => self.written(outcome),
                () = &mut deadline => break,
            }
        }
        let lost = self.journal.pending();
        tracing::error!(lost, "changes of the catalog could not be written before the end");
        self.lose(lost);
    }
}

fn key(serial: u64, check: usize) -> CheckKey {
    CheckKey { serial, check: u32::try_from(check).unwrap_or(u32::MAX) }
}

/// What the prober needs for a check, if its result is still wanted.
fn order(roster: &Roster, key: CheckKey) -> Option<Order> {
    let index = usize::try_from(key.check).ok()?;
    let slot = roster.slot(key.serial).filter(|slot| slot.state.in_flight(index))?;
    let check = slot.checks.get(index)?;
    // What is probed beside the ports that are declared is taken for HTTP/1.1.
    let at = address(&check.probe);
    let endpoint = slot.spec.endpoints.iter().find(|endpoint| Some(endpoint.addr) == at);
    Some(Order {
        id: slot.spec.id.clone(),
        service: slot.spec.service.clone(),
        protocol: endpoint.map(|endpoint| endpoint.protocol).unwrap_or_default(),
        probe: check.probe.clone(),
        timeout: check.timeout.max(INTERVAL_MIN),
        exec: Arc::clone(&slot.exec),
    })
}

/// The end of the write under way; never, if there is none. Cancel safe.
async fn written(writing: &mut Option<Writing>) -> Result<Outcome, StateError> {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}
