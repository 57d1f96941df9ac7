//! A worker: one thread, one runtime, its own sockets, its own connections to the instances.
//!
//! It adopts each snapshot in one step between two requests. What it counts and chooses happens in the
//! snapshot it has adopted, without a pause in between; so once it says "adopted", it chooses nothing older.

mod listeners;

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tutti_core::limits;
use tutti_core::random::Rng;

use crate::config::Patience;
use crate::engine::Shared;
use crate::model::quantile::Quantile;
use crate::phase::identify::Stamps;
use crate::phase::record::Recorder;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Slot;
use crate::timers::Timers;
use crate::upstream::carrier::Ends;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Driver, Pool};
use listeners::Listeners;

/// How long a line may lie in a worker's buffer, and how often idle connections are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

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
    /// Take a socket that listens already, to be served likewise. Answers where.
    Adopt {
        /// The key.
        key: u64,
        /// The socket.
        socket: OwnedFd,
        /// The answer.
        done: oneshot::Sender<std::io::Result<std::net::SocketAddr>>,
    },
    /// Give the sockets that are served once more, by their keys.
    Duplicate {
        /// The answer.
        done: oneshot::Sender<std::io::Result<HashMap<u64, OwnedFd>>>,
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
    Drain(Patience),
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
    pools: RefCell<BTreeMap<u64, Arc<Pool>>>,
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
    /// Requests that the service's budget has not been told of.
    requests: u64,
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

    /// Whether a request to an endpoint would have to wait for a stream on this worker's connections. Costs one read where nobody has had to.
    pub fn is_full(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_crowded() && self.pools.borrow().get(&endpoint.uid).is_some_and(|pool| pool.is_full())
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
        let Some(service) = services.get_mut(slot) else { return 0 };
        service.turn += 1;
        service.requests += 1;
        if service.requests >= limits::RETRY_BATCH {
            self.tell_budget(slot, std::mem::take(&mut service.requests));
        }
        service.turn
    }

    /// What all workers share is touched once for several requests.
    fn tell_budget(&self, slot: Slot, requests: u64) {
        if let Some(cluster) = self.view().clusters.get(slot) {
            cluster.guard.count(requests);
        }
    }

    /// Whether the service's budget allows a retry.
    pub fn may_retry(&self, slot: Slot) -> bool {
        let untold =
            self.services.borrow_mut().get_mut(slot).map(|service| std::mem::take(&mut service.requests));
        self.tell_budget(slot, untold.unwrap_or(0));
        let snapshot = self.view();
        snapshot
            .clusters
            .get(slot)
            .is_some_and(|cluster| cluster.guard.may_retry(cluster.retries, self.now()))
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

    fn grow(&self, services: &mut Vec<Service>, slot: Slot) {
        while services.len() <= slot.min(limits::CLUSTERS) {
            // Workers start at different places, or all would choose the same instance at the same time.
            services.push(Service { requests: 0, turn: self.index as u64, latency: None });
        }
    }
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
    let mut state = Listeners::new(Rc::clone(&worker));
    let mut chores = JoinSet::new();
    let recorder = Arc::clone(&worker.recorder);
    chores.spawn_local(async move { recorder.feed.keep_flushing(HOUSEKEEPING).await });
    chores.spawn_local(sweep_pools(Rc::clone(&worker)));
    let patience = loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Drain(patience)) => break patience,
                None => break Patience::of(Duration::ZERO),
                Some(command) => state.obey(command).await,
            },
            changed = snapshots.changed() => match changed {
                Ok(()) => {
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    state.adopt(snapshot).await;
                }
                Err(_) => break Patience::of(Duration::ZERO),
            },
            Some(ended) = state.tasks.join_next() => log_panic(ended),
        }
    };
    state.drain(patience, &mut commands).await;
    chores.shutdown().await;
    let mut drivers = worker.drivers.take();
    drivers.shutdown().await;
    worker.recorder.feed.flush();
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
