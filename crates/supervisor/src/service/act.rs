//! Commands, facts and actions: between the handles, the machine and the tasks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tutti_core::{ServiceName, code};
use tutti_model::app::Service;
use tutti_ports::catalog::{Endpoint, Registration, Spec};

use super::instance::{Instance, InstanceOrder};
use super::shared::{unknown, wall_ms};
use super::{Command, Fact, MOST_REPLICAS, Reply, Shared, Supervisor, key_of};
use crate::error::SupervisorError;
use crate::event::EventKind;
use crate::health;
use crate::model::{Action, Failure, InstanceKey, Place};
use crate::setup::{Progress, SetupError};

impl Supervisor {
    pub(super) fn command(&mut self, command: Option<Command>) {
        match command {
            None => {
                self.deaf = true;
                self.begin_shutdown();
            }
            Some(Command::Shutdown { grace }) => {
                self.begin_shutdown();
                let names: Vec<ServiceName> = self.machine.services.keys().cloned().collect();
                self.machine.patience(&names, grace);
            }
            Some(Command::Kill) => {
                self.begin_shutdown();
                self.kill();
            }
            // Whoever asked learns from the reply that never comes.
            Some(_) if self.closing => {}
            Some(Command::Up { services, dependencies, reply }) => {
                let names = self.names(&services);
                self.answer(reply, names, |this, names| this.machine.up(&names, dependencies));
            }
            Some(Command::Stop { services, grace, reply }) => {
                let names = self.names(&services);
                self.answer(reply, names, |this, names| {
                    this.machine.stop(&names);
                    this.machine.patience(&names, grace);
                });
            }
            Some(Command::Restart { services, grace, reply }) => {
                let names = self.names(&services).and_then(|names| match services.is_empty() {
                    true => Ok(names),
                    false => self.ours(names),
                });
                self.answer(reply, names, |this, names| {
                    let actions = this.machine.restart(&names);
                    this.machine.patience(&names, grace);
                    this.act(actions);
                });
            }
            Some(Command::Scale { service, replicas, reply }) => {
                let checked = self.may_scale(&service, replicas);
                self.answer(reply, checked, |this, ()| this.machine.scale(&service, replicas));
            }
            Some(Command::Reload { application, reply }) => self.reload(application, reply),
            Some(Command::Sample { reply }) => self.sample(Some(reply)),
            // The loop takes it before: it has to wait for it.
            Some(Command::HandOver { .. }) => {}
        }
    }

    fn answer<T>(
        &mut self,
        reply: Reply,
        checked: Result<T, SupervisorError>,
        then: impl FnOnce(&mut Self, T),
    ) {
        let result = checked.map(|value| then(self, value));
        // What was asked for is to be seen by whoever reads the status after the answer.
        let actions = self.machine.step(self.now());
        self.act(actions);
        self.publish();
        let _ = reply.send(result);
    }

    /// The named services, or all.
    fn names(&self, names: &[ServiceName]) -> Result<Vec<ServiceName>, SupervisorError> {
        if names.is_empty() {
            return Ok(self.machine.present().cloned().collect());
        }
        let missing = names.iter().find(|name| !self.machine.present().any(|known| known == *name));
        match missing {
            Some(name) => Err(unknown(&self.shared.current.get(), name.as_str())),
            None => Ok(names.to_vec()),
        }
    }

    fn ours(&self, names: Vec<ServiceName>) -> Result<Vec<ServiceName>, SupervisorError> {
        for name in &names {
            let why = match self.machine.services.get(name).map(|service| service.spec.place) {
                Some(Place::Elsewhere) => "it is `external:`",
                Some(Place::Nowhere) => "it is left out by `skip: true`",
                _ => continue,
            };
            return Err(SupervisorError::NotOurs { service: name.to_string(), why });
        }
        Ok(names)
    }

    fn may_scale(&self, name: &ServiceName, replicas: u32) -> Result<(), SupervisorError> {
        self.names(std::slice::from_ref(name)).and_then(|names| self.ours(names))?;
        if replicas > MOST_REPLICAS {
            return Err(SupervisorError::TooManyReplicas(replicas, MOST_REPLICAS));
        }
        let fixed = self.shared.current.get().services.get(name).and_then(|service| service.fixed_port);
        match fixed.filter(|_| replicas > 1) {
            Some(port) => Err(SupervisorError::FixedPort { service: name.to_string(), port, replicas }),
            None => Ok(()),
        }
    }

