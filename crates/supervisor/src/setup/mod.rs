//! Build steps before the first start: side by side where independent, once each, and skipped while nothing has changed.
//!
//! A step's *key* is the hash of its command, environment and inputs, taken before it runs. It is written down only
//! when the step has succeeded, so a step that failed, was interrupted, or whose inputs changed meanwhile runs again.
//! What a step prints is kept in `<data>/setup/<service>/<n>-<name>.log`, also when it succeeded.

mod hash;
mod keeper;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tutti_core::{Classify, Code, Kind, ServiceName, code};

use crate::infer::{Step, show};

pub use hash::StepKey;
pub(crate) use keeper::DriverRunner;

/// Runs one command to its end.
#[async_trait::async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs the step's command with its output, both streams, appended to `output`; answers the exit status as a shell has it.
    /// When the future is dropped the command and its children are killed.
    async fn run(&self, step: &Step, output: &Path) -> io::Result<i32>;
}

/// What happens while setting up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Started {
        /// The service it is for.
        service: ServiceName,
        /// The step.
        step: String,
    },
    /// A step is done.
    Done {
        /// The service it is for.
        service: ServiceName,
        /// The step.
        step: String,
        /// How long it took.
        took: Duration,
        /// It did not have to run.
        cached: bool,
    },
}

/// Why a service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The step ended with another status than 0.
    #[error("`{step}` of {service} ended with status {status}; the last of what it printed:\n{tail}\n(all of it: {output})", output = output.display())]
    Failed {
        /// The service.
        service: ServiceName,
        /// The step.
        step: String,
        /// The status.
        status: i32,
        /// The last lines of its output.
        tail: String,
        /// All of its output.
        output: PathBuf,
    },
    /// The step could not be run.
    #[error("cannot run `{step}` of {service} in {cwd}", cwd = cwd.display())]
    Spawn {
        /// The service.
        service: ServiceName,
        /// The step.
        step: String,
        /// Where it should have run.
        cwd: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The data directory could not be written.
    #[error("cannot keep what the set-up of {service} prints")]
    Data {
        /// The service.
        service: ServiceName,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SetupError {
    /// The service that cannot start.
    pub fn service(&self) -> &ServiceName {
        match self {
            SetupError::Failed { service, .. }
            | SetupError::Spawn { service, .. }
            | SetupError::Data { service, .. } => service,
        }
    }
}

impl Classify for SetupError {
    fn kind(&self) -> Kind {
        match self {
            SetupError::Failed { .. } | SetupError::Spawn { .. } => Kind::Invalid,
            SetupError::Data { .. } => Kind::Internal,
        }
    }

    fn code(&self) -> Option<Code> {
        Some(code::SETUP_FAILED)
    }
}

/// Lines of a failed step's output that are shown.
const TAIL_LINES: usize = 20;

/// The service that ran shared steps first, and whose turn it is to run them.
type First = (ServiceName, Arc<Mutex<()>>);

/// The set-up of all services.
pub struct Setup<R> {
    runner: Arc<R>,
    /// For steps that several services share: the one that ran them first. Its key counts for all.
    first: Mutex<HashMap<Vec<String>, First>>,
    folder: PathBuf,
    rebuild: bool,
    slots: Arc<Semaphore>,
    progress: mpsc::Sender<Progress>,
    groups: Mutex<HashMap<&'static str, Arc<Mutex<()>>>>,
}

impl<R: Runner> Setup<R> {
    /// Keeps keys and output below `folder`; runs at most `parallel` steps at a time; with `rebuild` runs everything.
    pub fn new(
        runner: Arc<R>,
        folder: PathBuf,
        parallel: usize,
        rebuild: bool,
        progress: mpsc::Sender<Progress>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(parallel.max(1)));
        Self { runner, first: Mutex::default(), folder, rebuild, slots, progress, groups: Mutex::default() }
    }

    /// Sets up services. The steps of one service run in order; services that share their steps (same commands in the same
    /// folder) share the run. Answers the services that failed; when the future is dropped, what runs is killed.
    pub async fn run(self, services: Vec<(ServiceName, Vec<Step>)>) -> Vec<SetupError> {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut seen = HashSet::new();
        for (service, steps) in services {
            let all: Vec<String> = steps.iter().map(StepKey::identity).collect();
            if steps.is_empty() || !seen.insert(all) {
                continue;
            }
            let this = Arc::clone(&this);
            tasks.spawn(async move { this.service(service, steps).await });
        }
        let mut failed = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed.push(error),
                Err(panic) => tracing::error!(%panic, "a set-up task ended unexpectedly"),
            }
        }
        failed.sort_by(|a, b| a.service().cmp(b.service()));
        failed
    }

    /// Sets up one service, at any time and beside others; one whose steps another one shares waits for it, and then
    /// has nothing left to do. When the future is dropped, what runs is killed.
    pub async fn one(&self, service: ServiceName, steps: Vec<Step>) -> Result<(), SetupError> {
        if steps.is_empty() {
            return Ok(());
        }
        let identity: Vec<String> = steps.iter().map(StepKey::identity).collect();
        let (first, turn) = {
            let mut known = self.first.lock().await;
            known.entry(identity).or_insert_with(|| (service, Arc::default())).clone()
        };
        let _turn = turn.lock().await;
        self.service(first, steps).await
    }

    async fn service(&self, service: ServiceName, steps: Vec<Step>) -> Result<(), SetupError> {
        let folder = self.folder.join(service.as_str());
        std::fs::create_dir_all(&folder)
            .map_err(|source| SetupError::Data { service: service.clone(), source })?;
        for (at, step) in steps.iter().enumerate() {
            let place = Place { service: &service, folder: &folder, number: at + 1 };
            self.step(&place, step).await?;
        }
        Ok(())
    }

    async fn step(&self, place: &Place<'_>, step: &Step) -> Result<(), SetupError> {
        let group = self.group(step.group).await;
        let _alone = match &group {
            Some(group) => Some(group.lock().await),
            None => None,
        };
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let began = Instant::now();
        let service = place.service.clone();
        let key = hash::key_of(step).await;
        if !self.rebuild && place.is_done(step, &key) {
            self.tell(Progress::Done {
                service,
                step: step.name.clone(),
                took: began.elapsed(),
                cached: true,
            })
            .await;
            return Ok(());
        }
        self.tell(Progress::Started { service: service.clone(), step: step.name.clone() }).await;
        place.execute(&*self.runner, step, &key).await?;
        self.tell(Progress::Done { service, step: step.name.clone(), took: began.elapsed(), cached: false })
            .await;
        Ok(())
    }

    async fn group(&self, name: Option<&'static str>) -> Option<Arc<Mutex<()>>> {
        let name = name?;
        Some(Arc::clone(self.groups.lock().await.entry(name).or_default()))
    }

    /// Nobody listening is no reason to stop.
    async fn tell(&self, progress: Progress) {
        let _ = self.progress.send(progress).await;
    }
}

