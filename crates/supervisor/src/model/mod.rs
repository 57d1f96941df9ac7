//! The life of every service and instance as a state machine: facts in, actions out. No I/O, no async, no clock.
//!
//! Commands change what is *wanted*; facts (a process ended, a check passed) change what *is*; [`Machine::step`]
//! says what to do about the difference. Nothing is remembered of how a difference came about, so a
//! command may contradict the one before at any moment, and the machine goes on from where it is.

mod backoff;
mod handover;
mod reconcile;
mod reload;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use handover::Affairs;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tutti_core::random::Rng;
use tutti_core::{Code, InstanceId, ServiceName};
use tutti_model::app::{Condition, Restart};
use tutti_ports::catalog::Health;

use crate::event::EventKind;
use crate::options::Backoff;
use crate::status::{Exit, Rollout};

/// What the machine has to know of a service.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: ServiceName,
    pub(crate) depends_on: Vec<Dep>,
    pub(crate) restart: Restart,
    pub(crate) replicas: u32,
    pub(crate) stop_signal: i32,
    pub(crate) grace: Duration,
    /// Two copies cannot run at once: the old one stops before the new one starts.
    pub(crate) stop_first: bool,
    pub(crate) place: Place,
}

/// A dependency.
#[derive(Clone, Debug)]
pub(crate) struct Dep {
    pub(crate) service: ServiceName,
    pub(crate) condition: Condition,
    pub(crate) restart: bool,
    pub(crate) required: bool,
}

/// Where a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    Elsewhere,
    Nowhere,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) code: Option<Code>,
}

/// What the world is to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Run the setup steps, and tell [`Machine::setup_done`].
    Setup(ServiceName),
    /// Give up the setup steps that run, and tell [`Machine::setup_done`].
    CancelSetup(ServiceName),
    /// Start an instance; tell [`Machine::started`] and, however it ends, [`Machine::exited`].
    Launch { id: InstanceKey },
    /// Take it out of rotation and wait for its last request; tell [`Machine::drained`].
    Drain { id: InstanceKey, patience: Duration },
    /// Send a signal: to the group, or to all that it started.
    Signal { id: InstanceKey, signal: i32, tree: bool },
    /// Tell people.
    Tell(ServiceName, EventKind),
}

/// An instance by its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct InstanceKey {
    pub(crate) service: ServiceName,
    pub(crate) ordinal: u32,
}

impl InstanceKey {
    pub(crate) fn id(&self) -> InstanceId {
        InstanceId::of(&self.service, self.ordinal)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    Due,
    Running,
    /// Not wanted any more; it is being ended.
    Cancelling,
    Done,
    Failed(Failure),
}

/// Where a slot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum At {
    /// Waits to be started again.
    Backoff {
        until: Duration,
    },
    Starting,
    Running,
    Draining,
    Stopping {
        kill_at: Duration,
        killed: bool,
    },
    /// Ended, and stays so.
    Exited,
}

/// A place for an instance: keeps its number over restarts, and over upgrades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) ordinal: u32,
    pub(crate) generation: u64,
    pub(crate) at: At,
    pub(crate) pid: Option<u32>,
    pub(crate) health: Option<Health>,
    pub(crate) reason: String,
    /// What was found out about why it is not ready.
    pub(crate) hint: String,
    /// When it was launched last.
    pub(crate) launched: Duration,
    pub(crate) ready_since: Option<Duration>,
    /// It was ready since it was launched last.
    pub(crate) was_ready: bool,
    /// Exits in a row without a good while between them.
    pub(crate) failures: u32,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<Exit>,
}

impl Slot {
    fn new(ordinal: u32, generation: u64, now: Duration) -> Self {
        Self {
            ordinal,
            generation,
            at: At::Backoff { until: now },
            pid: None,
            health: None,
            reason: String::new(),
            hint: String::new(),
            launched: now,
            ready_since: None,
            was_ready: false,
            failures: 0,
            restarts: 0,
            last_exit: None,
        }
    }