    pub(super) fn begin_shutdown(&mut self) {
        self.closing = true;
        let names: Vec<ServiceName> = self.machine.services.keys().cloned().collect();
        self.machine.stop(&names);
    }

    pub(super) fn kill(&mut self) {
        let actions = self.machine.kill(self.now());
        self.act(actions);
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        let now = self.now();
        let actions = match fact {
            Fact::SetupDone { service, outcome } => {
                self.setups.remove(&service);
                self.machine.setup_done(&service, outcome)
            }
            Fact::Started { key, pid } => {
                self.machine.started(&key, pid);
                self.look_at_health();
                Vec::new()
            }
            Fact::Elsewhere { key, text, alone } => {
                self.shared.tell(&key.service, EventKind::Notice { text: text.clone() });
                self.machine.elsewhere(&key, text, alone);
                Vec::new()
            }
            Fact::Drained { key, cut_off } => self.machine.drained(&key, cut_off, now),
            Fact::Exited { key, mut exit, lasting } => {
                self.instances.remove(&key);
                let starting = self.machine.is_young(&key, now);
                if starting && exit.code.is_none() && exit.status.is_some_and(|status| status != 0) {
                    exit.code = Some(code::EXITED_DURING_START.to_string());
                }
                self.machine.exited(&key, exit, lasting, now)
            }
            Fact::Sampled(reply) => {
                self.publish();
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                Vec::new()
            }
        };
        self.act(actions);
    }

    /// Carries the catalog's opinion of every instance into the machine.
    pub(super) fn look_at_health(&mut self) {
        let view = Arc::clone(&self.view.borrow_and_update());
        let now = self.now();
        let application = self.shared.current.get();
        let mut actions = Vec::new();
        for instance in view.services.values().flatten() {
            if let Some(key) = key_of(&application, &instance.spec.id) {
                actions.extend(self.machine.health(&key, instance.health, &instance.reason, now));
            }
        }
        self.act(actions);
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Setup(service) => self.set_up(&service),
                Action::CancelSetup(service) => {
                    // Dropping the sender ends the task.
                    self.setups.remove(&service);
                }
                Action::Launch { id } => self.launch(id),
                Action::Drain { id, patience } => self.order(&id, InstanceOrder::Drain { patience }),
                Action::Signal { id, signal, tree } => {
                    self.order(&id, InstanceOrder::Signal { signal, tree })
                }
                Action::Tell(service, kind) => self.shared.tell(&service, kind),
            }
        }
    }

    fn order(&self, id: &InstanceKey, order: InstanceOrder) {
        if let Some(orders) = self.instances.get(id) {
            // A task that has ended has told so, or is about to.
            let _ = orders.send(order);
        }
    }

    fn launch(&mut self, key: InstanceKey) {
        let service = self.shared.current.get().services.get(&key.service).cloned();
        let (Some(service), Some(plan)) = (service, self.shared.plans.get(&key.service)) else { return };
        // Unbounded, and yet bounded: the machine gives a handful of orders to an instance in its life.
        let (sender, orders) = mpsc::unbounded_channel();
        self.instances.insert(key.clone(), sender);
        let (shared, facts) = (Arc::clone(&self.shared), self.tell.clone());
        self.tasks.spawn(Instance { shared, service, plan, key, orders, facts, adopted: None }.run());
    }

    fn set_up(&mut self, name: &ServiceName) {
        let Some(service) = self.shared.current.get().services.get(name).cloned() else { return };
        let (keep, cancelled) = oneshot::channel::<()>();
        self.setups.insert(name.clone(), keep);
        let (shared, facts) = (Arc::clone(&self.shared), self.tell.clone());
        let name = name.clone();
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = prepare(&shared, service) => outcome,
                _ = cancelled => Err(Failure { reason: "its setup was given up".to_owned(), code: None }),
            };
            let _ = facts.send(Fact::SetupDone { service: name, outcome }).await;
        });
    }

    /// Shows how setup goes on.
    pub(super) fn progress(&self, progress: Progress) {
        let (service, kind) = match progress {
            Progress::Started { service, step } => (service, EventKind::SetupStarted { step }),
            Progress::Done { service, step, took, cached } => {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                (service, EventKind::SetupFinished { step, cached, took_ms, error: None })
            }
        };
        self.shared.tell(&service, kind);
    }

    /// Looks at what every instance uses, and then answers.
    pub(super) fn sample(&mut self, reply: Option<Reply>) {
        let (shared, facts) = (Arc::clone(&self.shared), self.tell.clone());
        self.tasks.spawn(async move {
            let looked = Arc::clone(&shared);
            let work = move || {
                let live: Vec<_> = looked.live().iter().map(|(id, live)| (id.clone(), live.pid)).collect();
                let pids: Vec<i32> = live.iter().map(|(_, pid)| *pid).collect();
                for ((id, _), (_, usage)) in live.iter().zip(looked.driver.usage(&pids)) {
                    looked.stats.add(id, wall_ms(), usage);
                }
            };
            let _ = tokio::task::spawn_blocking(work).await;
            let _ = facts.send(Fact::Sampled(reply)).await;
        });
    }
}

