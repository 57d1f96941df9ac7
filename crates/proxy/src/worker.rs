//! A worker: one thread, one runtime, its own sockets, its own connections to the instances.
//!
//! It adopts each snapshot in one step between two requests. What it counts and chooses happens in the
//! snapshot it has adopted, without a pause in between; so once it says "adopted", it chooses nothing older.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tutti_core::limits;
use tutti_core::random::Rng;
use tutti_net::{Addr, Drainer, ListenOptions, Listener, h3};

use crate::engine::Shared;
use crate::model::budget::Budget;
use crate::model::quantile::Quantile;
use crate::phase::accept;
use crate::phase::identify::Stamps;
use crate::phase::record::Recorder;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Slot;
use crate::snapshot::plan::ListenerPlan;
use crate::timers::Timers;
use crate::upstream::carrier::Ends;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Driver, Pool};

/// How long a line may lie in a worker's buffer, and how often idle connections are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// How long the connections of a socket of HTTP/3 that were cut may take to be over: three times as long as it takes to find out
/// that a packet was lost (RFC 9000 section 10.2).
const VACATED: Duration = Duration::from_secs(5);

/// What a worker is told besides new snapshots.
pub enum Command {
    /// Make a socket, to be served once a snapshot has a listener of this key. Answers where it listens.
    Bind {
        /// The key.
        key: u64,
        /// Where.
        address: std::net::SocketAddr,
        /// The answer.
        done: oneshot::Sender<std::io::Result<std::net::SocketAddr>>,
    },
    /// Make a socket for HTTP/3 beside a listener, likewise.
    BindHttp3 {
        /// The listener's key.
        key: u64,
        /// Where.
        address: std::net::SocketAddr,
        /// The answer.
        done: oneshot::Sender<std::io::Result<()>>,
    },
    /// Look whether an address is free.
    Probe {
        /// Where.
        address: std::net::SocketAddr,
        /// The answer.
        done: oneshot::Sender<std::io::Result<()>>,
    },
    /// Close sockets that will not be served after all.
    Unbind {
        /// The key.
        key: u64,
    },
    /// Finish what is under way, at most for so long, and end.
    Drain(Duration),
}

/// What a request needs of its worker.
pub struct Worker {
    /// Which one.
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Chance.
    pub rng: Rng,
    /// Counts and records requests.
    pub recorder: Arc<Recorder>,
    /// Wakes who waits for an instance to become ready.
    pub adopted: Notify,
    /// Requests that wait for an instance to become ready.
    pub waiting: Cell<usize>,
    /// Copies of requests that are under way to mirrors.
    pub mirrors: Cell<usize>,
    /// Bodies that are being compressed or decompressed.
    pub codings: Arc<AtomicUsize>,
    /// Bytes of bodies that are held until they have been looked at.
    pub held: Arc<AtomicUsize>,
    /// Who may look at long ones at the same time.
    pub looks: Arc<Semaphore>,
    /// Timers of its tries.
    pub timers: Timers,
    /// What callers are called, for those seen last.
    pub stamps: RefCell<Stamps>,
    snapshot: RefCell<Arc<Snapshot>>,
    pools: RefCell<HashMap<u64, Arc<Pool>>>,
    /// Connections that belong to one client.
    private: RefCell<Private>,
    services: RefCell<Vec<Service>>,
    touched: Arc<Notify>,
    drivers: RefCell<JoinSet<()>>,
    me: Weak<Worker>,
}

/// Pools of one client's connections to an instance.
type Private = HashMap<(u64, Option<Ends>), Arc<Pool>>;

/// What a worker remembers of a service.
struct Service {
    budget: Budget,
    turn: u64,
    /// How long its answers took lately; only where somebody asks.
    latency: Option<Quantile>,
}

