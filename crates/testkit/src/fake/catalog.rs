//! A catalog that probes by itself, or says what a test tells it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::{Addr, Stream};
use tutti_ports::catalog::{
    Catalog, CatalogError, Check, Health, Instance, Probe, Registration, Report, Transition, View,
};
use tutti_ports::exec::Exec;

/// Who decides whether an instance is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    /// The instance's own checks.
    Real,
    /// Every instance passes at once.
    Pass,
    /// [`FakeCatalog::set`].
    Told,
}

/// A catalog in memory.
pub struct FakeCatalog {
    probing: Probing,
    view: Arc<watch::Sender<Arc<View>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    probes: BTreeMap<InstanceId, AbortHandle>,
    history: Vec<(InstanceId, Transition)>,
    calls: Vec<String>,
}

impl FakeCatalog {
    /// An empty catalog.
    pub fn new(probing: Probing) -> Self {
        Self { probing, view: Arc::new(watch::channel(Arc::default()).0), state: Mutex::default() }
    }

    /// Says how an instance is.
    pub fn set(&self, id: &InstanceId, health: Health, reason: &str) {
        set(&self.view, id, health, reason);
    }

    /// What was asked of it, in order: `register a-1`, `drain a-1`, `deregister a-1: exited with status 1`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &InstanceId, to: Option<Health>, reason: &str) {
        let transition = Transition { at: SystemTime::now(), from: None, to, reason: reason.to_owned() };
        self.state().history.push((id.clone(), transition));
    }
}

fn set(view: &watch::Sender<Arc<View>>, id: &InstanceId, health: Health, reason: &str) {
    view.send_modify(|view| {
        let view = Arc::make_mut(view);
        view.generation += 1;
        for instance in view.services.values_mut().flatten().filter(|i| i.spec.id == *id) {
            instance.health = health;
            reason.clone_into(&mut instance.reason);
            instance.since = SystemTime::now();
        }
    });
}

#[async_trait::async_trait]
impl Catalog for FakeCatalog {
    async fn register(&self, registration: Registration) -> Result<(), CatalogError> {
        let Registration { spec, checks, exec, standing } = registration;
        let id = spec.id.clone();
        if self.view.borrow().instance(&id).is_some() {
            return Err(CatalogError::Exists(id));
        }
        self.state().calls.push(format!("register {id}"));
        let passes = self.probing == Probing::Pass || (self.probing == Probing::Real && checks.is_empty());
        let fresh = if passes { Health::Passing } else { Health::Starting };
        let health = standing.map_or(fresh, |standing| standing.health);
        self.note(&id, Some(health), "registered");
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.generation += 1;
            let list = view.services.entry(spec.service.clone()).or_default();
            let reason = String::new();
            list.push(Instance { spec: Arc::new(spec), health, reason, since: SystemTime::now() });
            list.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        });
        if let (Probing::Real, Some(check)) = (self.probing, checks.into_iter().next()) {
            let task = tokio::spawn(probe(Arc::clone(&self.view), id.clone(), check, exec));
            self.state().probes.insert(id, task.abort_handle());
        }
        Ok(())
    }

    async fn drain(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError> {
        let mut state = self.state();
        state.calls.push(format!("drain {id}"));
        if let Some(task) = state.probes.remove(id) {
            task.abort();
        }
        drop(state);
        self.note(id, Some(Health::Draining), reason);
        set(&self.view, id, Health::Draining, reason);
        Ok(())
    }

    async fn deregister(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError> {
        let mut state = self.state();
        state.calls.push(format!("deregister {id}: {reason}"));
        if let Some(task) = state.probes.remove(id) {
            task.abort();
        }
        drop(state);
        self.note(id, None, reason);
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.generation += 1;
            for list in view.services.values_mut() {
                list.retain(|instance| instance.spec.id != *id);
            }
        });
        Ok(())
    }

    async fn report(&self, id: &InstanceId, _: &str, report: Report, note: &str) -> Result<(), CatalogError> {
        let health = match report {
            Report::Pass => Health::Passing,
            Report::Warn => Health::Warning,
            Report::Fail => Health::Critical,
        };
        set(&self.view, id, health, note);
        Ok(())
    }

    fn suspect(&self, id: &InstanceId, reason: &str) {
        self.state().calls.push(format!("suspect {id}: {reason}"));
    }

    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    async fn history(&self, service: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError> {
        let prefix = format!("{service}-");
        let state = self.state();
        Ok(state.history.iter().filter(|(id, _)| id.as_str().starts_with(&prefix)).cloned().collect())
    }
}

/// Probes until it is aborted. The rules are those of the real registry, in short.
async fn probe(view: Arc<watch::Sender<Arc<View>>>, id: InstanceId, check: Check, exec: Arc<dyn Exec>) {
    let begun = Instant::now();
    let (mut failures, mut passed) = (0, false);
    loop {
        let result = tokio::time::timeout(check.timeout, once(&id, &check, &*exec)).await;
        match result.unwrap_or_else(|_| Err("timed out".to_owned())) {
            Ok(()) => {
                if !passed || failures >= check.fall {
                    set(&view, &id, Health::Passing, "passes");
                }
                (failures, passed) = (0, true);
            }
            Err(why) => {
                let counts = passed || begun.elapsed() >= check.start_period;
                failures += u32::from(counts);
                if failures >= check.fall {
                    set(&view, &id, Health::Critical, &why);
                }
            }
        }
        tokio::time::sleep(if passed { check.interval } else { check.start_interval }).await;
    }
}

async fn once(id: &InstanceId, check: &Check, exec: &dyn Exec) -> Result<(), String> {
    match &check.probe {
        Probe::Tcp { addr } | Probe::Grpc { addr, .. } => connect(*addr).await.map(drop),
        Probe::Http { addr, path, .. } => {
            let mut stream = connect(*addr).await?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.map_err(|error| error.to_string())?;
            match head.get(9) {
                Some(b'2' | b'3') => Ok(()),
                _ => Err(format!("answered {}", String::from_utf8_lossy(&head))),
            }
        }
        Probe::Command { argv } => match exec.run(id, argv, check.timeout).await {
            Ok(finished) if finished.status == 0 => Ok(()),
            Ok(finished) => Err(format!("ended with status {}: {}", finished.status, finished.output)),
            Err(error) => Err(error.to_string()),
        },
        Probe::Ttl { .. } => Ok(()),
    }
}

async fn connect(addr: SocketAddr) -> Result<Stream, String> {
    let stream = Stream::connect(&Addr::from(addr), Duration::from_secs(5)).await;
    stream.map_err(|error| format!("{addr}: {error}"))
}
