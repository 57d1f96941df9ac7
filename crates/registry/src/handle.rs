//! The catalog's face to the other rooms: every call goes to the run loop, except for what must not wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tutti_core::limits::REGISTRY_SUSPECTS;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::carry::Carriage;
use tutti_ports::catalog::{Catalog, CatalogError, Registration, Report, Transition, View};
use tutti_ports::state::Store;

use crate::error::Stopped;
use crate::metrics::Metrics;
use crate::probe::Carriers;
use crate::recover::stored_history;

/// That a change has taken effect, and word when it is durable.
pub(crate) type Applied = Result<oneshot::Receiver<()>, CatalogError>;

/// A call to the run loop.
pub(crate) enum Call {
    Register { registration: Registration, reply: oneshot::Sender<Applied> },
    Drain { id: InstanceId, reason: String, reply: oneshot::Sender<Applied> },
    Deregister { id: InstanceId, reason: String, reply: oneshot::Sender<Applied> },
    Report { id: InstanceId, check: String, report: Report, note: String, reply: oneshot::Sender<Applied> },
    Settle { reply: oneshot::Sender<Applied> },
    LetGo { reply: oneshot::Sender<Applied> },
    Pending { service: ServiceName, reply: oneshot::Sender<Vec<(u64, InstanceId, Transition)>> },
}

/// Instances under suspicion, each once, with the first reason.
#[derive(Default)]
pub(crate) struct Suspects {
    waiting: Mutex<BTreeMap<InstanceId, String>>,
    pub(crate) woken: Notify,
}

impl Suspects {
    /// Whether there was room.
    fn add(&self, id: &InstanceId, reason: &str) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.contains_key(id) {
            return true;
        }
        if waiting.len() >= REGISTRY_SUSPECTS {
            return false;
        }
        waiting.insert(id.clone(), reason.to_owned());
        drop(waiting);
        self.woken.notify_one();
        true
    }

    pub(crate) fn take(&self) -> BTreeMap<InstanceId, String> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The handle: implements [`Catalog`]. The registry must run for calls to end.
pub struct Handle {
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) suspects: Arc<Suspects>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) patience: Duration,
    pub(crate) carriers: Carriers,
}

impl Handle {
    /// The registry's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who knows how connections to services begin: from now on checks begin as it says. It is told once; before, all of them begin
    /// plainly.
    pub fn carried_by(&self, carriage: Arc<dyn Carriage>) {
        if self.carriers.set(carriage).is_err() {
            tracing::error!("how connections to services begin is known already");
        }
    }

    /// Waits until the former run's state is read and the registry takes calls.
    pub async fn ready(&self) -> Result<(), Stopped> {
        let mut view = self.view.clone();
        view.wait_for(|view| view.generation > 0).await.map(drop).map_err(|_| Stopped)
    }

    /// Every instance that was to be taken over has been registered, and the other process does not come back. Until this is said, a registry that
    /// takes over ([`Options::take_over`](crate::Options::take_over)) writes nothing.
    pub async fn settle(&self) -> Result<(), CatalogError> {
        self.change(|reply| Call::Settle { reply }).await
    }

    /// Another process has taken over: nothing more is written here.
    pub async fn let_go(&self) -> Result<(), CatalogError> {
        self.ask(|reply| Call::LetGo { reply }).await?.map(drop)
    }

    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, CatalogError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped.into())
    }

    /// Asks for a change, and waits for it to be durable as long as it is worth waiting.
    async fn change(&self, call: impl FnOnce(oneshot::Sender<Applied>) -> Call) -> Result<(), CatalogError> {
        let durable = self.ask(call).await??;
        // What went wrong is counted and tried again by the run loop: the change has taken effect in any case.
        let _ = tokio::time::timeout(self.patience, durable).await;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Catalog for Handle {
    async fn register(&self, registration: Registration) -> Result<(), CatalogError> {
        self.change(|reply| Call::Register { registration, reply }).await
    }

    async fn drain(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.change(|reply| Call::Drain { id, reason, reply }).await
    }

    async fn deregister(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.change(|reply| Call::Deregister { id, reason, reply }).await
    }

    async fn report(
        &self,
        id: &InstanceId,
        check: &str,
        report: Report,
        note: &str,
    ) -> Result<(), CatalogError> {
        let (id, check, note) = (id.clone(), check.to_owned(), note.to_owned());
        self.change(|reply| Call::Report { id, check, report, note, reply }).await
    }

    fn suspect(&self, id: &InstanceId, reason: &str) {
        self.metrics.suspicions.inc();
        if !self.suspects.add(id, reason) {
            self.metrics.suspicions_dropped.inc();
        }
    }

    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    async fn history(&self, service: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError> {
        // What is pending is asked for first: what becomes durable in between is then seen twice, not missed.
        let pending = self.ask(|reply| Call::Pending { service: service.clone(), reply }).await?;
        let mut all: BTreeMap<u64, (InstanceId, Transition)> = BTreeMap::new();
        let stored = stored_history(self.store.as_ref(), service).await?;
        for (number, id, transition) in stored.into_iter().chain(pending) {
            all.insert(number, (id, transition));
        }
        Ok(all.into_values().collect())
    }
}
