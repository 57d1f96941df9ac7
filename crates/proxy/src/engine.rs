//! The engine: starts the workers, and makes snapshots of what the configuration and the catalog say.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tutti_core::{ServiceName, limits};
use tutti_ports::catalog::{AppProtocol, Catalog, View};
use tutti_ports::certificates::Certificates;
use tutti_ports::rate::RateStore;
use tutti_ports::routing::{Backend, Routing};

use crate::access_log::{self, Opened};
use crate::changes::{Change, Changing, Step};
use crate::clients::Clients;
use crate::config::{Key, Options, Patience};
use crate::control::Control;
use crate::error::ApplyError;
use crate::explain::diary::Diary;
use crate::guard::auth::keyring::{Keeper, Keyrings};
use crate::guard::store::LocalStore;
use crate::handle::Handle;
use crate::handover::{Front, Inherited};
use crate::metrics::Metrics;
use crate::openapi::document::Document;
use crate::phase::record::Recorder;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Sources;
use crate::snapshot::plan::Compiler;
use crate::transport;
use crate::upstream::carrier::InForce;
use crate::worker::{self, Command};

/// Commands that wait for one worker.
const COMMANDS: usize = 64;

/// What all workers and handles share.
pub struct Shared {
    /// The settings.
    pub options: Options,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Who is asked about instances, and told of suspicions.
    pub catalog: Arc<dyn Catalog>,
    /// Who counts requests against limits of rate.
    pub rates: Arc<dyn RateStore>,
    /// Who keeps certificates, if somebody does.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// The beginning of the engine's clock.
    pub origin: Instant,
    /// The connections of each client.
    pub clients: Arc<Clients>,
    /// What each worker remembers of its requests.
    pub(crate) diaries: Vec<Arc<Diary>>,
    pub(crate) control: tokio::sync::Mutex<Control>,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) links: Vec<mpsc::Sender<Command>>,
    adopted: Vec<AtomicU64>,
    adoption: Notify,
    /// Ends the control thread, and refuses changes from then on.
    pub(crate) closed: watch::Sender<bool>,
    /// How connections to services begin.
    pub(crate) in_force: Arc<InForce>,
    /// What another process has given.
    pub(crate) inherited: Inherited,
}

/// The running data plane. Its threads end, and are joined, with [`Proxy::shutdown`] or when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts the workers and serves `routing`. Answers when every listener is bound and served. `certificates` are shown
    /// by listeners of TLS besides those of their own files.
    pub async fn start(
        options: Options,
        routing: Routing,
        catalog: Arc<dyn Catalog>,
        certificates: Option<Arc<dyn Certificates>>,
    ) -> Result<(Proxy, Handle), ApplyError> {
        Self::begin(options, routing, catalog, certificates, (0, Inherited::nothing())).await
    }

    /// The same with the sockets of another process, which [`Handle::front`] has given there; they are served from
    /// [`Handle::open_gates`] on.
    pub async fn take_over(
        options: Options,
        routing: Routing,
        catalog: Arc<dyn Catalog>,
        certificates: Option<Arc<dyn Certificates>>,
        (front, sockets): (Front, Vec<OwnedFd>),
    ) -> Result<(Proxy, Handle), ApplyError> {
        let short = |source| ApplyError::Start { what: "the edge".to_owned(), source };
        let inherited = Inherited::of(&front, sockets).map_err(short)?;
        let options = Options { workers: front.workers, sticky_key: Key::new(front.sticky_key), ..options };
        Self::begin(options, routing, catalog, certificates, (front.generation, inherited)).await
    }

    async fn begin(
        options: Options,
        routing: Routing,
        catalog: Arc<dyn Catalog>,
        certificates: Option<Arc<dyn Certificates>>,
        (generation, inherited): (u64, Inherited),
    ) -> Result<(Proxy, Handle), ApplyError> {
        let metrics = Arc::<Metrics>::default();
        let start = |what: &str| {
            let what = what.to_owned();
            move |source| ApplyError::Start { what, source }
        };
        let mut helpers = Vec::new();
        let (log, thread) = access_log::start(Arc::clone(&metrics)).map_err(start("a thread"))?;
        helpers.push(thread);
        let (links, inboxes): (Vec<_>, Vec<_>) =
            (0..options.workers.max(1)).map(|_| mpsc::channel(COMMANDS)).unzip();
        let view = Arc::clone(&catalog.watch().borrow());
        let transports = transport::Book::new(certificates.clone());
        let keeper = Keeper::new().map_err(start("a thread"))?;
        let keyrings = Keyrings::new(keeper.runtime(), catalog.watch());
        let (changes, inbox) = mpsc::channel(limits::CHANGES_AT_ONCE);
        let shared = Arc::new(Shared {
            adopted: links.iter().map(|_| AtomicU64::new(0)).collect(),
            rates: match &options.rates {
                Some(rates) => Arc::clone(rates),
                None => Arc::new(LocalStore::new(Arc::clone(&metrics))),
            },
            options,
            metrics: Arc::clone(&metrics),
            catalog,
            certificates,
            origin: Instant::now(),
            clients: Arc::default(),
            diaries: links.iter().map(|_| Arc::new(Diary::among(links.len()))).collect(),
            control: tokio::sync::Mutex::new(Control {
                keyrings,
                generation,
                ..Control::new(view, transports)
            }),
            changes,
            snapshots: watch::channel(Arc::new(Snapshot::empty())).0,
            links,
            adoption: Notify::new(),
            closed: watch::channel(false).0,
            in_force: Arc::default(),
            inherited,
        });
        helpers.push(keeper.run(shared.closed.subscribe()).map_err(start("a thread"))?);
        let mut proxy = Proxy { shared: Arc::clone(&shared), workers: Vec::new(), helpers };
        proxy.launch(log, inboxes, Changing::new(inbox)).map_err(start("a thread"))?;
        let handle = Handle::new(shared);
        handle.apply(routing).await?;
        proxy.shared.inherited.settle();
        Ok((proxy, handle))
    }

    /// Stops accepting, finishes what is under way for at most [`Options::drain_patience`], cuts the rest, and ends
    /// every thread.
    pub async fn shutdown(self) {
        let patience = Patience::of(self.shared.options.drain_patience);
        self.shutdown_within(patience).await;
    }

    /// The same with another patience.
    pub async fn shutdown_within(mut self, patience: Patience) {
        self.shared.close(patience).await;
        self.shared.all_adopted(u64::MAX).await;
        self.join();
    }

    /// Takes the log by value: the log's thread ends only when nobody can write to it any more.
    fn launch(
        &mut self,
        log: Opened,
        inboxes: Vec<mpsc::Receiver<Command>>,
        changing: Changing,
    ) -> std::io::Result<()> {
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let Some(diary) = self.shared.diaries.get(index) else { continue };
            let (metrics, origin) = (Arc::clone(&self.shared.metrics), self.shared.origin);
            let recorder = Arc::new(Recorder::new(log.clone(), Arc::clone(diary), origin, metrics));
            self.workers.push(spawn_worker(index, Arc::clone(&self.shared), recorder, inbox)?);
        }
        self.helpers.push(spawn_control(Arc::clone(&self.shared), changing)?);
        Ok(())
    }

    fn join(&mut self) {
        for thread in self.workers.drain(..).chain(self.helpers.drain(..)) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(thread = name, "a thread of the proxy ended by a panic");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for link in &self.shared.links {
            // Full or gone: a worker that is gone needs no word, and a full inbox is read in a moment.
            let _ = link.try_send(Command::Drain(Patience::of(Duration::ZERO)));
        }
        self.shared.closed.send_replace(true);
        self.join();
    }
}

