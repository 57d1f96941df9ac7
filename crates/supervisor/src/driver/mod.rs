//! Where an instance runs. *Ports mode* ([`ports`]) is the first driver; cells, containers and Kubernetes
//! are further ones behind the same trait.

pub(crate) mod pool;
pub(crate) mod ports;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tutti_core::InstanceId;
use tutti_model::app::{Command, Service};
use tutti_ports::catalog::Endpoint;

use crate::diagnose::StartFailure;
use crate::infer::Launch;
use crate::keeper::{Child, ExitStatus};
use crate::rewrite::{Rewrite, Targets};

/// An instance that is to run.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) service: &'a Service,
    pub(crate) launch: &'a Launch,
    pub(crate) id: &'a InstanceId,
    /// Instead of the service's own command.
    pub(crate) command: Option<&'a Command>,
}

/// An instance's surroundings: what it, and whatever runs beside it, is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) dir: PathBuf,
    /// What names and paths mean there.
    pub(crate) targets: Targets,
}

/// What was decided before an instance is started. Its ports are kept for it as long as this lives.
pub(crate) struct Prepared {
    pub(crate) argv: Vec<String>,
    pub(crate) around: Surroundings,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rewrites: Vec<Rewrite>,
    pub(crate) notices: Vec<String>,
    pub(crate) leases: Vec<pool::Lease>,
}

/// A process to start in the surroundings of an instance.
pub(crate) struct Start<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) around: &'a Surroundings,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) terminal: bool,
}

/// Runs instances somewhere.
#[async_trait::async_trait]
pub(crate) trait Driver: Send + Sync + 'static {
    /// Decides where an instance listens, what it is told, and how it is started. Starts nothing.
    async fn prepare(&self, order: Order<'_>) -> Result<Prepared, StartFailure>;

    /// The ports of an instance that runs already, kept for it from now on.
    fn resume(&self, endpoints: &[Endpoint]) -> Vec<pool::Lease>;

    /// A process that the keeper has started for another process of Tutti.
    fn adopt(&self, pid: i32, tag: u64) -> Box<dyn Process>;

    /// Starts a process: an instance, or a command beside one.
    async fn launch(&self, start: Start<'_>) -> Result<Box<dyn Process>, StartFailure>;

    /// The addresses at which the process or one of its descendants listens. Blocks for some milliseconds.
    fn addresses(&self, pid: i32) -> Vec<SocketAddr>;

    /// What processes and all that descend from each use. Blocks for some milliseconds.
    fn usage(&self, pids: &[i32]) -> Vec<(i32, crate::stats::Usage)>;
}

/// A process that runs.
#[async_trait::async_trait]
pub(crate) trait Process: Send + Sync {
    fn pid(&self) -> i32;
    /// By what the keeper knows it.
    fn tag(&self) -> u64;
    /// Sends a signal to its group, or to all that it started.
    async fn signal(&self, signal: i32, tree: bool);
    /// Waits until it and all that it started has ended. May be called again.
    async fn wait(&mut self) -> ExitStatus;
    /// Kills it and all that it started, without waiting; for destructors.
    fn kill_now(&self);
}

#[async_trait::async_trait]
impl Process for Child {
    fn pid(&self) -> i32 {
        self.pid
    }

    fn tag(&self) -> u64 {
        self.tag
    }

    async fn signal(&self, signal: i32, tree: bool) {
        Child::signal(self, signal, tree).await;
    }

    async fn wait(&mut self) -> ExitStatus {
        Child::wait(self).await
    }

    fn kill_now(&self) {
        Child::kill_now(self);
    }
}
