//! What to do about the difference between what is wanted and what is.

use std::time::Duration;

use tutti_core::ServiceName;
use tutti_ports::catalog::Health;

use super::state::Gate;
use super::{Action, At, InstanceKey, Machine, Place, Service, Setup, Slot};
use crate::event::EventKind;
use crate::status::Rollout;

impl Machine {
    /// Says what is to be done now.
    pub(crate) fn step(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        // One service's change may allow another's. Each round changes something or is the last.
        loop {
            let mut changed = false;
            for at in 0..self.services.len() {
                changed |= self.reconcile(at, now, &mut actions);
            }
            if !changed {
                self.forget();
                return actions;
            }
        }
    }

    fn reconcile(&mut self, at: usize, now: Duration, actions: &mut Vec<Action>) -> bool {
        let Some((name, _)) = self.services.get_index(at) else { return false };
        let name = name.clone();
        let mut changed = self.kill_overdue(&name, now, actions);
        if service_is_idle(self.services.get(&name)) {
            return changed;
        }
        let wanted = self.services.get(&name).is_some_and(|service| service.wanted);
        if !wanted {
            return changed | self.take_down(&name, now, actions);
        }
        changed |= self.set_up(&name, actions);
        changed |= self.release(&name, actions);
        changed |= self.roll(&name, now, actions);
        changed |= self.fill(&name, now, actions);
        changed |= self.launch_due(&name, now, actions);
        changed
    }

    fn kill_overdue(&mut self, name: &ServiceName, now: Duration, actions: &mut Vec<Action>) -> bool {
        let Some(service) = self.services.get_mut(name) else { return false };
        let mut changed = false;
        for slot in &mut service.slots {
            if let At::Stopping { kill_at, killed: killed @ false } = &mut slot.at
                && *kill_at <= now
            {
                *killed = true;
                changed = true;
                let id = InstanceKey { service: name.clone(), ordinal: slot.ordinal };
                actions.push(Action::Tell(name.clone(), EventKind::Killing { instance: id.id() }));
                actions.push(Action::Signal { id, signal: libc::SIGKILL, tree: true });
            }
        }
        changed
    }

    /// Stops a service that is not wanted, after those that depend on it and are not wanted either.
    fn take_down(&mut self, name: &ServiceName, now: Duration, actions: &mut Vec<Action>) -> bool {
        let needed = self.services.values().any(|other| {
            !other.wanted
                && other.slots.iter().any(Slot::has_process)
                && other.spec.depends_on.iter().any(|dep| dep.service == *name)
        });
        let Some(service) = self.services.get_mut(name) else { return false };
        let mut changed = false;
        match service.setup {
            Setup::Running => {
                service.setup = Setup::Cancelling;
                actions.push(Action::CancelSetup(name.clone()));
                changed = true;
            }
            Setup::Cancelling => {}
            _ => service.setup = Setup::Due,
        }
        let before = service.slots.len();
        service.slots.retain(Slot::has_process);
        changed |= before != service.slots.len();
        if !needed {
            let living: Vec<u32> = service.slots.iter().filter(|s| s.lives()).map(|s| s.ordinal).collect();
            for ordinal in living {
                changed = true;
                service.begin_stop(ordinal, now, actions);
            }
        }
        changed
    }

    fn set_up(&mut self, name: &ServiceName, actions: &mut Vec<Action>) -> bool {
        let Some(service) = self.services.get_mut(name) else { return false };
        if service.setup != Setup::Due || service.spec.place != Place::Here {
            return false;
        }
        service.setup = Setup::Running;
        actions.push(Action::Setup(name.clone()));
        true
    }

    /// Lets a service start when what it depends on is there.
    fn release(&mut self, name: &ServiceName, actions: &mut Vec<Action>) -> bool {
        let Some(service) = self.services.get(name) else { return false };
        if service.released || service.setup != Setup::Done {
            return false;
        }
        let gate = self.gate(service);
        let Some(service) = self.services.get_mut(name) else { return false };
        match gate {
            Gate::Open(warnings) => {
                service.released = true;
                actions.extend(
                    warnings.into_iter().map(|text| Action::Tell(name.clone(), EventKind::Notice { text })),
                );
                true
            }
            Gate::Waiting(reason) | Gate::Broken(reason) => {
                if service.told != reason {
                    service.told.clone_from(&reason);
                    actions.push(Action::Tell(name.clone(), EventKind::Waiting { reason }));
                }
                false
            }
        }
    }

