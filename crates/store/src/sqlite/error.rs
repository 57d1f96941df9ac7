//! What SQLite reports, as what the port promises: full, failed, or not known.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};
use tutti_core::{Classify, Code, Kind, code};
use tutti_ports::state::StateError;

/// Why the state database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not what it was when it was written.
    #[error(
        "the state database {} is damaged ({detail}); move the file away and start again, or restore a copy; \
         the application's own data is not in it", path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file was written by a newer version of Tutti.
    #[error("the state database {} has format {found}; this version reads up to {known}", path.display())]
    Format {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The disk is full.
    #[error("no space is left to open the state database {}", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// Anything else.
    #[error("the state database {} cannot be opened", path.display())]
    Engine {
        /// The database file.
        path: PathBuf,
        /// What SQLite or the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(super) fn new(path: PathBuf, error: rusqlite::Error) -> Self {
        match Class::of(&error) {
            Class::Damaged => OpenError::Damaged { path, detail: error.to_string() },
            Class::Full => OpenError::Full { path, source: error },
            Class::Unsynced | Class::Other => OpenError::Engine { path, source: Box::new(error) },
        }
    }
}

impl Classify for OpenError {
    fn kind(&self) -> Kind {
        match self {
            OpenError::Full { .. } => Kind::Exhausted,
            OpenError::Format { .. } => Kind::Conflict,
            OpenError::Damaged { .. } | OpenError::Engine { .. } => Kind::Internal,
        }
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            OpenError::Damaged { .. } => code::STATE_DAMAGED,
            OpenError::Format { .. } => code::DATA_FORMAT,
            OpenError::Full { .. } => code::DISK_FULL,
            OpenError::Engine { .. } => code::DATA_DIR_IO,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Full,
    Damaged,
    /// The disk did not confirm a sync: what was written before may or may not be there after a crash.
    Unsynced,
    Other,
}

impl Class {
    fn of(error: &rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = error else { return Class::Other };
        match (failure.code, failure.extended_code) {
            // Growing the shared index of the write-ahead log fails for hardly any other reason.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Class::Full,
            (_, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Class::Unsynced,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Class::Damaged,
            _ => Class::Other,
        }
    }
}

/// An error of SQLite that is told to every caller of a batch.
#[derive(Clone, Debug)]
pub struct Failure {
    class: Class,
    source: Arc<rusqlite::Error>,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self { class: Class::of(&error), source: Arc::new(error) }
    }
}

impl Failure {
    /// Whether nothing may be written until the store is opened again.
    pub fn ends_writing(&self) -> bool {
        matches!(self.class, Class::Unsynced | Class::Damaged)
    }

    /// The error as one caller sees it.
    pub fn to_state(&self) -> StateError {
        let source = Box::new(Shared(Arc::clone(&self.source)));
        match self.class {
            Class::Full => StateError::Full(source),
            Class::Unsynced => StateError::Unavailable(source),
            Class::Damaged | Class::Other => StateError::Engine(source),
        }
    }
}

impl From<Failure> for StateError {
    fn from(failure: Failure) -> Self {
        failure.to_state()
    }
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<rusqlite::Error>);

/// The store is closed, or closing.
#[derive(Debug, thiserror::Error)]
#[error("the store is shut down")]
pub struct Closed;

impl From<Closed> for StateError {
    fn from(closed: Closed) -> Self {
        StateError::Unavailable(Box::new(closed))
    }
}

/// The writer met an error after which it may not write.
#[derive(Debug, thiserror::Error)]
#[error("writing ended after a failed sync or damage; open the store again")]
pub struct Ended(#[source] pub Arc<rusqlite::Error>);

impl From<&Failure> for Ended {
    fn from(failure: &Failure) -> Self {
        Ended(Arc::clone(&failure.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> Failure {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn what_is_not_known_is_not_called_unchanged() {
        assert!(matches!(failure(ffi::SQLITE_FULL).to_state(), StateError::Full(_)));
        assert!(matches!(failure(ffi::SQLITE_IOERR_SHMSIZE).to_state(), StateError::Full(_)));
        assert!(matches!(failure(ffi::SQLITE_IOERR_WRITE).to_state(), StateError::Engine(_)));
        assert!(matches!(failure(ffi::SQLITE_CORRUPT).to_state(), StateError::Engine(_)));
        assert!(matches!(failure(ffi::SQLITE_IOERR_FSYNC).to_state(), StateError::Unavailable(_)));
        assert!(failure(ffi::SQLITE_IOERR_FSYNC).ends_writing());
        assert!(!failure(ffi::SQLITE_FULL).ends_writing());
    }
}