/// Where a step's key and output are kept.
struct Place<'a> {
    service: &'a ServiceName,
    folder: &'a Path,
    number: usize,
}

impl Place<'_> {
    fn key_file(&self) -> PathBuf {
        self.folder.join(format!("{}.key", self.number))
    }

    fn output_file(&self, step: &Step) -> PathBuf {
        let name: String =
            step.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
        self.folder.join(format!("{}-{}.log", self.number, name.trim_matches('-')))
    }

    fn is_done(&self, step: &Step, key: &StepKey) -> bool {
        let known = std::fs::read_to_string(self.key_file()).ok();
        key.hash().is_some()
            && known.as_deref() == key.hash()
            && step.outputs.iter().all(|path| path.exists())
    }

    async fn execute(&self, runner: &impl Runner, step: &Step, key: &StepKey) -> Result<(), SetupError> {
        let data = |source| SetupError::Data { service: self.service.clone(), source };
        // From here on the old result does not count, whatever happens.
        match std::fs::remove_file(self.key_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(data(error)),
            _ => {}
        }
        let output = self.output_file(step);
        std::fs::write(&output, format!("$ cd {}\n$ {}\n", step.cwd.display(), show(&step.command)))
            .map_err(data)?;
        let status = runner.run(step, &output).await.map_err(|source| SetupError::Spawn {
            service: self.service.clone(),
            step: step.name.clone(),
            cwd: step.cwd.clone(),
            source,
        })?;
        if status != 0 {
            let (service, step) = (self.service.clone(), step.name.clone());
            return Err(SetupError::Failed { service, step, status, tail: tail(&output), output });
        }
        match key.hash() {
            Some(hash) => std::fs::write(self.key_file(), hash).map_err(data),
            None => Ok(()),
        }
    }
}

/// The last lines of a file, of at most its last 16 KiB.
fn tail(path: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let length = file.metadata().map_or(0, |meta| meta.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(16 << 10)));
        let _ = file.take(16 << 10).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}