    /// Not on its way out.
    pub(crate) fn lives(&self) -> bool {
        !matches!(self.at, At::Draining | At::Stopping { .. })
    }

    pub(crate) fn has_process(&self) -> bool {
        !matches!(self.at, At::Backoff { .. } | At::Exited)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.at == At::Running && self.health.is_some_and(Health::takes_traffic)
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.at == At::Exited && self.last_exit.as_ref().is_some_and(|exit| exit.status == Some(0))
    }
}

/// A service: what is wanted, and what is.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) spec: Spec,
    pub(crate) wanted: bool,
    pub(crate) replicas: u32,
    pub(crate) generation: u64,
    pub(crate) setup: Setup,
    /// What it depends on was there; not asked again until it is stopped.
    pub(crate) released: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) rollout: Option<Rollout>,
    /// It had as many ready instances as wanted since it was started.
    pub(crate) was_ready: bool,
    /// The last reason for waiting that people were told.
    told: String,
    /// How long its processes may take to stop, if the operator said so.
    grace: Option<Duration>,
    /// The application does not have it any more: forgotten as soon as nothing of it runs.
    gone: bool,
}

/// All services.
pub(crate) struct Machine {
    pub(crate) services: IndexMap<ServiceName, Service>,
    backoff: Backoff,
    ready_timeout: Duration,
    chance: Rng,
}

impl Machine {
    pub(crate) fn new(specs: Vec<Spec>, backoff: Backoff, ready_timeout: Duration, chance: Rng) -> Self {
        let services = specs.into_iter().map(|spec| (spec.name.clone(), Service::new(spec))).collect();
        Self { services, backoff, ready_timeout, chance }
    }

    /// Wants services to run, and what they depend on too. What had failed or ended is tried again.
    pub(crate) fn up(&mut self, names: &[ServiceName], dependencies: bool) {
        let mut todo: Vec<ServiceName> = names.to_vec();
        let mut done = Vec::new();
        while let Some(name) = todo.pop() {
            let Some(service) = self.services.get_mut(&name).filter(|_| !done.contains(&name)) else {
                continue;
            };
            service.want();
            if dependencies {
                todo.extend(service.spec.depends_on.iter().map(|dep| dep.service.clone()));
            }
            done.push(name);
        }
    }

    /// Wants services not to run.
    pub(crate) fn stop(&mut self, names: &[ServiceName]) {
        for name in names {
            if let Some(service) = self.services.get_mut(name) {
                service.wanted = false;
                service.released = false;
                service.was_ready = false;
                service.rollout = None;
                service.told.clear();
            }
        }
    }

    /// Wants every instance of the services to be a new one.
    pub(crate) fn restart(&mut self, names: &[ServiceName]) -> Vec<Action> {
        let mut actions = Vec::new();
        for name in names {
            let Some(service) = self.services.get_mut(name) else { continue };
            let replaces = service.wanted && service.slots.iter().any(|s| s.lives() && s.has_process());
            service.want();
            if !matches!(service.setup, Setup::Running | Setup::Cancelling) {
                service.setup = Setup::Due;
            }
            service.slots.retain(Slot::has_process);
            if replaces {
                service.generation += 1;
                service.rollout = Some(Rollout::Running);
                actions.push(Action::Tell(name.clone(), EventKind::RolloutStarted));
            }
        }
        actions
    }

    /// An instance listens elsewhere than it was told. `alone`: at a port that only one can have.
    pub(crate) fn elsewhere(&mut self, id: &InstanceKey, text: String, alone: bool) {
        if let Some(slot) = self.slot(id) {
            slot.hint = text;
        }
        if let Some(service) = self.services.get_mut(&id.service) {
            service.spec.stop_first |= alone;
        }
    }

