//! Why the registry could not run.

use tutti_core::{Classify, Code, Kind, code};
use tutti_ports::catalog::CatalogError;
use tutti_ports::state::StateError;

/// Why the registry did not start.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The state of the former run could not be read, or the new run not be noted.
    #[error("the registry's state cannot be read")]
    Recover(#[source] StateError),
    /// Another process began to write the same state at the same moment.
    #[error("another process writes the registry's state")]
    TwoWriters,
}

impl Classify for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            RegistryError::Recover(source) => source.kind(),
            RegistryError::TwoWriters => Kind::Conflict,
        }
    }

    fn code(&self) -> Option<Code> {
        match self {
            RegistryError::Recover(source) => Some(source.code().unwrap_or(code::REGISTRY_STATE)),
            RegistryError::TwoWriters => Some(code::REGISTRY_STATE),
        }
    }
}

/// The registry does not run: it has not been started, or has stopped.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the registry has stopped")]
pub struct Stopped;

impl From<Stopped> for CatalogError {
    fn from(stopped: Stopped) -> Self {
        CatalogError::State(StateError::Unavailable(Box::new(stopped)))
    }
}
