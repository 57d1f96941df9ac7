//! The process behind `tutti up`: every role, put together. The only place where rooms meet.
//!
//! | started in this order | needs | gives |
//! |---|---|---|
//! | data directory, store | | state |
//! | registry | state | the catalog |
//! | trust | state | certificates |
//! | edge (the proxy) | the catalog, certificates | doors, traffic |
//! | control socket | all of them | the command line |
//! | supervisor | the catalog, doors, traffic | services |
//!
//! Stopped in the reverse order: services are drained while the control socket still tells how far that is and the proxy
//! still knows their traffic, and the last transitions are written before the store closes.

mod certificates;
mod files;
pub(crate) mod last_good;
mod listeners;
mod log;
mod plan;
mod reload;
mod roles;
pub(crate) mod upgrade;

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tutti_core::ServiceName;
use tutti_core::time::SystemClock;
use tutti_host::{Host, Report, Shutdown, Trigger};
use tutti_model::LoadOptions;
use tutti_store::{DataDir, SqliteStore};
use tutti_supervisor::Handle;

use self::last_good::{Definition, Keeper};
use self::upgrade::{Heir, Inherited, Predecessors};
use crate::control::wire::{Listening, Outcome, Overview, UpRequest};

/// How the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// What is shown to whoever finds the data directory taken.
    pub(crate) command: String,
    /// Run every build step again.
    pub(crate) rebuild: bool,
    /// How the application was loaded.
    pub(crate) options: LoadOptions,
    /// After an upgrade this process stays until the end, for whoever waits for it.
    pub(crate) stays: bool,
    /// Why there can be no upgrade.
    pub(crate) keeps: Option<&'static str>,
    /// What is in force at first is not kept for a start without the files: it is there for one command.
    pub(crate) one_off: bool,
}

/// How the end came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything was given the time that it asked for.
    Drained,
    /// The operator did not want to wait: every process was killed.
    Killed,
    /// Another process has taken over, and the connections of this one are done.
    HandedOver,
}

/// A running application.
pub(crate) struct Engine {
    trigger: Trigger,
    asked: Shutdown,
    host: JoinHandle<Report>,
    store: Arc<SqliteStore>,
    supervisor: Handle,
    reloader: Arc<reload::Reloader>,
    heir: watch::Receiver<Option<Arc<Heir>>>,
    predecessors: Arc<Predecessors>,
    keeper: Arc<Keeper>,
    started_at: SystemTime,
}

/// The keeper's socket, if this process is meant to be the keeper: `tutti keeper [FILES] FD`. With a number of files, the
/// soft limit of open files is taken back to it, since services inherit it.
pub(crate) fn keeper_socket() -> Option<RawFd> {
    let mut args = std::env::args_os().skip(1);
    let (verb, first) = (args.next()?, args.next()?);
    if verb != "keeper" {
        return None;
    }
    let Some(fd) = args.next() else { return first.to_str()?.parse().ok() };
    files::lower(first.to_str()?.parse().ok()?);
    fd.to_str()?.parse().ok()
}

impl Engine {
    /// Starts every role; services are started by [`Engine::up`], or taken over from another process. On an error whatever was
    /// started has been stopped.
    pub(crate) async fn start(
        definition: Definition,
        settings: Settings,
        mut inherited: Option<Inherited>,
    ) -> anyhow::Result<Self> {
        let started_at = SystemTime::now();
        let raised = files::raise();
        let soft_files = inherited.as_ref().map_or(raised, |inherited| inherited.soft_files);
        let Definition { loaded, kept } = definition;
        let (mut application, origin) = (loaded.application, loaded.origin);
        let data = data_dir(&settings, inherited.as_mut())?;
        log::log_to(&data)?;
        if let Some(kept) = &kept {
            kept.place(data.path(), &mut application.routing)?;
        }
        let application = Arc::new(application);
        let origin = (kept.is_none() && !settings.one_off).then_some(origin);
        let keeper = Keeper::new(data.path(), kept.map(|kept| kept.told));
        let store = SqliteStore::open(&data, tutti_store::Options::default(), Arc::new(SystemClock::new()))?;
        let store = Arc::new(store);
        // Services may take as long to stop as their grace periods say; the second Ctrl-C is for those who cannot wait.
        let drain = Duration::from_secs(3600);
        let mut host = Host::new(tutti_host::Options { drain, ..tutti_host::Options::default() });
        let trigger = host.trigger();
        let asked = host.shutdown();
        let signals = trigger.forward_signals().context("cannot listen for signals")?;
        let (tell, heir) = watch::channel(None);
        let predecessors = Arc::<Predecessors>::default();
        let roles = roles::Roles {
            application,
            origin,
            keeper: Arc::clone(&keeper),
            data,
            store: Arc::clone(&store),
            settings,
            started_at,
            soft_files,
            heir: tell,
            predecessors: Arc::clone(&predecessors),
            patience: watch::channel(None).0,
        };
        let started = roles.start(&mut host, inherited).await;
        tutti_host::memory::give_back();
        let host = tokio::spawn(async move {
            let mut run = std::pin::pin!(host.run());
            tokio::select! {
                report = &mut run => report,
                () = signals => run.await,
            }
        });
        match started {
            Ok((supervisor, reloader)) => Ok(Self {
                trigger,
                asked,
                host,
                store,
                supervisor,
                reloader,
                heir,
                predecessors,
                keeper,
                started_at,
            }),
            Err(error) => {
                trigger.abort();
                let _ = host.await;
                store.shutdown().await;
                Err(error)
            }
        }
    }