    /// Wants so many instances.
    pub(crate) fn scale(&mut self, name: &ServiceName, replicas: u32) {
        if let Some(service) = self.services.get_mut(name) {
            service.replicas = replicas;
            service.was_ready = false;
            service.want();
        }
    }

    /// Kills everything now.
    pub(crate) fn kill(&mut self, now: Duration) -> Vec<Action> {
        let names: Vec<ServiceName> = self.services.keys().cloned().collect();
        self.stop(&names);
        let mut actions = Vec::new();
        for service in self.services.values_mut() {
            for slot in service.slots.iter_mut().filter(|slot| slot.has_process()) {
                slot.at = At::Stopping { kill_at: now, killed: true };
                let id = InstanceKey { service: service.spec.name.clone(), ordinal: slot.ordinal };
                actions.push(Action::Signal { id, signal: libc::SIGKILL, tree: true });
            }
            service.slots.retain(Slot::has_process);
        }
        actions
    }

    /// The setup steps of a service ended.
    pub(crate) fn setup_done(&mut self, name: &ServiceName, outcome: Result<(), Failure>) -> Vec<Action> {
        let Some(service) = self.services.get_mut(name) else { return Vec::new() };
        if !service.wanted || service.setup == Setup::Cancelling {
            service.setup = Setup::Due;
            return Vec::new();
        }
        match outcome {
            Ok(()) => {
                service.setup = Setup::Done;
                Vec::new()
            }
            Err(failure) => {
                let kind = EventKind::Failed {
                    reason: failure.reason.clone(),
                    code: failure.code.map(|code| code.to_string()),
                };
                service.setup = Setup::Failed(failure);
                vec![Action::Tell(name.clone(), kind)]
            }
        }
    }

    /// An instance's process runs and is in the catalog.
    pub(crate) fn started(&mut self, id: &InstanceKey, pid: u32) {
        if let Some(slot) = self.slot(id) {
            slot.pid = Some(pid);
            if slot.at == At::Starting {
                slot.at = At::Running;
            }
        }
    }

    /// What the catalog says of an instance.
    pub(crate) fn health(
        &mut self,
        id: &InstanceKey,
        health: Health,
        reason: &str,
        now: Duration,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        // Until it has started it is not asked; when it has, the world looks again.
        let Some(slot) = self.slot(id).filter(|slot| slot.at != At::Starting) else { return actions };
        let was = slot.is_ready();
        slot.health = Some(health);
        reason.clone_into(&mut slot.reason);
        if slot.is_ready() && !was {
            slot.ready_since = Some(now);
            slot.was_ready = true;
            let took_ms = u64::try_from(now.saturating_sub(slot.launched).as_millis()).unwrap_or(u64::MAX);
            actions.push(Action::Tell(id.service.clone(), EventKind::Ready { instance: id.id(), took_ms }));
        } else if was && !slot.is_ready() && slot.at == At::Running {
            slot.ready_since = None;
            let kind = EventKind::Unhealthy { instance: id.id(), reason: reason.to_owned() };
            actions.push(Action::Tell(id.service.clone(), kind));
        }
        actions
    }

    /// An instance has no request under way any more, or patience ended.
    pub(crate) fn drained(&mut self, id: &InstanceKey, cut_off: u64, now: Duration) -> Vec<Action> {
        let Some(service) = self.services.get_mut(&id.service) else { return Vec::new() };
        let grace = service.grace();
        let Some(slot) = service.slots.iter_mut().find(|slot| slot.ordinal == id.ordinal) else {
            return Vec::new();
        };
        if slot.at != At::Draining {
            return Vec::new();
        }
        slot.at = At::Stopping { kill_at: now.saturating_add(grace), killed: false };
        let tell = EventKind::Stopping { instance: id.id(), cut_off };
        vec![
            Action::Tell(id.service.clone(), tell),
            Action::Signal { id: id.clone(), signal: service.spec.stop_signal, tree: false },
        ]
    }

