//! The last good configuration on disk, for a start without the files.
//!
//! Whenever an application has been put into force, what it was read from is kept in the data directory ([`keeper`]), sealed ([`file`]):
//! every file that the reader looked at and every variable that was asked for, so that the same reader reads it again, a later version
//! too; and the OpenAPI descriptions of routes ([`described`]). `tutti up --last-good` starts from that when the files cannot be used.
//!
//! - There is one such file. It is replaced as a whole, or stays as it is.
//! - It is never older than what was in force last: when it cannot be replaced, it is put aside, and nothing starts from it.
//! - It is used whole or not at all: it is sealed, and its head with it.
//! - Certificates, keys and credentials that the overlay names by path are not in it: they are read where they are.

mod described;
mod file;
mod keeper;

use std::path::{Path, PathBuf};

use tutti_core::{Classify, Code, Kind, code};
use tutti_model::Loaded;
use tutti_model::diagnostic::Problems;
use tutti_ports::routing::Routing;
use tutti_trust::TrustError;

pub(crate) use described::Described;
pub(crate) use file::{NAME, found};
pub(crate) use keeper::Keeper;

use crate::control::wire::LastGood;

/// What is to run.
pub(crate) struct Definition {
    /// The application.
    pub(crate) loaded: Loaded,
    /// It is not what the files say, but what was kept.
    pub(crate) kept: Option<Resumed>,
}

/// What was kept, beside the application.
pub(crate) struct Resumed {
    /// What is told of it.
    pub(crate) told: LastGood,
    /// The descriptions of its routes.
    pub(crate) described: Described,
}

impl Definition {
    /// As the files say.
    pub(crate) fn of(loaded: Loaded) -> Self {
        Self { loaded, kept: None }
    }

    /// As was kept in a data directory; `why` says what is wrong with the files. `folder` is the project's, as far as that is known: what was
    /// kept for another one is not used.
    pub(crate) fn resume(data: &Path, folder: Option<&Path>, why: String) -> Result<Self, LastGoodError> {
        let kept = file::read(data)?;
        let (head, kept) = (kept.head, kept.kept);
        let loaded = kept.origin.load();
        let loaded = loaded.map_err(|problems| LastGoodError::Unfit(head.generation, Box::new(problems)))?;
        if let Some(here) = folder.filter(|folder| *folder != loaded.application.folder) {
            let (kept, here) = (loaded.application.folder.clone(), here.to_owned());
            return Err(LastGoodError::Elsewhere { kept, here });
        }
        let told = LastGood { generation: head.generation, kept_at_ms: head.kept_at_ms, why };
        Ok(Self { loaded, kept: Some(Resumed { told, described: kept.described }) })
    }
}

impl Resumed {
    /// Puts the descriptions where the data plane can read them; the data directory must be held.
    pub(super) fn place(&self, data: &Path, routing: &mut Routing) -> anyhow::Result<()> {
        described::place(&self.described, data, routing)
    }
}

/// Why there is no last good configuration to start from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastGoodError {
    /// Nothing was kept.
    #[error("there is no last good configuration in {}", .0.display())]
    Nothing(PathBuf),
    /// There is one, and a newer one was in force after it.
    #[error(
        "the last good configuration {} is not used: a newer one was in force after it, which could not be kept", .0.display()
    )]
    Outdated(PathBuf),
    /// The system refused.
    #[error("the last good configuration {} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("the last good configuration {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// A later version has written it.
    #[error("the last good configuration {} was written by tutti {version} in format {format}, which this version does not know", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// Whose it is.
        version: String,
    },
    /// This version does not take it.
    #[error("this version of Tutti has problems with the last good configuration, generation {0}:\n{text}", text = .1.render(false))]
    Unfit(u64, Box<Problems>),
    /// It was kept for another project.
    #[error("the last good configuration belongs to the project in {}, and this is {}", kept.display(), here.display())]
    Elsewhere {
        /// The project it belongs to.
        kept: PathBuf,
        /// The project that was meant.
        here: PathBuf,
    },
    /// The key.
    #[error("the last good configuration cannot be opened")]
    Seal(#[source] TrustError),
}

impl Classify for LastGoodError {
    fn kind(&self) -> Kind {
        match self {
            LastGoodError::Nothing(_) => Kind::NotFound,
            LastGoodError::Io { .. } | LastGoodError::Seal(_) => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn code(&self) -> Option<Code> {
        Some(code::LAST_GOOD_UNUSABLE)
    }
}
