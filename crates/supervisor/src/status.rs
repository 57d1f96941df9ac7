//! What there is now, for people and programs: services, their instances, and why they are as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tutti_core::{InstanceId, ServiceName};
use tutti_ports::catalog::{Endpoint, Health};

use crate::stats::Sample;

/// All services at one moment. Cheap to share; never changed in place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Grows with every change.
    pub generation: u64,
    /// Services in the order of the file.
    pub services: Vec<ServiceStatus>,
}

impl Status {
    /// A service by name.
    pub fn service(&self, name: &str) -> Option<&ServiceStatus> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }

    /// An instance by id.
    pub fn instance(&self, id: &str) -> Option<&InstanceStatus> {
        self.services.iter().flat_map(|service| &service.instances).find(|i| i.id.as_str() == id)
    }
}

/// How a service is, all its instances taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Not wanted, and nothing of it runs.
    Stopped,
    /// Its setup steps run.
    Setup,
    /// Waits for what it depends on.
    Waiting,
    /// Instances start; not enough of them pass their checks yet.
    Starting,
    /// As many instances as wanted pass their checks.
    Ready,
    /// Some instances pass, and fewer than wanted.
    Degraded,
    /// Instances run and their checks fail.
    Unhealthy,
    /// Instances exit again and again.
    CrashLoop,
    /// It has ended with status 0, and is not to be started again.
    Completed,
    /// It cannot be run, or has ended and is not to be started again.
    Failed,
    /// What it depends on has failed.
    Blocked,
    /// Instances are being drained and stopped.
    Stopping,
    /// Left out by `skip:`.
    Skipped,
    /// Runs elsewhere, by `external:`.
    External,
}

impl ServiceState {
    /// The name in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceState::Stopped => "stopped",
            ServiceState::Setup => "setup",
            ServiceState::Waiting => "waiting",
            ServiceState::Starting => "starting",
            ServiceState::Ready => "ready",
            ServiceState::Degraded => "degraded",
            ServiceState::Unhealthy => "unhealthy",
            ServiceState::CrashLoop => "crash-loop",
            ServiceState::Completed => "completed",
            ServiceState::Failed => "failed",
            ServiceState::Blocked => "blocked",
            ServiceState::Stopping => "stopping",
            ServiceState::Skipped => "skipped",
            ServiceState::External => "external",
        }
    }

    /// Whether `up` has got what it wanted here.
    pub const fn is_good(self) -> bool {
        use ServiceState::{Completed, External, Ready, Skipped};
        matches!(self, Ready | Completed | Skipped | External)
    }

    /// Whether `up` need not wait any longer: it is as wanted, or something has to be done about it.
    pub const fn is_settled(self) -> bool {
        use ServiceState::{Blocked, CrashLoop, Failed, Unhealthy};
        self.is_good() || matches!(self, Blocked | CrashLoop | Failed | Unhealthy)
    }
}

/// A service and its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// How it is.
    pub state: ServiceState,
    /// Why, in words for a person; empty where the state says it all.
    pub reason: String,
    /// The stable code of the reason (`TUT0206`), if it has one.
    pub code: Option<String>,
    /// Instances wanted; 0 when it is not wanted.
    pub desired: u32,
    /// Instances that take traffic.
    pub ready: u32,
    /// Its instances by ordinal.
    pub instances: Vec<InstanceStatus>,
    /// How its last rolling restart goes or went.
    pub rollout: Option<Rollout>,
    /// What was found out about how to run it, and how to say otherwise.
    pub hints: Vec<String>,
}

/// A rolling restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum Rollout {
    /// New instances take the place of old ones.
    Running,
    /// All instances are new.
    Done,
    /// A new instance was not fit; the old ones stay.
    Aborted(String),
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its process is being started.
    Starting,
    /// Its process runs.
    Running,
    /// No new requests; what is under way goes on.
    Draining,
    /// It was asked to stop.
    Stopping,
    /// It exited and will be started again after a pause.
    Backoff,
    /// It exited and stays so.
    Exited,
}

impl Phase {
    /// The name in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
            Phase::Backoff => "backoff",
            Phase::Exited => "exited",
        }
    }
}

/// One copy of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its id.
    pub id: InstanceId,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the catalog says of it, while it is there.
    pub health: Option<Health>,
    /// Why, in words for a person.
    pub reason: String,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// When its process was started: milliseconds since 1970.
    pub started_at_ms: Option<u64>,
    /// How often it was started again since the operator started it.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// What it used when it was last looked at.
    pub stats: Option<Sample>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status; 128 + n for a death by signal n, as shells have it. `None`: it was never started.
    pub status: Option<i32>,
    /// In words: `exited with status 1`, `killed by SIGSEGV`, `program "x" was not found`.
    pub reason: String,
    /// The stable code of the reason, if it has one.
    pub code: Option<String>,
    /// Its last lines on standard error, or on standard output if there were none.
    pub last_lines: Vec<String>,
    /// When: milliseconds since 1970.
    pub at_ms: u64,
}

/// How an `up` ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settled {
    /// Services that are as they were wanted.
    pub good: Vec<String>,
    /// Services that are not, each with its reason.
    pub bad: BTreeMap<String, String>,
}