    /// The services.
    pub(crate) fn supervisor(&self) -> &Handle {
        &self.supervisor
    }

    /// Where the edge listens.
    pub(crate) fn listeners(&self) -> Vec<Listening> {
        self.reloader.listeners()
    }

    /// Whether the files are in force, and are kept.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// When this process started, in microseconds since 1970.
    pub(crate) fn started_at_us(&self) -> u64 {
        let since = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Starts services and waits until they are as wanted, or cannot be.
    pub(crate) async fn up(&self, request: &UpRequest) -> anyhow::Result<Outcome> {
        let mut services =
            request.services.iter().map(|name| ServiceName::new(name)).collect::<Result<Vec<_>, _>>()?;
        for (name, replicas) in &request.scale {
            self.supervisor.scale(&ServiceName::new(name)?, *replicas).await?;
        }
        if request.no_deps {
            self.supervisor.start(&services).await?;
        } else {
            self.supervisor.up(&services).await?;
            services = self.supervisor.with_dependencies(&services);
        }
        let settled = self.supervisor.settled(&services).await;
        self.keeper.tried().await;
        Ok(Outcome { good: settled.good, bad: settled.bad })
    }

    /// Returns when somebody has asked for the end: a signal, `tutti down`, or a role that ended.
    pub(crate) async fn shutdown_asked(&self) {
        self.asked.drain().await;
    }

    /// The process that has taken over, if one has.
    pub(crate) fn heir(&self) -> Option<Arc<Heir>> {
        self.heir.borrow().clone()
    }

    /// The processes from which this one has taken over.
    pub(crate) fn predecessors(&self) -> Arc<Predecessors> {
        Arc::clone(&self.predecessors)
    }

    /// Stops everything, in order, and waits for it. A second signal meanwhile kills. If another process has taken over, only the connections
    /// of this one are finished, at most until that one ends.
    pub(crate) async fn end(self) -> anyhow::Result<Ended> {
        self.trigger.drain();
        let (heir, trigger) = (self.heir(), self.trigger.clone());
        let mut host = self.host;
        let report = tokio::select! {
            report = &mut host => report,
            () = ended(heir.as_deref()) => {
                trigger.abort();
                host.await
            }
        };
        let report = report.context("the host of all tasks ended unexpectedly")?;
        self.store.shutdown().await;
        if heir.is_some() {
            return Ok(Ended::HandedOver);
        }
        if report.is_clean() {
            return Ok(Ended::Drained);
        }
        use tutti_host::How::{Aborted, Finished};
        let asked = report.cause == tutti_host::Cause::Asked;
        if asked && report.ended.iter().all(|ended| matches!(ended.how, Finished | Aborted)) {
            return Ok(Ended::Killed);
        }
        let unclean = report.ended.iter().filter(|ended| !matches!(ended.how, tutti_host::How::Finished));
        let named: Vec<String> = unclean.map(|ended| format!("{} {}", ended.name, ended.how)).collect();
        anyhow::bail!("{}", named.join("; "))
    }
}

/// The data directory: opened, or as another process has given it.
fn data_dir(settings: &Settings, inherited: Option<&mut Inherited>) -> anyhow::Result<DataDir> {
    Ok(match inherited {
        Some(inherited) => DataDir::adopt(&settings.data_dir, inherited.lock()?, &settings.command)?,
        None => DataDir::open(&settings.data_dir, &settings.command)?,
    })
}

/// The end of the process that has taken over; never, if there is none.
async fn ended(heir: Option<&Heir>) {
    match heir {
        Some(heir) => drop(heir.ended().await),
        None => std::future::pending().await,
    }
}

/// The facts of the overview that do not change.
fn overview(application: &tutti_model::app::Application, started_at: SystemTime) -> Overview {
    let since = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Overview {
        project: application.name.to_string(),
        folder: application.folder.display().to_string(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        listeners: Vec::new(),
        edge_generation: 0,
        last_good: None,
        not_kept: None,
        status: tutti_supervisor::Status::default(),
    }
}