impl Worker {
    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The same for a look that ends before anything else runs: without counting who holds it.
    pub fn view(&self) -> Ref<'_, Snapshot> {
        Ref::map(self.snapshot.borrow(), |snapshot| &**snapshot)
    }

    /// The engine's clock.
    pub fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// The connections to an endpoint.
    pub fn pool(&self, endpoint: &Arc<Endpoint>) -> Arc<Pool> {
        if let Some(pool) = self.pools.borrow().get(&endpoint.uid) {
            return Arc::clone(pool);
        }
        let metrics = Arc::clone(&self.shared.metrics);
        let pool = Arc::new(Pool::new(Arc::clone(endpoint), metrics, Arc::clone(&self.touched)));
        self.pools.borrow_mut().insert(endpoint.uid, Arc::clone(&pool));
        pool
    }

    /// The connections to an endpoint for one client: its own, where connections say whom they are for.
    pub fn pool_for(&self, endpoint: &Arc<Endpoint>, client: impl FnOnce() -> Option<Ends>) -> Arc<Pool> {
        match &endpoint.carrier {
            Some(carrier) if carrier.is_private() => self.private(endpoint, client()),
            _ => self.pool(endpoint),
        }
    }

    fn private(&self, endpoint: &Arc<Endpoint>, client: Option<Ends>) -> Arc<Pool> {
        let mut pools = self.private.borrow_mut();
        if let Some(pool) = pools.get(&(endpoint.uid, client)) {
            pool.touch();
            return Arc::clone(pool);
        }
        let (metrics, touched) = (Arc::clone(&self.shared.metrics), Arc::clone(&self.touched));
        let pool = Arc::new(Pool::private(Arc::clone(endpoint), metrics, touched, client));
        if pools.len() < limits::PRIVATE_POOLS {
            pools.insert((endpoint.uid, client), Arc::clone(&pool));
            self.touched.notify_one();
        }
        pool
    }

    /// A request begins: the service's budget grows, and its turn is told.
    pub fn begin(&self, slot: Slot) -> u64 {
        let mut services = self.services.borrow_mut();
        self.grow(&mut services, slot);
        services.get_mut(slot).map_or(0, |service| {
            service.budget.deposit();
            service.turn += 1;
            service.turn
        })
    }

    /// Whether the service's budget allows a retry.
    pub fn may_retry(&self, slot: Slot) -> bool {
        let mut services = self.services.borrow_mut();
        self.grow(&mut services, slot);
        services.get_mut(slot).is_some_and(|service| service.budget.withdraw(self.now()))
    }

    /// An answer of the service took so long, on a route that hedges.
    pub fn observe_latency(&self, slot: Slot, took: Duration) {
        if let Some(service) = self.services.borrow_mut().get_mut(slot) {
            service.latency.get_or_insert_default().observe(took);
        }
    }

    /// How long `share` of the service's recent answers took at most, if that is known.
    pub fn latency(&self, slot: Slot, share: f64) -> Option<Duration> {
        self.services.borrow().get(slot)?.latency.as_ref()?.at(share)
    }

    /// This worker, for what outlives the request that began it; `None` while it ends.
    pub fn strong(&self) -> Option<Rc<Worker>> {
        self.me.upgrade()
    }

    /// Runs an HTTP/2 connection's driver as long as the worker lives.
    pub fn own(&self, driver: Driver) {
        self.spawn(driver);
    }

    /// Runs work that belongs to no request as long as the worker lives.
    pub fn spawn(&self, driver: impl Future<Output = ()> + 'static) {
        let mut drivers = self.drivers.borrow_mut();
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(driver);
    }

    /// Takes over how many retries services get.
    fn adjust(&self, snapshot: &Snapshot) {
        for (service, cluster) in self.services.borrow_mut().iter_mut().zip(snapshot.clusters.iter()) {
            service.budget.adjust(cluster.retries);
        }
    }

    fn grow(&self, services: &mut Vec<Service>, slot: Slot) {
        while services.len() <= slot.min(limits::CLUSTERS) {
            let rule = self.snapshot.borrow().clusters.get(services.len()).map(|cluster| cluster.retries);
            let budget = Budget::new(rule.unwrap_or_default(), self.now());
            // Workers start at different places, or all would choose the same instance at the same time.
            services.push(Service { budget, turn: self.index as u64, latency: None });
        }
    }
}

/// A listener being served.
struct Running {
    plan: Rc<RefCell<Arc<ListenerPlan>>>,
    drainer: Drainer,
    /// Ends when the socket is closed.
    closed: oneshot::Receiver<()>,
}

/// Runs a worker on this thread until it is drained.
pub async fn run(
    index: usize,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
    mut commands: mpsc::Receiver<Command>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
) {
    let worker = Rc::new_cyclic(|me| Worker {
        index,
        rng: Rng::from_entropy(),
        recorder,
        adopted: Notify::new(),
        waiting: Cell::new(0),
        stamps: RefCell::default(),
        timers: Timers::default(),
        snapshot: RefCell::new(Arc::new(Snapshot::empty())),
        pools: RefCell::default(),
        private: RefCell::default(),
        services: RefCell::default(),
        touched: Arc::new(Notify::new()),
        drivers: RefCell::default(),
        mirrors: Cell::new(0),
        codings: Arc::default(),
        held: Arc::default(),
        looks: Arc::new(Semaphore::new(limits::OPENAPI_LOOKS)),
        me: me.clone(),
        shared,
    });
    let mut state = Listeners {
        worker: Rc::clone(&worker),
        bound: HashMap::new(),
        running: HashMap::new(),
        bound_http3: HashMap::new(),
        http3: HashMap::new(),
        leaving: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let mut chores = JoinSet::new();
    let recorder = Arc::clone(&worker.recorder);
    chores.spawn_local(async move { recorder.feed.keep_flushing(HOUSEKEEPING).await });
    chores.spawn_local(sweep_pools(Rc::clone(&worker)));
    let patience = loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Drain(patience)) => break patience,
                None => break Duration::ZERO,
                Some(command) => state.obey(command).await,
            },
            changed = snapshots.changed() => match changed {
                Ok(()) => {
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    state.adopt(snapshot).await;
                }
                Err(_) => break Duration::ZERO,
            },
            Some(ended) = state.tasks.join_next() => log_panic(ended),
        }
    };
    state.drain(patience).await;
    chores.shutdown().await;
    let mut drivers = worker.drivers.take();
    drivers.shutdown().await;
    worker.recorder.feed.flush();
}

