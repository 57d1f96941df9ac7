//! Why a data directory could not be used.

use std::io;
use std::path::{Path, PathBuf};

use tutti_core::{Classify, Code, Kind, code};

use super::lock::Holder;

/// Why a data directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another process holds it.
    #[error("the data directory {} is held by {holder}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process.
        holder: Holder,
    },
    /// It was written by a newer version, or its format file is not readable as one.
    #[error("the data directory {} has format {found:?}; this version reads up to {known}", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What the format file says.
        found: String,
        /// The newest format that this version reads.
        known: u32,
    },
    /// It has other things in it.
    #[error("{} is not a data directory, and not empty: it holds {example:?}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something that is in it.
        example: String,
    },
    /// It belongs to another user.
    #[error("the data directory {} belongs to user {owner}, and this process runs as {us}", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The owner's id.
        owner: u32,
        /// Our effective id.
        us: u32,
    },
    /// The disk, or the user's quota on it, is full.
    #[error("no space is left to write {}", path.display())]
    Full {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot use {}", path.display())]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DirError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DirError::Full { path, source },
            _ => DirError::Io { path, source },
        }
    }
}

impl Classify for DirError {
    fn kind(&self) -> Kind {
        match self {
            DirError::Locked { .. } | DirError::Format { .. } => Kind::Conflict,
            DirError::Foreign { .. } => Kind::Invalid,
            DirError::Owner { .. } => Kind::Denied,
            DirError::Full { .. } => Kind::Exhausted,
            DirError::Io { .. } => Kind::Internal,
        }
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            DirError::Locked { .. } => code::DATA_DIR_LOCKED,
            DirError::Format { .. } => code::DATA_FORMAT,
            DirError::Foreign { .. } | DirError::Owner { .. } => code::DATA_DIR_UNSAFE,
            DirError::Full { .. } => code::DISK_FULL,
            DirError::Io { .. } => code::DATA_DIR_IO,
        })
    }
}