    /// An instance's process ended, or could not be started. `lasting`: trying again cannot help.
    pub(crate) fn exited(
        &mut self,
        id: &InstanceKey,
        exit: Exit,
        lasting: bool,
        now: Duration,
    ) -> Vec<Action> {
        let (backoff, pause_chance) = (self.backoff, self.chance.unit());
        let Some(service) = self.services.get_mut(&id.service) else { return Vec::new() };
        let restart = service.spec.restart;
        let wanted = service.wanted;
        let Some(at) = service.slots.iter().position(|slot| slot.ordinal == id.ordinal) else {
            return Vec::new();
        };
        let asked = service.slots.get(at).is_some_and(|slot| !slot.lives());
        if asked || !wanted {
            service.slots.remove(at);
            return vec![Action::Tell(id.service.clone(), EventKind::Stopped { instance: id.id() })];
        }
        let Some(slot) = service.slots.get_mut(at) else { return Vec::new() };
        let mut actions = vec![Action::Tell(
            id.service.clone(),
            EventKind::Exited { instance: id.id(), exit: exit.clone() },
        )];
        actions.extend(slot.ended(id, exit, lasting, restart, &backoff, pause_chance, now));
        actions
    }

    /// Whether an instance has not been well for a good while since it was launched.
    pub(crate) fn is_young(&self, id: &InstanceKey, now: Duration) -> bool {
        let slots =
            self.services.get(&id.service).map(|service| service.slots.as_slice()).unwrap_or_default();
        slots.iter().find(|slot| slot.ordinal == id.ordinal).is_some_and(|slot| {
            slot.ready_since.is_none_or(|since| now.saturating_sub(since) < self.backoff.reset_after)
        })
    }

    fn slot(&mut self, id: &InstanceKey) -> Option<&mut Slot> {
        self.services.get_mut(&id.service)?.slots.iter_mut().find(|slot| slot.ordinal == id.ordinal)
    }

    /// Whether nothing is wanted and nothing is there.
    pub(crate) fn is_idle(&self) -> bool {
        let ends = |setup: &Setup| matches!(setup, Setup::Running | Setup::Cancelling);
        self.services.values().all(|s| !s.wanted && s.slots.is_empty() && !ends(&s.setup))
    }

    /// When [`Machine::step`] has to be called even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let slots =
            self.services.values().flat_map(|service| service.slots.iter().map(move |s| (service, s)));
        slots
            .filter_map(|(service, slot)| match slot.at {
                At::Backoff { until } => Some(until),
                At::Stopping { kill_at, killed: false } => Some(kill_at),
                At::Starting | At::Running
                    if service.rollout == Some(Rollout::Running) && !slot.was_ready =>
                {
                    Some(slot.launched.saturating_add(self.ready_timeout))
                }
                _ => None,
            })
            .min()
    }
}

impl Service {
    fn new(spec: Spec) -> Self {
        Self {
            wanted: false,
            replicas: spec.replicas,
            generation: 1,
            setup: Setup::Due,
            released: false,
            slots: Vec::new(),
            rollout: None,
            was_ready: false,
            told: String::new(),
            grace: None,
            gone: false,
            spec,
        }
    }

    /// How long its processes may take to stop.
    pub(super) fn grace(&self) -> Duration {
        self.grace.unwrap_or(self.spec.grace)
    }

    fn want(&mut self) {
        self.wanted = true;
        self.grace = None;
        if matches!(self.setup, Setup::Failed(_)) {
            self.setup = Setup::Due;
        }
        self.slots.retain(|slot| slot.at != At::Exited);
        for slot in &mut self.slots {
            if let At::Backoff { until } = &mut slot.at {
                *until = Duration::ZERO;
                slot.failures = 0;
            }
        }
    }

    pub(crate) fn key(&self, slot: &Slot) -> InstanceKey {
        InstanceKey { service: self.spec.name.clone(), ordinal: slot.ordinal }
    }
}
