//! The supervisor itself: one loop that feeds the state machine and carries out what it says.
//!
//! Everything else runs in tasks that belong to the loop's `JoinSet`: one for each instance, one for each
//! setup, one for the keeper. They tell the loop facts; only the loop touches the machine.

mod act;
mod elsewhere;
mod handover;
mod instance;
mod reload;
mod shared;
mod status;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tutti_core::random::Rng;
use tutti_core::{InstanceId, ServiceName};
use tutti_model::app::Application;
use tutti_ports::catalog::View;

use crate::driver::Driver;
use crate::driver::ports::PortsDriver;
use crate::error::SupervisorError;
use crate::handle::Handle;
use crate::keeper::{Keeper, KeeperLoop, sweep};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::model::{Dep, Failure, InstanceKey, Machine, Place, Spec};
use crate::options::{Deps, Options};
use crate::plans::Plans;
use crate::setup::{DriverRunner, Progress, Setup};
use crate::stats::Stats;
use crate::status::{Exit, Status};
pub use handover::{Estate, Handed};
pub(crate) use instance::InstanceOrder;
pub(crate) use reload::Current;
pub use reload::Reloaded;
pub(crate) use shared::Shared;

/// Most replicas of one service: what fits the ports that are given out, many times over.
pub(crate) const MOST_REPLICAS: u32 = 200;

const COMMANDS: usize = 64;
const FACTS: usize = 1024;

/// What a handle asks for.
pub(crate) enum Command {
    Up { services: Vec<ServiceName>, dependencies: bool, reply: Reply },
    Stop { services: Vec<ServiceName>, grace: Option<Duration>, reply: Reply },
    Restart { services: Vec<ServiceName>, grace: Option<Duration>, reply: Reply },
    Scale { service: ServiceName, replicas: u32, reply: Reply },
    Sample { reply: Reply },
    Reload { application: Arc<Application>, reply: oneshot::Sender<Result<Reloaded, SupervisorError>> },
    HandOver { reply: oneshot::Sender<Result<handover::HandedOver, SupervisorError>> },
    Shutdown { grace: Option<Duration> },
    Kill,
}

pub(crate) type Reply = oneshot::Sender<Result<(), SupervisorError>>;

/// What a task tells the loop.
pub(crate) enum Fact {
    /// It listens elsewhere than it was told; `alone`: at a port that only one can have.
    Elsewhere {
        key: InstanceKey,
        text: String,
        alone: bool,
    },
    /// Setup ended.
    SetupDone {
        service: ServiceName,
        outcome: Result<(), Failure>,
    },
    Started {
        key: InstanceKey,
        pid: u32,
    },
    Drained {
        key: InstanceKey,
        cut_off: u64,
    },
    Exited {
        key: InstanceKey,
        exit: Exit,
        lasting: bool,
    },
    Sampled(Option<Reply>),
}

/// Runs an application's services. Make it with [`Supervisor::new`], then run it.
pub struct Supervisor {
    shared: Arc<Shared>,
    machine: Machine,
    commands: mpsc::Receiver<Command>,
    facts: mpsc::Receiver<Fact>,
    progress: mpsc::Receiver<Progress>,
    tell: mpsc::Sender<Fact>,
    status: watch::Sender<Arc<Status>>,
    tasks: JoinSet<()>,
    instances: HashMap<InstanceKey, mpsc::UnboundedSender<InstanceOrder>>,
    setups: HashMap<ServiceName, oneshot::Sender<()>>,
    view: watch::Receiver<Arc<View>>,
    writer: std::thread::JoinHandle<()>,
    keeper: tokio::task::JoinHandle<io::Result<()>>,
    closing: bool,
    /// No handle is left.
    deaf: bool,
}

/// What a supervisor is made of, besides its keeper.
struct Parts {
    deps: Deps,
    application: Arc<Application>,
    options: Options,
    metrics: Arc<Metrics>,
}

