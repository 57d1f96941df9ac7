//! Another definition of the application while it runs.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tutti_core::ServiceName;
use tutti_model::app::{Application, Service};

use super::{Supervisor, spec};
use crate::error::SupervisorError;
use crate::rewrite;

/// The application as it is defined now.
pub(crate) struct Current(RwLock<Arc<Application>>);

impl Current {
    pub(crate) fn new(application: Arc<Application>) -> Self {
        Self(RwLock::new(application))
    }

    pub(crate) fn get(&self) -> Arc<Application> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, application: Arc<Application>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = application;
    }
}

/// What another definition of the application changed. Names in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Services whose definition is another one; those that run are replaced.
    pub changed: BTreeSet<String>,
    /// Services that are new.
    pub added: BTreeSet<String>,
    /// Services that are gone; they are stopped.
    pub removed: BTreeSet<String>,
}

impl Reloaded {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// What is otherwise in the new definition.
    pub fn between(old: &Application, new: &Application) -> Self {
        let names = |a: &Application, b: &Application| {
            let missing = a.services.keys().filter(|name| !b.services.contains_key(*name));
            missing.map(ToString::to_string).collect()
        };
        let differs = |service: &&Service| {
            old.services.get(&service.name).is_some_and(|before| !same(old, before, new, service))
        };
        Self {
            changed: new.services.values().filter(differs).map(|service| service.name.to_string()).collect(),
            added: names(new, old),
            removed: names(old, new),
        }
    }
}

/// Whether a process of the service would be started just as before. That it may name another peer counts only where it
/// does name it.
fn same(old: &Application, before: &Service, new: &Application, after: &Service) -> bool {
    let without_peers = |service: &Service| Service { peers: Vec::new(), ..service.clone() };
    let rewrites = |application: &Application, service: &Service| {
        let all = rewrite::preview(application).into_iter();
        all.filter(|rewrite| rewrite.service == service.name.as_str()).collect::<Vec<_>>()
    };
    without_peers(before) == without_peers(after) && rewrites(old, before) == rewrites(new, after)
}

impl Supervisor {
    pub(super) fn reload(
        &mut self,
        application: Arc<Application>,
        reply: oneshot::Sender<Result<Reloaded, SupervisorError>>,
    ) {
        let old = self.shared.current.get();
        let reloaded = Reloaded::between(&old, &application);
        if let Err(error) = self.may_reload(&old, &application, &reloaded) {
            let _ = reply.send(Err(error));
            return;
        }
        let named = |name: &&ServiceName| reloaded.changed.contains(name.as_str());
        let changed: Vec<ServiceName> = application.services.keys().filter(named).cloned().collect();
        let specs = application.services.values().map(spec).collect();
        self.shared.current.set(application);
        let actions = self.machine.reload(specs, &changed);
        self.act(actions);
        let actions = self.machine.step(self.now());
        self.act(actions);
        self.publish();
        let _ = reply.send(Ok(reloaded));
    }

    /// What only a new start can do: another project, and a service that begins or ceases to be run here.
    fn may_reload(
        &self,
        old: &Application,
        new: &Application,
        reloaded: &Reloaded,
    ) -> Result<(), SupervisorError> {
        let refuse = |what: String| Err(SupervisorError::NeedsRestart(what));
        if old.name != new.name {
            return refuse(format!("the project is now called {}", new.name));
        }
        for name in reloaded.changed.iter().chain(&reloaded.added).chain(&reloaded.removed) {
            let definition = |of: &Application| of.services.get(name.as_str()).cloned();
            let (before, after) = (definition(old), definition(new));
            let external = |service: &Option<Service>| service.iter().any(|s| !s.external.is_empty());
            if external(&before) || external(&after) {
                return refuse(format!("`external:` of {name} changed"));
            }
            let skips = |service: &Option<Service>| service.as_ref().map(|service| service.skip);
            let runs = self.machine.services.get(name.as_str()).is_some_and(|service| !service.is_empty());
            if runs && skips(&after) == Some(true) {
                return refuse(format!("`skip:` of {name} changed while it runs"));
            }
        }
        Ok(())
    }
}
