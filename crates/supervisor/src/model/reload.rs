//! Another definition of the application, and how long a stop may take.

use std::time::Duration;

use tutti_core::ServiceName;

use super::{Action, Machine, Service, Setup, Slot, Spec};

impl Machine {
    /// The services that the application has now.
    pub(crate) fn present(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.values().filter(|service| !service.gone).map(|service| &service.spec.name)
    }

    /// Says how long the processes of services may take to stop, until they are wanted again. What is being drained or
    /// asked to stop already keeps the time that it was given.
    pub(crate) fn patience(&mut self, names: &[ServiceName], grace: Option<Duration>) {
        for name in names {
            if let Some(service) = self.services.get_mut(name) {
                service.grace = grace;
            }
        }
    }

    /// Takes new definitions into force: `changed` is replaced where it runs, what has no definition is not wanted any
    /// more and forgotten when nothing of it runs.
    pub(crate) fn reload(&mut self, specs: Vec<Spec>, changed: &[ServiceName]) -> Vec<Action> {
        let order: Vec<ServiceName> = specs.iter().map(|spec| spec.name.clone()).collect();
        let removed: Vec<ServiceName> =
            self.present().filter(|name| !order.contains(name)).cloned().collect();
        self.stop(&removed);
        for name in &removed {
            if let Some(service) = self.services.get_mut(name) {
                service.gone = true;
            }
        }
        for spec in specs {
            match self.services.get_mut(&spec.name) {
                Some(service) => service.redefine(spec),
                None => {
                    self.services.insert(spec.name.clone(), Service::new(spec));
                }
            }
        }
        let place = |name: &ServiceName| order.iter().position(|known| known == name).unwrap_or(usize::MAX);
        self.services.sort_by(|a, _, b, _| place(a).cmp(&place(b)));
        let wanted = |name: &&ServiceName| self.services.get(*name).is_some_and(|service| service.wanted);
        let running: Vec<ServiceName> = changed.iter().filter(wanted).cloned().collect();
        self.restart(&running)
    }

    /// Forgets services that the application does not have any more and of which nothing runs.
    pub(super) fn forget(&mut self) {
        let ends = |setup: &Setup| matches!(setup, Setup::Running | Setup::Cancelling);
        self.services.retain(|_, service| !service.gone || !service.slots.is_empty() || ends(&service.setup));
    }
}

impl Service {
    fn redefine(&mut self, spec: Spec) {
        let same = |a: &Spec, b: &Spec| {
            a.depends_on.len() == b.depends_on.len()
                && a.depends_on.iter().zip(&b.depends_on).all(|(a, b)| {
                    (&a.service, a.condition, a.required) == (&b.service, b.condition, b.required)
                })
        };
        if self.spec.replicas != spec.replicas {
            self.replicas = spec.replicas;
        }
        // What it depends on now has to be there before another instance of it is started.
        if !same(&self.spec, &spec) {
            self.released = false;
        }
        self.gone = false;
        // That only one can run at once may have been found out, and is not in the files.
        let stop_first = spec.stop_first || self.spec.stop_first;
        self.spec = Spec { stop_first, ..spec };
    }

    /// Whether nothing of it runs.
    pub(crate) fn is_empty(&self) -> bool {
        !self.slots.iter().any(Slot::has_process)
    }
}
