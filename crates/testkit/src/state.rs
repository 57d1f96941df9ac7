//! [`MemoryStore`]: the state port in memory.
//!
//! Keeps the promises of [`tutti_ports::state::Store`] except one: nothing outlives the value. A clone is the same
//! store, so that "restart" in a test is: drop what used the store, and give a clone to its successor.
//!
//! Leases run out by tokio's time. They are looked at on every call; a test in which a watcher must be woken by the
//! end of a lease drives [`MemoryStore::expire_leases`] itself, because nothing here runs in the background.

mod engine;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tutti_ports::state::{Changes, Entries, LeaseId, Outcome, Range, Revision, StateError, Store, Txn};

use engine::Engine;

/// A failure that is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every write is refused: the disk is full. Reads go on.
    Full,
    /// Every write is refused as not acceptable.
    Invalid,
    /// Every call fails, and nothing was done.
    Unavailable,
    /// Every write is carried out, and its acknowledgement is lost.
    Lost,
    /// Every write waits until the fault is lifted.
    Hangs,
}

#[derive(Debug)]
struct Shared {
    engine: Mutex<Engine>,
    head: watch::Sender<Revision>,
    fault: watch::Sender<Option<Fault>>,
    writes: watch::Sender<u64>,
}

/// A store in memory. Cheap to clone; clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        let shared = Shared {
            engine: Mutex::new(Engine::default()),
            head: watch::Sender::new(Revision(0)),
            fault: watch::Sender::new(None),
            writes: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes every later call fail in this way, or heals it. Calls that hang go on when it is lifted.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.fault.send_replace(fault);
    }

    /// How many transactions were tried, successful or not: to be awaited by tests.
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.shared.writes.subscribe()
    }

    /// Forgets the changes up to and including a revision: asking for older ones is answered by `Compacted`.
    pub fn compact(&self, through: Revision) {
        self.engine().compact(through);
    }

    /// Removes what died with its lease by now.
    pub fn expire_leases(&self) {
        drop(self.engine());
    }

    /// The engine, with its leases looked at, and the head told on.
    fn engine(&self) -> MutexGuard<'_, Engine> {
        let mut engine = self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.expire(Instant::now());
        self.tell(engine.revision());
        engine
    }

    fn tell(&self, revision: Revision) {
        self.shared.head.send_if_modified(|head| std::mem::replace(head, revision) != revision);
    }

    /// Carries out a write under the fault that is set.
    async fn write<T>(
        &self,
        act: impl FnOnce(&mut Engine) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        self.shared.writes.send_modify(|writes| *writes += 1);
        let mut faults = self.shared.fault.subscribe();
        // The sender lives as long as `self`, so this only ends when the fault is another one.
        let fault = faults.wait_for(|fault| *fault != Some(Fault::Hangs)).await.map_or(None, |fault| *fault);
        match fault {
            Some(Fault::Full) => return Err(StateError::Full("injected".into())),
            Some(Fault::Invalid) => return Err(StateError::Invalid("injected".into())),
            Some(Fault::Unavailable) => return Err(StateError::Unavailable("injected".into())),
            _ => {}
        }
        let done = {
            let mut engine = self.engine();
            let done = act(&mut engine);
            self.tell(engine.revision());
            done
        };
        if fault == Some(Fault::Lost) { Err(StateError::Unavailable("injected".into())) } else { done }
    }

    fn readable(&self) -> Result<MutexGuard<'_, Engine>, StateError> {
        if *self.shared.fault.borrow() == Some(Fault::Unavailable) {
            return Err(StateError::Unavailable("injected".into()));
        }
        Ok(self.engine())
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn txn(&self, txn: Txn) -> Result<Outcome, StateError> {
        self.write(|engine| engine.txn(txn)).await
    }

    async fn range(&self, range: Range) -> Result<Entries, StateError> {
        Ok(self.readable()?.range(&range))
    }

    async fn changes(&self, after: Revision, prefix: &str, limit: usize) -> Result<Changes, StateError> {
        self.readable()?.changes(after, prefix, limit)
    }

    fn head(&self) -> watch::Receiver<Revision> {
        self.shared.head.subscribe()
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StateError> {
        self.write(|engine| engine.grant(ttl, Instant::now())).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StateError> {
        self.write(|engine| engine.keep_alive(lease, Instant::now())).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StateError> {
        self.write(|engine| engine.revoke(lease)).await
    }
}
