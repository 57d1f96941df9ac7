//! What the loop, its tasks and the handles share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use tutti_core::{InstanceId, ServiceName};
use tutti_model::app::{Application, Command};
use tutti_ports::catalog::{Endpoint, Standing};
use tutti_ports::exec::{Exec, ExecError, Finished};

use super::Current;
use crate::diagnose::StartFailure;
use crate::driver::{Driver, Order, Prepared, Surroundings};
use crate::error::SupervisorError;
use crate::event::{Event, EventKind};
use crate::exec::{ExecSpec, Output, Place, Running, Streams};
use crate::keeper::Keeper;
use crate::logs::{Captured, Logs, Tap};
use crate::metrics::Metrics;
use crate::options::{Deps, Options};
use crate::plans::Plans;
use crate::rewrite::Rewrite;
use crate::setup::{DriverRunner, Setup};
use crate::stats::Stats;

/// Events that a reader may lag behind.
pub(super) const EVENTS: usize = 1024;

/// Output of a command beside an instance that is kept.
const OUTPUT_BYTES: usize = 4096;

/// What the loop, its tasks and the handles share.
pub(crate) struct Shared {
    pub(crate) deps: Deps,
    pub(crate) current: Arc<Current>,
    pub(crate) options: Arc<Options>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) keeper: Keeper,
    pub(crate) logs: Arc<Logs>,
    pub(crate) stats: Stats,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) setup: Setup<DriverRunner>,
    pub(crate) metrics: Arc<Metrics>,
    pub(super) live: Mutex<HashMap<InstanceId, Live>>,
    pub(crate) plans: Arc<Plans>,
    pub(super) rewrites: Mutex<BTreeMap<ServiceName, Vec<Rewrite>>>,
    pub(super) runs: AtomicU32,
    /// How those stood that run elsewhere, when they were taken over.
    pub(super) standings: Mutex<HashMap<InstanceId, Standing>>,
}

/// An instance whose process runs.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) pid: i32,
    pub(crate) started_at_ms: u64,
    pub(crate) around: Arc<Surroundings>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// By what the keeper knows it.
    pub(crate) tag: u64,
    /// Its standard output and error, and what they have said last.
    pub(crate) taps: [Tap; 2],
    pub(crate) captured: Captured,
}

impl Shared {
    /// Tells everybody who listens.
    pub(crate) fn tell(&self, service: &ServiceName, kind: EventKind) {
        self.metrics.event(service.as_str(), &kind);
        tell(&self.events, service, kind);
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<InstanceId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rewrites(&self) -> Vec<Rewrite> {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }

    pub(super) fn rewrites_by_service(&self) -> Vec<(ServiceName, Vec<Rewrite>)> {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter().collect()
    }

    /// How those stand that run elsewhere.
    pub(super) fn stand(&self, standings: Vec<(InstanceId, Standing)>) {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).extend(standings);
    }