impl Supervisor {
    /// Ends what an earlier run left in the data directory, starts the keeper, and gives the supervisor with its
    /// handle. Nothing of the application is started yet. Must be called inside a runtime; blocks shortly.
    pub fn new(
        deps: Deps,
        application: Arc<Application>,
        options: Options,
    ) -> Result<(Self, Handle), SupervisorError> {
        let run = clear_data_dir(&options)?;
        let metrics = Arc::new(Metrics::default());
        let (keeper, keeper_loop) = Keeper::start(options.keeper.clone(), &run, Arc::clone(&metrics))
            .map_err(SupervisorError::Keeper)?;
        Self::build(Parts { deps, application, options, metrics }, keeper, keeper_loop)
    }

    fn build(
        Parts { deps, application, options, metrics }: Parts,
        keeper: Keeper,
        keeper_loop: KeeperLoop,
    ) -> Result<(Self, Handle), SupervisorError> {
        let options = Arc::new(options);
        let (events, _) = broadcast::channel(shared::EVENTS);
        let (logs, writer) = open_logs(&application, &options, &events, &metrics)?;
        let plans = Arc::new(Plans::default());
        let current = Arc::new(Current::new(Arc::clone(&application)));
        let (door, planned) = (Arc::clone(&deps.door), Arc::clone(&plans));
        let driver =
            PortsDriver::new(Arc::clone(&current), Arc::clone(&options), door, keeper.clone(), planned);
        let driver: Arc<dyn Driver> = Arc::new(driver);
        let (setup, progress) = make_setup(&options, &driver);
        let machine = Machine::new(
            application.services.values().map(spec).collect(),
            options.backoff,
            options.ready_timeout,
            Rng::from_entropy(),
        );
        let view = deps.catalog.watch();
        let shared = Arc::new(Shared {
            deps,
            current,
            options,
            driver,
            keeper,
            logs: Arc::new(logs),
            stats: Stats::default(),
            events,
            plans,
            setup,
            metrics,
            live: Mutex::default(),
            rewrites: Mutex::default(),
            runs: AtomicU32::new(0),
            standings: Mutex::default(),
        });
        let writer = std::thread::Builder::new().name("tutti-logs".to_owned()).spawn(move || writer.run());
        let writer = writer.map_err(SupervisorError::Keeper)?;
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (tell, facts) = mpsc::channel(FACTS);
        let (status, watch) = watch::channel(Arc::new(Status::default()));
        let handle = Handle {
            commands: sender,
            status: watch,
            events: shared.events.clone(),
            shared: Arc::clone(&shared),
        };
        let keeper = tokio::spawn(keeper_loop.run());
        let mut supervisor = Self {
            shared,
            machine,
            commands,
            facts,
            progress,
            tell,
            status,
            tasks: JoinSet::new(),
            instances: HashMap::new(),
            setups: HashMap::new(),
            view,
            writer,
            keeper,
            closing: false,
            deaf: false,
        };
        supervisor.publish();
        Ok((supervisor, handle))
    }

    /// Runs until [`Handle::shutdown`] or [`Handle::kill`], or until no handle is left. When it returns, nothing that it
    /// started runs any more.
    pub async fn run(mut self) -> Result<(), SupervisorError> {
        act::register_external(Arc::clone(&self.shared)).await;
        let mut sampling = self.sampling();
        while !(self.closing && self.machine.is_idle() && self.tasks.is_empty()) {
            let deadline = self.machine.next_deadline();
            let now = self.now();
            tokio::select! {
                command = self.commands.recv(), if !self.deaf => match command {
                    Some(Command::HandOver { reply }) => if self.hand_over(reply).await {
                        return self.leave().await;
                    },
                    command => self.command(command),
                },
                Some(fact) = self.facts.recv() => self.fact(fact),
                Some(progress) = self.progress.recv() => self.progress(progress),
                changed = self.view.changed() => match changed {
                    Ok(()) => self.look_at_health(),
                    Err(_) => self.begin_shutdown(),
                },
                () = sleep_until(deadline, now) => {}
                _ = sampling.tick(), if !self.shared.options.stats_interval.is_zero() => self.sample(None),
                Some(_) = self.tasks.join_next() => {}
            }
            self.drain_facts();
            let actions = self.machine.step(self.now());
            self.act(actions);
            self.publish();
        }
        self.end().await
    }

