//! Running a command in the surroundings of an instance: its folder, environment and, later, its cell.

use std::time::Duration;

use tutti_core::{Classify, InstanceId, Kind};

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit status; 128 + n for a death by signal n, as shells have it.
    pub status: i32,
    /// The last 4 KiB of its standard output and error, as text.
    pub output: String,
}

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The instance does not run.
    #[error("instance {0} is not running")]
    NotRunning(InstanceId),
    /// The program could not be started.
    #[error("cannot start {program:?}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long; it and its children were killed.
    #[error("the command did not end within {0:?}")]
    Timeout(Duration),
}

impl Classify for ExecError {
    fn kind(&self) -> Kind {
        match self {
            ExecError::NotRunning(_) => Kind::NotFound,
            ExecError::Spawn { .. } => Kind::Invalid,
            ExecError::Timeout(_) => Kind::Timeout,
        }
    }
}

/// Runs commands beside instances.
#[async_trait::async_trait]
pub trait Exec: Send + Sync + 'static {
    /// Runs `argv` beside the instance and waits for its end, at most `timeout`.
    async fn run(&self, id: &InstanceId, argv: &[String], timeout: Duration) -> Result<Finished, ExecError>;
}