fn spawn_worker(
    index: usize,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
    inbox: mpsc::Receiver<Command>,
) -> std::io::Result<JoinHandle<()>> {
    let snapshots = shared.snapshots.subscribe();
    let (ready, begun) = std::sync::mpsc::sync_channel(1);
    // A local runtime cannot move to another thread, so it is made there, and its maker waits to hear how that went.
    let thread = std::thread::Builder::new().name(format!("tutti-worker-{index}")).spawn(move || {
        // However it ends, nobody waits for it in vain.
        let _gone = Gone { index, shared: Arc::clone(&shared) };
        let made = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        match made {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(worker::run(index, shared, recorder, inbox, snapshots));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    begun.recv().unwrap_or_else(|_| Err(std::io::Error::other("the thread ended at once")))?;
    Ok(thread)
}

struct Gone {
    index: usize,
    shared: Arc<Shared>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.shared.adopted(self.index, u64::MAX);
    }
}

/// How far the making of snapshots stands back (see setpriority(2)): a change may wait for a request, which is over in a fraction of a
/// millisecond, and no request for a change. It still gets a tenth of a processor that is never idle.
#[cfg(target_os = "linux")]
const CONTROL_NICE: i32 = 10;

/// The thread that makes snapshots: it takes changes, follows the catalog, and looks at files of certificates.
fn spawn_control(shared: Arc<Shared>, mut changing: Changing) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("tutti-proxy-control".to_owned()).spawn(move || {
        // On Linux that is this thread alone. Nobody may forbid it; if somebody does, it is as it was.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, CONTROL_NICE);
        runtime.block_on(async {
            let mut views = shared.catalog.watch();
            let mut closed = shared.closed.subscribe();
            let mut look =
                tokio::time::interval(shared.options.certificate_look.max(Duration::from_millis(1)));
            look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut followed = true;
            let mut reading: Option<tokio::task::JoinHandle<()>> = None;
            loop {
                let view = Arc::clone(&views.borrow_and_update());
                shared.follow(view).await;
                tokio::select! {
                    _ = closed.wait_for(|closed| *closed) => return,
                    // If the catalog is gone, what was last known stays in force.
                    changed = views.changed(), if followed => followed = changed.is_ok(),
                    step = changing.next() => match step {
                        Step::Change(change) => changing.take(&shared, change).await,
                        Step::Clear => changing.clear(&shared).await,
                    },
                    _ = look.tick() => {
                        let documents = shared.look().await;
                        // Descriptions may be large, so nobody waits for them to be read.
                        if !documents.is_empty()
                            && reading.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
                        {
                            let read = move || documents.iter().for_each(|one| one.refresh());
                            reading = Some(tokio::task::spawn_blocking(read));
                        }
                    }
                }
            }
        });
    })
}

impl Shared {
    /// A worker has adopted a snapshot.
    pub fn adopted(&self, worker: usize, generation: u64) {
        if let Some(adopted) = self.adopted.get(worker) {
            adopted.store(generation, Ordering::SeqCst);
            self.adoption.notify_waiters();
        }
    }

    /// Waits until every worker has adopted a snapshot at least as new.
    pub async fn all_adopted(&self, generation: u64) {
        loop {
            let mut adoption = std::pin::pin!(self.adoption.notified());
            adoption.as_mut().enable();
            if self.is_adopted(generation) {
                return;
            }
            adoption.await;
        }
    }

    /// Whether every worker has.
    pub(crate) fn is_adopted(&self, generation: u64) -> bool {
        self.adopted.iter().all(|adopted| adopted.load(Ordering::SeqCst) >= generation)
    }

    /// Looks whether there are other certificates: they are shown at once, and are a generation of their own.
    async fn look(&self) -> Vec<Arc<Document>> {
        let mut control = self.control.lock().await;
        let version = self.certificates.as_ref().map_or(0, |certificates| certificates.version());
        let (mut changed, carried) = control.transports.refresh(&self.metrics);
        changed |= !carried.is_empty() | (version != control.certificates);
        control.certificates = version;
        for (name, transport) in carried {
            for edge in control.edge.iter_mut().filter(|edge| edge.listener.name == name) {
                Arc::make_mut(&mut edge.plan).transport = Some(Arc::clone(&transport));
            }
        }
        if control.carriers.refresh(&self.metrics) {
            let carriers = control.carriers.by_service();
            self.in_force.set(carriers.clone());
            control.clusters.carry(carriers);
            changed = true;
        }
        control.keyrings.refresh(&self.metrics);
        if changed {
            self.publish(&mut control);
        }
        control.documents.all()
    }

    /// Takes a newer view into force; an older one is ignored.
    async fn follow(&self, view: Arc<View>) {
        let mut control = self.control.lock().await;
        if view.generation > control.view.generation {
            control.view = view;
            self.publish(&mut control);
        }
    }

    /// Opens a door, or says where it is.
    pub(crate) async fn open(
        &self,
        service: &ServiceName,
        port: u16,
        protocol: AppProtocol,
        sockets: Option<Vec<OwnedFd>>,
    ) -> Result<SocketAddr, ApplyError> {
        let mut control = self.control.lock().await;
        if *self.closed.borrow() {
            return Err(ApplyError::Closed);
        }
        if let Some(plan) = control.doors.get(&(service.clone(), port)) {
            return Ok(plan.address);
        }
        if control.doors.len() + control.edge.len() >= limits::LISTENERS {
            return Err(ApplyError::TooMany(limits::LISTENERS));
        }
        control.keys += 1;
        let key = control.keys;
        let name = format!("door:{service}:{port}");
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = match sockets {
            Some(sockets) => self.adopt(key, sockets).await,
            None => self.bind(key, bind, false).await,
        };
        let address =
            bound.map_err(|source| ApplyError::Bind { listener: name.clone(), address: bind, source })?;
        let backend = Backend::new(service.clone(), port, protocol);
        let Control { clusters, doors, keyrings, documents, made, .. } = &mut *control;
        let (metrics, options) = (&self.metrics, &self.options);
        let mut compiler = Compiler { clusters, metrics, options, keyrings, documents, made, identity: None };
        doors.insert((service.clone(), port), Arc::new(compiler.door(&name, &backend, key, address)?));
        self.inherited.carries(service, port, protocol);
        let generation = self.publish(&mut control);
        drop(control);
        self.all_adopted(generation).await;
        Ok(address)
    }

    /// Stops everything.
    async fn close(&self, patience: Patience) {
        self.closed.send_replace(true);
        for link in &self.links {
            // A worker that is gone has nothing to drain.
            let _ = link.send(Command::Drain(patience)).await;
        }
    }

    pub(crate) fn publish(&self, control: &mut Control) -> u64 {
        control.generation += 1;
        let Control { clusters, view, .. } = control;
        let sources = Sources { view, options: &self.options, now: self.origin.elapsed() };
        let clusters = clusters.compile(&sources);
        let snapshot = Snapshot {
            generation: control.generation,
            view: Arc::clone(&control.view),
            keys: control.keys,
            routes: control.routes,
            explain: control.explain.clone(),
            log: control.log.clone(),
            listeners: control
                .edge
                .iter()
                .map(|edge| &edge.plan)
                .chain(control.doors.values())
                .cloned()
                .collect(),
            clusters,
        };
        self.metrics.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.snapshots.send_replace(Arc::new(snapshot));
        control.generation
    }
}
