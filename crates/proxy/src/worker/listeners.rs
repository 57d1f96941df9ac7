//! A worker's sockets: bound or given, held until a snapshot has their listener, served, drained, and given on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tutti_net::{Addr, Drainer, ListenOptions, Listener, h3};

use super::{Command, Worker, close_pools, log_panic};
use crate::config::Patience;
use crate::phase::accept;
use crate::snapshot::Snapshot;
use crate::snapshot::plan::ListenerPlan;

/// How long the connections of a socket of HTTP/3 that were cut may take to be over: three times as long as it takes to find out
/// that a packet was lost (RFC 9000 section 10.2).
const VACATED: Duration = Duration::from_secs(5);

/// A listener being served.
struct Running {
    plan: Rc<RefCell<Arc<ListenerPlan>>>,
    drainer: Drainer,
    /// The socket of TCP once more, as long as it is served: it may be handed over.
    spare: Option<OwnedFd>,
    /// Ends when the socket is closed.
    closed: oneshot::Receiver<()>,
}

/// A worker's sockets and what serves them.
pub(super) struct Listeners {
    worker: Rc<Worker>,
    bound: HashMap<u64, Listener>,
    running: HashMap<u64, Running>,
    bound_http3: HashMap<u64, h3::Endpoint>,
    /// What serves HTTP/3 beside listeners, by their keys.
    http3: HashMap<u64, Running>,
    /// Sockets of HTTP/3 that are not wanted any more, and are open as long as connections need them.
    leaving: HashMap<SocketAddr, Running>,
    pub(super) tasks: JoinSet<()>,
}

impl Listeners {
    /// Without any.
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            bound: HashMap::new(),
            running: HashMap::new(),
            bound_http3: HashMap::new(),
            http3: HashMap::new(),
            leaving: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Does what the worker is told of sockets.
    pub(super) async fn obey(&mut self, command: Command) {
        let bind = |address, reuse_port| {
            Listener::bind(&Addr::Tcp(address), &ListenOptions { reuse_port, ..ListenOptions::default() })
        };
        match command {
            Command::Bind { key, address, done } => {
                let made = bind(address, true).and_then(|listener| self.hold(key, listener));
                // Whoever asked may have given up.
                let _ = done.send(made);
            }
            Command::Adopt { key, socket, done } => {
                let made = Listener::from_std(socket.into()).and_then(|listener| self.hold(key, listener));
                let _ = done.send(made);
            }
            Command::Duplicate { done } => {
                let spare =
                    |(key, running): (&u64, &Running)| Some((*key, running.spare.as_ref()?.try_clone()));
                let all = self.running.iter().filter_map(spare).map(|(key, spare)| Ok((key, spare?)));
                let _ = done.send(all.collect());
            }
            Command::BindHttp3 { key, address, done } => {
                self.bound_http3.remove(&key);
                self.vacate(address).await;
                let made = h3::Endpoint::bind(address).map(|endpoint| {
                    self.bound_http3.insert(key, endpoint);
                });
                let _ = done.send(made);
            }
            Command::Probe { address, done } => {
                let _ = done.send(bind(address, false).map(drop));
            }
            Command::Unbind { key } => {
                self.bound.remove(&key);
                self.bound_http3.remove(&key);
            }
            Command::Drain(_) => {}
        }
    }

    /// Keeps a socket until a snapshot has its listener. Answers where it listens.
    fn hold(&mut self, key: u64, listener: Listener) -> std::io::Result<SocketAddr> {
        let local = listener.socket_addr().ok_or_else(|| std::io::Error::other("not a TCP socket"))?;
        self.bound.insert(key, listener);
        Ok(local)
    }