    /// Goes on with a rolling restart.
    fn roll(&mut self, name: &ServiceName, now: Duration, actions: &mut Vec<Action>) -> bool {
        let ready_timeout = self.ready_timeout;
        let Some(service) = self.services.get_mut(name) else { return false };
        if service.rollout != Some(Rollout::Running) {
            return false;
        }
        if let Some(reason) = service.unfit(now, ready_timeout) {
            service.abort(reason, now, actions);
            return true;
        }
        let (old, ready_new) = service.generations();
        if service.setup != Setup::Done {
            return false;
        }
        if old.is_empty() {
            let stopping = service.slots.iter().any(|slot| !slot.lives());
            if ready_new < service.replicas as usize || stopping {
                return false;
            }
            service.rollout = Some(Rollout::Done);
            actions.push(Action::Tell(name.clone(), EventKind::RolloutFinished));
            let after = self.restarted_with(name);
            actions.extend(self.restart(&after));
            return true;
        }
        let stay =
            if service.spec.stop_first { 0 } else { (service.replicas as usize).saturating_sub(ready_new) };
        let surplus = old.len().saturating_sub(stay);
        for ordinal in old.into_iter().take(surplus) {
            service.begin_stop(ordinal, now, actions);
        }
        surplus > 0
    }

    /// Services that ask to be restarted with this one and run.
    fn restarted_with(&self, name: &ServiceName) -> Vec<ServiceName> {
        let asks = |s: &&Service| {
            s.wanted && s.spec.depends_on.iter().any(|dep| dep.service == *name && dep.restart)
        };
        self.services.values().filter(asks).map(|service| service.spec.name.clone()).collect()
    }

    /// Makes slots that are missing and stops those that are too many.
    fn fill(&mut self, name: &ServiceName, now: Duration, actions: &mut Vec<Action>) -> bool {
        let Some(service) = self.services.get_mut(name) else { return false };
        if !service.released || service.setup != Setup::Done || service.spec.place != Place::Here {
            return false;
        }
        let wanted = service.replicas as usize;
        let rolling = service.rollout == Some(Rollout::Running);
        let all = service.slots.len();
        let new = service.slots.iter().filter(|s| s.lives() && s.generation == service.generation).count();
        let most = wanted + usize::from(rolling && !service.spec.stop_first);
        if new < wanted && all < most {
            let free = (1..).find(|ordinal| service.slots.iter().all(|slot| slot.ordinal != *ordinal));
            service.slots.push(Slot::new(free.unwrap_or(u32::MAX), service.generation, now));
            service.slots.sort_by_key(|slot| slot.ordinal);
            return true;
        }
        if new > wanted && !rolling {
            // Those that do no work go first, then the youngest numbers.
            let candidates = service.slots.iter().filter(|slot| slot.lives());
            let last =
                candidates.max_by_key(|slot| (!slot.is_ready(), slot.ordinal)).map(|slot| slot.ordinal);
            if let Some(ordinal) = last {
                service.begin_stop(ordinal, now, actions);
                return true;
            }
        }
        false
    }

    /// Starts the instances whose pause is over.
    fn launch_due(&mut self, name: &ServiceName, now: Duration, actions: &mut Vec<Action>) -> bool {
        let Some(service) = self.services.get_mut(name) else { return false };
        if !service.released || matches!(service.setup, Setup::Running | Setup::Cancelling | Setup::Failed(_))
        {
            return false;
        }
        let mut changed = false;
        for slot in &mut service.slots {
            if matches!(slot.at, At::Backoff { until } if until <= now) {
                slot.at = At::Starting;
                slot.launched = now;
                slot.was_ready = false;
                slot.reason.clear();
                slot.hint.clear();
                let id = InstanceKey { service: name.clone(), ordinal: slot.ordinal };
                let attempt = slot.restarts;
                actions.push(Action::Tell(name.clone(), EventKind::Starting { instance: id.id(), attempt }));
                actions.push(Action::Launch { id });
                changed = true;
            }
        }
        let ready = service.slots.iter().filter(|slot| slot.is_ready()).count();
        service.was_ready |= ready >= service.replicas as usize && ready > 0;
        changed
    }
}

