//! Why the supervisor refused a command or could not go on.

use std::io;
use std::path::PathBuf;

use tutti_core::{Classify, Code, InstanceId, Kind, Retry, code};

/// Why the supervisor refused a command or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The command names a service that the application does not have.
    #[error("there is no service {name:?}; the application has {known}")]
    UnknownService {
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A command for an instance that does not run.
    #[error("no instance of {0} runs")]
    NotRunning(String),
    /// Exec or logs of an instance that does not exist.
    #[error("there is no instance {0}")]
    UnknownInstance(InstanceId),
    /// More than one replica of a service that always listens at the same port.
    #[error("{service} listens at the fixed port {port}, so it cannot have {replicas} replicas")]
    FixedPort {
        /// The service.
        service: String,
        /// Its port.
        port: u16,
        /// The replicas asked for.
        replicas: u32,
    },
    /// `scale` or `restart` of a service that Tutti does not run.
    #[error("{service} is not run here: {why}")]
    NotOurs {
        /// The service.
        service: String,
        /// `skip` or `external`.
        why: &'static str,
    },
    /// More instances than can be.
    #[error("{0} replicas are more than the limit of {1}")]
    TooManyReplicas(u32, u32),
    /// The new definition of the application cannot be had.
    #[error("{0}")]
    BadDefinition(String),
    /// The new definition of the application needs a new start.
    #[error("{0}, which a running application cannot take over: `tutti down && tutti up`")]
    NeedsRestart(String),
    /// The keeper could not be started.
    #[error("the keeper of the processes cannot be started")]
    Keeper(#[source] io::Error),
    /// What an earlier run left could not be ended.
    #[error("processes of an earlier run do not end: {pids:?}")]
    Leftovers {
        /// The processes.
        pids: Vec<i32>,
    },
    /// A folder of the data directory could not be made.
    #[error("cannot prepare {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A one-off command could not be started.
    #[error("{0}")]
    Start(String, Option<Code>),
    /// Something is on its way that would have to be finished first.
    #[error("{0}")]
    Busy(String),
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    Closed,
}

impl Classify for SupervisorError {
    fn kind(&self) -> Kind {
        match self {
            SupervisorError::UnknownService { .. }
            | SupervisorError::NotRunning(_)
            | SupervisorError::UnknownInstance(_) => Kind::NotFound,
            SupervisorError::FixedPort { .. }
            | SupervisorError::NotOurs { .. }
            | SupervisorError::BadDefinition(_)
            | SupervisorError::Start(..) => Kind::Invalid,
            SupervisorError::NeedsRestart(_) | SupervisorError::Busy(_) => Kind::Conflict,
            SupervisorError::TooManyReplicas(..) => Kind::Exhausted,
            SupervisorError::Closed => Kind::Unavailable,
            SupervisorError::Keeper(_)
            | SupervisorError::Leftovers { .. }
            | SupervisorError::DataDir { .. } => Kind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Safe
    }

    fn code(&self) -> Option<Code> {
        match self {
            SupervisorError::UnknownService { .. } => Some(code::UNKNOWN_SERVICE),
            SupervisorError::FixedPort { .. } => Some(code::FIXED_PORT_REPLICAS),
            SupervisorError::Keeper(_) => Some(code::KEEPER_FAILED),
            SupervisorError::Leftovers { .. } => Some(code::LEFTOVERS),
            SupervisorError::Start(_, code) => *code,
            _ => None,
        }
    }
}