/// A worker's sockets and what serves them.
struct Listeners {
    worker: Rc<Worker>,
    bound: HashMap<u64, Listener>,
    running: HashMap<u64, Running>,
    bound_http3: HashMap<u64, h3::Endpoint>,
    /// What serves HTTP/3 beside listeners, by their keys.
    http3: HashMap<u64, Running>,
    /// Sockets of HTTP/3 that are not wanted any more, and are open as long as connections need them.
    leaving: HashMap<SocketAddr, Running>,
    tasks: JoinSet<()>,
}

impl Listeners {
    async fn obey(&mut self, command: Command) {
        let bind = |address, reuse_port| {
            Listener::bind(&Addr::Tcp(address), &ListenOptions { reuse_port, ..ListenOptions::default() })
        };
        match command {
            Command::Bind { key, address, done } => {
                let made = bind(address, true).and_then(|listener| {
                    let local =
                        listener.socket_addr().ok_or_else(|| std::io::Error::other("not a TCP socket"))?;
                    self.bound.insert(key, listener);
                    Ok(local)
                });
                // Whoever asked may have given up.
                let _ = done.send(made);
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

    async fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        let worker = &Rc::clone(&self.worker);
        if snapshot.generation <= worker.snapshot.borrow().generation {
            return;
        }
        let before = worker.snapshot.replace(Arc::clone(&snapshot));
        if !Arc::ptr_eq(&before.clusters, &snapshot.clusters) {
            worker.adjust(&snapshot);
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
                let listener = listener.guarded(guard);
                self.running.insert(plan.key, Running { plan: Rc::clone(&plan_cell), drainer, closed });
                self.tasks.spawn_local(accept::run(Rc::clone(worker), plan_cell, listener, signal));
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
                self.http3.insert(plan.key, Running { plan: Rc::clone(&plan_cell), drainer, closed });
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
            if let Some(running) = self.running.remove(&key) {
                running.drainer.drain(self.worker.shared.options.drain_patience);
                // The guard is never used to send: its end is the word.
                let _ = running.closed.await;
            }
        }
    }

    async fn drain(mut self, patience: Duration) {
        self.bound.clear();
        self.bound_http3.clear();
        for running in self.running.values().chain(self.http3.values()).chain(self.leaving.values()) {
            running.drainer.drain(patience);
        }
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(ended);
        }
        // Nothing is chosen any more.
        self.worker.shared.adopted(self.worker.index, u64::MAX);
    }
}

/// Closes connections to endpoints that take no traffic any more.
fn close_pools(worker: &Worker, snapshot: &Snapshot) {
    let (mut pools, mut private) = (worker.pools.borrow_mut(), worker.private.borrow_mut());
    if pools.is_empty() && private.is_empty() {
        return;
    }
    let ready: std::collections::HashSet<u64> =
        snapshot.clusters.iter().flat_map(|cluster| &cluster.ready).map(|endpoint| endpoint.uid).collect();
    let keep = |uid: &u64, pool: &Pool| {
        let kept = ready.contains(uid);
        if !kept {
            pool.close();
        }
        kept
    };
    pools.retain(|uid, pool| keep(uid, pool));
    private.retain(|(uid, _), pool| keep(uid, pool));
}

async fn sweep_pools(worker: Rc<Worker>) {
    loop {
        worker.touched.notified().await;
        let mut left = true;
        while left {
            tokio::time::sleep(HOUSEKEEPING).await;
            let now = Instant::now();
            left = worker.pools.borrow().values().fold(false, |left, pool| pool.sweep(now) | left);
            let mut private = worker.private.borrow_mut();
            private.retain(|_, pool| pool.sweep(now) | pool.is_wanted(now));
            left |= !private.is_empty();
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a listener's task ended badly");
    }
}