    /// Serves what a snapshot says from now on.
    pub(super) async fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        let worker = &Rc::clone(&self.worker);
        if snapshot.generation <= worker.snapshot.borrow().generation {
            return;
        }
        let before = worker.snapshot.replace(Arc::clone(&snapshot));
        if !Arc::ptr_eq(&before.clusters, &snapshot.clusters) {
            close_pools(worker, &snapshot);
        }
        worker.recorder.feed.follow(snapshot.log.as_ref());
        for plan in &snapshot.listeners {
            if let Some(running) = self.running.get(&plan.key) {
                running.plan.replace(Arc::clone(plan));
            } else if let Some(listener) = self.bound.remove(&plan.key) {
                let (drainer, signal) = Drainer::new();
                let plan_cell = Rc::new(RefCell::new(Arc::clone(plan)));
                let (guard, closed) = oneshot::channel();
                let spare = listener.duplicate().ok();
                let listener = listener.guarded(guard);
                let running = Running { plan: Rc::clone(&plan_cell), drainer, spare, closed };
                self.running.insert(plan.key, running);
                let worker = Rc::clone(worker);
                self.tasks.spawn_local(async move {
                    if worker.shared.inherited.opened(&signal).await {
                        accept::run(worker, plan_cell, listener, signal).await;
                    }
                });
            }
        }
        self.adopt_http3(&snapshot);
        // What was bound for a change that was given up half-way.
        self.bound.retain(|key, _| *key > snapshot.keys);
        worker.adopted.notify_waiters();
        self.drain_removed(&snapshot).await;
        self.worker.shared.adopted(self.worker.index, snapshot.generation);
    }

    /// Serves HTTP/3 where the snapshot has it, and drains it where not.
    fn adopt_http3(&mut self, snapshot: &Snapshot) {
        for plan in snapshot.listeners.iter().filter(|plan| plan.http3) {
            if let Some(running) = self.http3.get(&plan.key) {
                running.plan.replace(Arc::clone(plan));
            } else if let Some(endpoint) = self.bound_http3.remove(&plan.key) {
                let (drainer, signal) = Drainer::new();
                let plan_cell = Rc::new(RefCell::new(Arc::clone(plan)));
                let (guard, closed) = oneshot::channel();
                let endpoint = endpoint.guarded(guard);
                let running = Running { plan: Rc::clone(&plan_cell), drainer, spare: None, closed };
                self.http3.insert(plan.key, running);
                let worker = Rc::clone(&self.worker);
                self.tasks.spawn_local(accept::run_http3(worker, plan_cell, endpoint, signal));
            }
        }
        let kept = |key: &u64| snapshot.listeners.iter().any(|plan| plan.key == *key && plan.http3);
        let patience = self.worker.shared.options.drain_patience;
        for (_, running) in self.http3.extract_if(|key, _| !kept(key)) {
            running.drainer.drain(patience);
            let address = running.plan.borrow().address;
            self.leaving.insert(address, running);
        }
        self.leaving
            .retain(|_, running| running.closed.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    }

    /// Cuts what still uses an address for HTTP/3 that is wanted for something new.
    async fn vacate(&mut self, address: SocketAddr) {
        if let Some(running) = self.leaving.remove(&address) {
            running.drainer.drain(Duration::ZERO);
            // If it takes longer, binding says so.
            let _ = tokio::time::timeout(VACATED, running.closed).await;
        }
    }

    /// Drains listeners that the snapshot does not have, and waits until their addresses are free; not for their
    /// connections.
    async fn drain_removed(&mut self, snapshot: &Snapshot) {
        let gone: Vec<u64> = self
            .running
            .keys()
            .filter(|key| !snapshot.listeners.iter().any(|plan| plan.key == **key))
            .copied()
            .collect();
        for key in gone {
            if let Some(mut running) = self.running.remove(&key) {
                running.spare.take();
                running.drainer.drain(self.worker.shared.options.drain_patience);
                // The guard is never used to send: its end is the word.
                let _ = running.closed.await;
            }
        }
    }

    /// Serves nothing more, and waits for the connections. Who commands a drain once more can only bring their end nearer.
    pub(super) async fn drain(mut self, patience: Patience, commands: &mut mpsc::Receiver<Command>) {
        self.bound.clear();
        self.bound_http3.clear();
        self.drain_all(patience);
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => log_panic(ended),
                    None => break,
                },
                Some(command) = commands.recv() => if let Command::Drain(patience) = command {
                    self.drain_all(patience);
                },
            }
        }
        // Nothing is chosen any more.
        self.worker.shared.adopted(self.worker.index, u64::MAX);
    }

    fn drain_all(&mut self, patience: Patience) {
        for running in self.running.values_mut() {
            running.spare.take();
            running.drainer.drain_gently(patience.idle, patience.busy);
        }
        for running in self.http3.values().chain(self.leaving.values()) {
            running.drainer.drain(patience.http3);
        }
    }
}