fn service_is_idle(service: Option<&Service>) -> bool {
    service.is_none_or(|s| !s.wanted && s.slots.is_empty() && s.setup == Setup::Due)
}

impl Service {
    /// Takes a slot out: drains what works, stops what starts, forgets what is not there.
    pub(super) fn begin_stop(&mut self, ordinal: u32, now: Duration, actions: &mut Vec<Action>) {
        let grace = self.grace();
        let name = self.spec.name.clone();
        let stop_signal = self.spec.stop_signal;
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ordinal == ordinal) else { return };
        let id = InstanceKey { service: name.clone(), ordinal };
        match slot.at {
            At::Running => {
                slot.at = At::Draining;
                actions.push(Action::Tell(name, EventKind::Draining { instance: id.id() }));
                actions.push(Action::Drain { id, patience: grace });
            }
            At::Starting => {
                slot.at = At::Stopping { kill_at: now.saturating_add(grace), killed: false };
                actions.push(Action::Tell(name, EventKind::Stopping { instance: id.id(), cut_off: 0 }));
                actions.push(Action::Signal { id, signal: stop_signal, tree: false });
            }
            At::Backoff { .. } | At::Exited => self.slots.retain(|slot| slot.ordinal != ordinal),
            At::Draining | At::Stopping { .. } => {}
        }
    }

    /// Living instances of older generations, those that do no work first; and how many new ones are ready.
    fn generations(&self) -> (Vec<u32>, usize) {
        let mut old: Vec<&Slot> =
            self.slots.iter().filter(|slot| slot.lives() && slot.generation < self.generation).collect();
        old.sort_by_key(|slot| (slot.is_ready(), slot.ordinal));
        let ready = self.slots.iter().filter(|s| s.generation == self.generation && s.is_ready()).count();
        (old.iter().map(|slot| slot.ordinal).collect(), ready)
    }

    /// Why a rolling restart must not go on.
    fn unfit(&self, now: Duration, ready_timeout: Duration) -> Option<String> {
        if let Setup::Failed(failure) = &self.setup {
            return Some(failure.reason.clone());
        }
        let new = self.slots.iter().filter(|s| s.lives() && s.generation == self.generation && !s.was_ready);
        new.filter_map(|slot| {
            let id = self.key(slot).id();
            match slot.at {
                At::Backoff { .. } if slot.last_exit.is_some() => Some(format!("{id} {}", slot.reason)),
                // A one-off service that has done its work has not failed.
                At::Exited if !slot.succeeded() => Some(format!("{id} {}", slot.reason)),
                At::Running if slot.health == Some(Health::Critical) => {
                    Some(format!("{id} is not healthy: {}", slot.reason))
                }
                At::Starting | At::Running if now.saturating_sub(slot.launched) >= ready_timeout => {
                    Some(format!("{id} was not ready after {} s: {}", ready_timeout.as_secs(), slot.reason))
                }
                _ => None,
            }
        })
        .next()
    }

    /// Ends a rolling restart: what is new and not fit goes, what is old stays.
    fn abort(&mut self, reason: String, now: Duration, actions: &mut Vec<Action>) {
        let has_old = self.slots.iter().any(|slot| slot.lives() && slot.generation < self.generation);
        let unfit: Vec<u32> = self
            .slots
            .iter()
            .filter(|slot| has_old && slot.lives() && slot.generation == self.generation && !slot.is_ready())
            .map(|slot| slot.ordinal)
            .collect();
        for ordinal in unfit {
            self.begin_stop(ordinal, now, actions);
        }
        for slot in &mut self.slots {
            slot.generation = self.generation;
        }
        if has_old && matches!(self.setup, Setup::Failed(_)) {
            // What runs was built before, and may be started again as it is.
            self.setup = Setup::Done;
        }
        self.rollout = Some(Rollout::Aborted(reason.clone()));
        actions.push(Action::Tell(self.spec.name.clone(), EventKind::RolloutAborted { reason }));
    }
}