    fn drain_facts(&mut self) {
        while let Ok(progress) = self.progress.try_recv() {
            self.progress(progress);
        }
        while let Ok(fact) = self.facts.try_recv() {
            self.fact(fact);
        }
    }

    async fn end(self) -> Result<(), SupervisorError> {
        self.shared.keeper.close().await;
        let kept = self.keeper.await.map_err(io::Error::other).and_then(|result| result);
        self.shared.logs.close().await;
        let writer = self.writer;
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        kept.map_err(SupervisorError::Keeper)
    }

    fn sampling(&self) -> tokio::time::Interval {
        let every = self.shared.options.stats_interval.max(Duration::from_millis(100));
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }

    fn now(&self) -> Duration {
        self.shared.deps.clock.monotonic()
    }
}

/// Makes the data directory and ends what an earlier run left in it. Answers the name of its runs.
fn clear_data_dir(options: &Options) -> Result<String, SupervisorError> {
    let path = options.data_dir.clone();
    std::fs::create_dir_all(&path).map_err(|source| SupervisorError::DataDir { path, source })?;
    let run = sweep::run_name(&options.data_dir);
    let swept = sweep::sweep(&run).map_err(|pids| SupervisorError::Leftovers { pids })?;
    if swept > 0 {
        tracing::info!(processes = swept, "ended processes of an earlier run");
    }
    Ok(run)
}

async fn sleep_until(deadline: Option<Duration>, now: Duration) {
    match deadline {
        Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
        None => std::future::pending().await,
    }
}

fn make_setup(
    options: &Options,
    driver: &Arc<dyn Driver>,
) -> (Setup<DriverRunner>, mpsc::Receiver<Progress>) {
    let env = crate::environment::inherited(&options.operator_env);
    let runner = Arc::new(DriverRunner { driver: Arc::clone(driver), env });
    let (sender, progress) = mpsc::channel(FACTS);
    let folder = options.data_dir.join("setup");
    (Setup::new(runner, folder, options.setup_parallel, options.rebuild, sender), progress)
}

fn open_logs(
    application: &Application,
    options: &Options,
    events: &broadcast::Sender<Arc<crate::event::Event>>,
    metrics: &Arc<Metrics>,
) -> Result<(Logs, crate::logs::Writer), SupervisorError> {
    let folder = options.data_dir.join("logs");
    let events = events.clone();
    let notice = move |service: &ServiceName, text: String| {
        tracing::warn!(%service, "{text}");
        shared::tell(&events, service, crate::event::EventKind::Notice { text });
    };
    Logs::open(
        folder.clone(),
        application.services.keys().cloned(),
        options.logs,
        Arc::clone(metrics),
        notice,
    )
    .map_err(|source| SupervisorError::DataDir { path: folder, source })
}

fn spec(service: &tutti_model::app::Service) -> Spec {
    let place = match (service.skip, service.external.is_empty()) {
        (true, _) => Place::Nowhere,
        (false, false) => Place::Elsewhere,
        (false, true) => Place::Here,
    };
    let depends_on = service.depends_on.iter().map(|(name, dep)| Dep {
        service: name.clone(),
        condition: dep.condition,
        restart: dep.restart,
        required: dep.required,
    });
    Spec {
        name: service.name.clone(),
        depends_on: depends_on.collect(),
        restart: service.restart,
        replicas: service.replicas,
        stop_signal: service.stop_signal,
        grace: service.stop_grace_period,
        stop_first: service.fixed_port.is_some(),
        place,
    }
}

/// The key of an instance of this application by its id.
pub(crate) fn key_of(application: &Application, id: &InstanceId) -> Option<InstanceKey> {
    let (service, ordinal) = id.as_str().rsplit_once('-')?;
    let service = application.services.get_key_value(service)?.0.clone();
    Some(InstanceKey { service, ordinal: ordinal.parse().ok()? })
}