    /// How one of them stood, for its first registration.
    pub(super) fn stood(&self, id: &InstanceId) -> Option<Standing> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// What was rewritten, and told, before.
    pub(super) fn know_rewrites(&self, service: ServiceName, rewrites: Vec<Rewrite>) {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner).insert(service, rewrites);
    }

    /// Notes what was rewritten for an instance, and tells what was not known yet.
    pub(super) fn note_rewrites(&self, service: &ServiceName, new: Vec<Rewrite>) {
        let mut all = self.rewrites.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(service.clone()).or_default();
        for rewrite in new.iter().filter(|new| !known.iter().any(|old| old.key == new.key)) {
            self.tell(service, EventKind::Rewritten { rewrite: rewrite.clone() });
        }
        *known = new;
    }

    /// Runs a command beside an instance, with its streams.
    pub(crate) async fn exec_stream(
        &self,
        id: &InstanceId,
        spec: ExecSpec,
    ) -> Result<Running, SupervisorError> {
        let live = self.live().get(id).cloned();
        let around = live.ok_or_else(|| SupervisorError::NotRunning(id.to_string()))?.around;
        Running::start(self.driver.as_ref(), (*around).clone(), spec).await.map_err(start_error)
    }

    /// What a process beside an instance is given.
    pub(crate) fn beside(&self, id: &InstanceId) -> Result<Place, SupervisorError> {
        let live = self.live().get(id).cloned().ok_or_else(|| SupervisorError::NotRunning(id.to_string()))?;
        Ok(place(Vec::new(), &live.around))
    }

    /// What one more process of a service would be given. Its ports are not kept for it.
    pub(crate) async fn once(&self, name: &ServiceName) -> Result<Place, SupervisorError> {
        let prepared = self.prepare_once(name, None).await?;
        Ok(place(prepared.argv, &prepared.around))
    }

    async fn prepare_once(
        &self,
        name: &ServiceName,
        command: Option<Command>,
    ) -> Result<Prepared, SupervisorError> {
        let application = self.current.get();
        let Some(service) = application.services.get(name) else {
            return Err(unknown(&application, name.as_str()));
        };
        let plan = match self.plans.get(name) {
            Some(plan) => plan,
            None => {
                let made = self.plans.make(service, &application.folder, &self.options);
                made.map_err(start_error)?
            }
        };
        let number = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{name}-run-{number}").parse().unwrap_or_else(|_| InstanceId::of(name, number));
        let order = Order { service, launch: &plan.launch, id: &id, command: command.as_ref() };
        self.driver.prepare(order).await.map_err(start_error)
    }

    /// Runs a service once, not registered, with another command if one is given.
    pub(crate) async fn run_once(
        &self,
        name: &ServiceName,
        mut spec: ExecSpec,
    ) -> Result<Running, SupervisorError> {
        let command = (!spec.argv.is_empty()).then(|| Command::Args(std::mem::take(&mut spec.argv)));
        let prepared = self.prepare_once(name, command).await?;
        spec.argv = prepared.argv;
        let running = Running::start(self.driver.as_ref(), prepared.around, spec).await;
        let mut running = running.map_err(start_error)?;
        running.leases = prepared.leases;
        Ok(running)
    }
}

#[async_trait::async_trait]
impl Exec for Shared {
    async fn run(&self, id: &InstanceId, argv: &[String], timeout: Duration) -> Result<Finished, ExecError> {
        let live = self.live().get(id).cloned();
        let around = live.ok_or_else(|| ExecError::NotRunning(id.clone()))?.around;
        let spec = ExecSpec { argv: argv.to_vec(), streams: Streams::Output, ..ExecSpec::default() };
        let running = Running::start(self.driver.as_ref(), (*around).clone(), spec).await;
        let mut running = running.map_err(|failure| ExecError::Spawn {
            program: argv.first().cloned().unwrap_or_default(),
            source: std::io::Error::other(failure.reason),
        })?;
        // Dropped at the timeout, it is killed with all that it started.
        let work = async {
            let mut kept: Vec<u8> = Vec::new();
            while let Some(Output::Stdout(piece) | Output::Stderr(piece)) = running.output.next().await {
                kept.extend_from_slice(&piece);
                let surplus = kept.len().saturating_sub(OUTPUT_BYTES);
                kept.drain(..surplus);
            }
            let status = running.wait().await;
            Finished { status, output: String::from_utf8_lossy(&kept).into_owned() }
        };
        tokio::time::timeout(timeout, work).await.map_err(|_| ExecError::Timeout(timeout))
    }
}

fn place(argv: Vec<String>, around: &Surroundings) -> Place {
    Place { argv, env: around.env.iter().cloned().collect(), dir: around.dir.clone() }
}

/// Tells everybody who listens to the events.
pub(super) fn tell(events: &broadcast::Sender<Arc<Event>>, service: &ServiceName, kind: EventKind) {
    tracing::debug!(%service, event = ?kind, "event");
    // Nobody listening is no error.
    let _ = events.send(Arc::new(Event { at_ms: wall_ms(), service: service.clone(), kind }));
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn start_error(failure: StartFailure) -> SupervisorError {
    SupervisorError::Start(failure.reason, failure.code)
}

pub(super) fn unknown(application: &Application, name: &str) -> SupervisorError {
    let known: Vec<&str> = application.services.keys().map(ServiceName::as_str).collect();
    SupervisorError::UnknownService { name: name.to_owned(), known: known.join(", ") }
}
