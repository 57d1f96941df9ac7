//! What the supervisor is given: its ports and its settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tutti_core::time::{Clock, SystemClock};
use tutti_ports::catalog::Catalog;
use tutti_ports::door::Door;
use tutti_ports::traffic::Traffic;

/// The ports that the supervisor uses.
#[derive(Clone)]
pub struct Deps {
    /// Where instances are registered and their health is read.
    pub catalog: Arc<dyn Catalog>,
    /// Where services reach their peers.
    pub door: Arc<dyn Door>,
    /// When an instance is idle.
    pub traffic: Arc<dyn Traffic>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Deps {
    /// The ports with the machine's own clock.
    pub fn new(catalog: Arc<dyn Catalog>, door: Arc<dyn Door>, traffic: Arc<dyn Traffic>) -> Self {
        Self { catalog, door, traffic, clock: Arc::new(SystemClock::new()) }
    }
}

/// How the keeper is started: this program again, with these arguments. The number of the
/// keeper's socket is appended as the last argument.
#[derive(Clone, Debug)]
pub struct KeeperCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the number.
    pub args: Vec<OsString>,
}

impl Default for KeeperCommand {
    /// `tutti keeper <fd>`, from the very file that runs now, even if it was replaced on disk meanwhile.
    fn default() -> Self {
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tutti"))
        };
        Self { program, args: vec![OsString::from("keeper")] }
    }
}

/// The supervisor's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory, absolute. It must be locked by this process: what an earlier run left in it is ended.
    pub data_dir: PathBuf,
    /// How the keeper is started.
    pub keeper: KeeperCommand,
    /// The operator's environment. Only an allow list of it reaches services: see [`crate::environment`].
    pub operator_env: BTreeMap<String, String>,
    /// Value of `OTEL_EXPORTER_OTLP_ENDPOINT` for services that do not set it; set only when something answers there.
    pub otlp_endpoint: Option<String>,
    /// Value of the resource attribute `deployment.environment.name`.
    pub deployment_environment: String,
    /// Back-off between restarts.
    pub backoff: Backoff,
    /// An instance that is not passing after this time counts as failed in a rolling restart.
    pub ready_timeout: Duration,
    /// Time between two samples of CPU, memory and files. Zero: never.
    pub stats_interval: Duration,
    /// Bounds of the logs.
    pub logs: LogOptions,
    /// How many setup steps run at once.
    pub setup_parallel: usize,
    /// Run every setup step, also those for which nothing has changed.
    pub rebuild: bool,
}

impl Options {
    /// The defaults, with this process's environment.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            keeper: KeeperCommand::default(),
            operator_env: std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            otlp_endpoint: None,
            deployment_environment: "development".to_owned(),
            backoff: Backoff::default(),
            ready_timeout: Duration::from_secs(300),
            stats_interval: Duration::from_secs(5),
            logs: LogOptions::default(),
            setup_parallel: std::thread::available_parallelism().map_or(2, usize::from),
            rebuild: false,
        }
    }
}

/// Exponential back-off with jitter: 100 ms, 200 ms, … up to 30 s, each shortened by up to a quarter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// An instance that was well for so long begins at `first` again.
    pub reset_after: Duration,
    /// So many failures in a row are shown as a crash loop.
    pub crash_loop_after: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            most: Duration::from_secs(30),
            reset_after: Duration::from_secs(10),
            crash_loop_after: 5,
        }
    }
}

/// Bounds of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A log file is closed and a new one begun at this size.
    pub file_bytes: u64,
    /// Files kept for each service.
    pub files: usize,
    /// Most bytes of all services' logs together; the oldest files go first.
    pub total_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { file_bytes: 10 << 20, files: 5, total_bytes: 1 << 30 }
    }
}