/// Puts services that run elsewhere into the catalog.
pub(super) async fn register_external(shared: Arc<Shared>) {
    let application = shared.current.get();
    for service in application.services.values().filter(|s| !s.skip && !s.external.is_empty()) {
        let mut endpoints = Vec::new();
        for (port, address) in &service.external {
            let wanted = address.clone();
            let found = tokio::task::spawn_blocking(move || resolve(&wanted)).await.ok().flatten();
            let Some(addr) = found else {
                let text =
                    format!("the address {address:?} of the external service {} is not known", service.name);
                shared.tell(&service.name, EventKind::Notice { text });
                continue;
            };
            let listen = service.listens.iter().find(|listen| listen.port == *port);
            let protocol = listen.map(|listen| listen.protocol).unwrap_or_default();
            endpoints.push(Endpoint { port: *port, addr, protocol });
        }
        let registration = external(&shared, service, endpoints);
        if let Err(error) = shared.deps.catalog.register(registration).await {
            let text = format!("could not be registered: {}", tutti_core::error::chain(&error));
            shared.tell(&service.name, EventKind::Notice { text });
        }
    }
}

/// Finds out how to run a service, and builds it.
async fn prepare(shared: &Arc<Shared>, service: Service) -> Result<(), Failure> {
    let fixed = service.fixed_port.filter(|_| service.replicas > 1);
    if let Some(port) = fixed {
        let replicas = service.replicas;
        let reason = format!("it listens at the fixed port {port}, so it cannot have {replicas} replicas");
        return Err(Failure { reason, code: Some(code::FIXED_PORT_REPLICAS) });
    }
    let (name, planning) = (service.name.clone(), Arc::clone(shared));
    let plan = move || planning.plans.make(&service, &planning.current.get().folder, &planning.options);
    let plan = tokio::task::spawn_blocking(plan).await;
    let plan = plan.map_err(|error| Failure { reason: error.to_string(), code: None })?;
    let plan = plan.map_err(|why| Failure { reason: why.reason, code: why.code })?;
    for text in plan.notes.iter().cloned() {
        shared.tell(&name, EventKind::Hint { text });
    }
    shared.setup.one(name.clone(), plan.steps.clone()).await.map_err(|error| {
        if let SetupError::Failed { step, .. } | SetupError::Spawn { step, .. } = &error {
            let (step, error) = (step.clone(), Some(error.to_string()));
            shared.tell(&name, EventKind::SetupFinished { step, cached: false, took_ms: 0, error });
        }
        Failure { reason: tutti_core::error::chain(&error), code: tutti_core::Classify::code(&error) }
    })
}

fn resolve(address: &str) -> Option<SocketAddr> {
    address.to_socket_addrs().ok()?.next()
}

fn external(shared: &Arc<Shared>, service: &Service, endpoints: Vec<Endpoint>) -> Registration {
    Registration {
        checks: health::external(service, &endpoints),
        spec: Spec {
            id: tutti_core::InstanceId::of(&service.name, 1),
            service: service.name.clone(),
            endpoints,
            version: service.version.clone(),
            zone: service.zone.clone(),
            weight: service.weight,
            tags: std::iter::once("external".to_owned()).chain(service.tags.iter().cloned()).collect(),
            meta: service.labels.clone(),
        },
        exec: Arc::clone(shared) as _,
        standing: shared.stood(&tutti_core::InstanceId::of(&service.name, 1)),
    }
}
