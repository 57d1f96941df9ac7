//! How a service is, and whether what depends on it may start.

use tutti_core::{Code, code};
use tutti_model::app::Condition;
use tutti_ports::catalog::Health;

use super::{At, Dep, Machine, Place, Service, Setup, Slot};
use crate::status::ServiceState;

/// Whether a service may start.
pub(super) enum Gate {
    /// It may, with these warnings.
    Open(Vec<String>),
    Waiting(String),
    /// What it depends on has failed.
    Broken(String),
}

/// A service's state with its reason.
pub(crate) struct Verdict {
    pub(crate) state: ServiceState,
    pub(crate) reason: String,
    pub(crate) code: Option<String>,
}

impl Machine {
    /// Looks at everything that a service depends on.
    pub(super) fn gate(&self, service: &Service) -> Gate {
        let mut warnings = Vec::new();
        let mut waiting = Vec::new();
        for dep in &service.spec.depends_on {
            match self.dependency(dep) {
                Gate::Open(more) => warnings.extend(more),
                Gate::Waiting(reason) => waiting.push(reason),
                Gate::Broken(reason) if dep.required => return Gate::Broken(reason),
                Gate::Broken(reason) => warnings.push(format!("goes on without {}: {reason}", dep.service)),
            }
        }
        if waiting.is_empty() {
            Gate::Open(warnings)
        } else {
            Gate::Waiting(format!("waits for {}", waiting.join(", ")))
        }
    }

    fn dependency(&self, dep: &Dep) -> Gate {
        let Some(on) = self.services.get(&dep.service) else { return Gate::Open(Vec::new()) };
        // What runs elsewhere, is left out, or was not asked for, is the operator's affair.
        if on.spec.place != Place::Here || !on.wanted {
            return Gate::Open(Vec::new());
        }
        let name = &dep.service;
        let verdict = self.verdict(on);
        let done = !on.slots.is_empty() && on.slots.iter().all(Slot::succeeded);
        let enough = on.slots.iter().filter(|slot| slot.is_ready()).count() >= on.replicas as usize;
        let started = on.slots.iter().any(|s| matches!(s.at, At::Running | At::Draining));
        let (holds, what) = match dep.condition {
            Condition::Started => (on.replicas == 0 || started || done, "be started"),
            Condition::Healthy => (enough && on.released, "be healthy"),
            Condition::CompletedSuccessfully => (done, "complete"),
        };
        if holds {
            return Gate::Open(Vec::new());
        }
        if matches!(verdict.state, ServiceState::Failed | ServiceState::Blocked) {
            return Gate::Broken(format!("{name} has failed: {}", verdict.reason));
        }
        if verdict.state == ServiceState::Completed && dep.condition == Condition::Healthy {
            return Gate::Broken(format!("{name} has ended and cannot become healthy"));
        }
        // A dependency that only keeps failing may still recover; it is waited for, and shown as what it is. One that is
        // merely on its way tells of itself.
        let failing = matches!(verdict.state, ServiceState::Unhealthy | ServiceState::CrashLoop);
        let why = if failing { format!(" ({})", verdict.reason) } else { String::new() };
        Gate::Waiting(format!("{name} to {what}{why}"))
    }

    /// How a service is.
    pub(crate) fn verdict(&self, service: &Service) -> Verdict {
        let plain = |state| Verdict { state, reason: String::new(), code: None };
        match service.spec.place {
            Place::Elsewhere => return plain(ServiceState::External),
            Place::Nowhere => return plain(ServiceState::Skipped),
            Place::Here => {}
        }
        if !service.wanted {
            let gone = service.slots.is_empty();
            return plain(if gone { ServiceState::Stopped } else { ServiceState::Stopping });
        }
        if let Setup::Failed(failure) = &service.setup {
            return coded(ServiceState::Failed, failure.reason.clone(), failure.code);
        }
        if !service.released {
            return self.before_release(service);
        }
        service.verdict_of_slots(self.backoff.crash_loop_after)
    }

    fn before_release(&self, service: &Service) -> Verdict {
        if service.setup != Setup::Done {
            return coded(ServiceState::Setup, String::new(), None);
        }
        match self.gate(service) {
            Gate::Open(_) => coded(ServiceState::Starting, String::new(), None),
            Gate::Broken(reason) => coded(ServiceState::Blocked, reason, Some(code::DEPENDENCY_FAILED)),
            Gate::Waiting(reason) if self.hopeless(service) => {
                coded(ServiceState::Blocked, reason, Some(code::DEPENDENCY_FAILED))
            }
            Gate::Waiting(reason) => coded(ServiceState::Waiting, reason, None),
        }
    }

    /// Whether something it waits for needs somebody to do something about it.
    fn hopeless(&self, service: &Service) -> bool {
        service.spec.depends_on.iter().filter(|dep| dep.required).any(|dep| {
            matches!(self.dependency(dep), Gate::Waiting(_))
                && self.services.get(&dep.service).is_some_and(|on| {
                    let state = self.verdict(on).state;
                    state.is_settled() && !state.is_good()
                })
        })
    }
}

impl Service {
    fn verdict_of_slots(&self, crash_loop_after: u32) -> Verdict {
        let living: Vec<&Slot> = self.slots.iter().filter(|slot| slot.lives()).collect();
        let ready = living.iter().filter(|slot| slot.is_ready()).count();
        if self.replicas == 0 {
            return coded(ServiceState::Ready, "scaled to 0".to_owned(), None);
        }
        let wanted = self.replicas as usize;
        if living.len() >= wanted && living.iter().all(|slot| slot.succeeded()) {
            return coded(ServiceState::Completed, String::new(), None);
        }
        if ready >= wanted {
            return coded(ServiceState::Ready, String::new(), None);
        }
        let exit_code = |slot: &Slot| slot.last_exit.as_ref().and_then(|exit| exit.code.clone());
        let why = |slot: &&&Slot| {
            let hint = if slot.hint.is_empty() { String::new() } else { format!("; {}", slot.hint) };
            format!("{} {}{hint}", self.key(slot).id(), slot.reason)
        };
        if let Some(slot) = living.iter().find(|slot| slot.at == At::Exited && !slot.succeeded()) {
            return Verdict { state: ServiceState::Failed, reason: why(&slot), code: exit_code(slot) };
        }
        let looping = |slot: &&&Slot| slot.failures >= crash_loop_after && !slot.is_ready();
        if let Some(slot) = living.iter().find(looping) {
            let last = slot.last_exit.as_ref().map_or("", |exit| exit.reason.as_str());
            let reason = format!("{} {last}, {} times in a row", self.key(slot).id(), slot.failures);
            return coded(ServiceState::CrashLoop, reason, Some(code::CRASH_LOOP));
        }
        if ready > 0 && self.was_ready {
            return coded(ServiceState::Degraded, format!("{ready} of {wanted} instances are ready"), None);
        }
        if let Some(slot) = living.iter().find(|slot| slot.health == Some(Health::Critical)) {
            let code = (!slot.was_ready).then_some(code::NEVER_HEALTHY);
            return coded(ServiceState::Unhealthy, why(&slot), code);
        }
        let told = living.iter().find(|slot| !slot.is_ready() && !slot.reason.is_empty());
        coded(ServiceState::Starting, told.map(|slot| why(&slot)).unwrap_or_default(), None)
    }
}

fn coded(state: ServiceState, reason: String, code: Option<Code>) -> Verdict {
    Verdict { state, reason, code: code.map(|code| code.to_string()) }
}
