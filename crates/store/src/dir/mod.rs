//! The data directory: one owner at a time, private to its user, with a format version.
//!
//! | path | holds |
//! |---|---|
//! | `lock` | held (flock) while a process uses the directory; names that process |
//! | `format` | the version of the layout, written last: without it the directory is not ready |
//! | `.gitignore` | `*`: the directory often lies in the user's repository |
//! | `state.db` | the state ([`SqliteStore`](crate::SqliteStore)) |
//! | `logs/` `run/` `volumes/` `setup/` | output of services; sockets and what goes with the process; named volumes; the cache of setup steps |
//!
//! A folder that has other things in it and no `format` is never taken over.

mod atomic;
mod error;
mod layout;
mod lock;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use atomic::write_atomic;
pub use error::DirError;
pub use layout::FORMAT;
pub use lock::Holder;

use self::lock::Lock;

/// A data directory that this process holds. Clones share the lock; it is released with the last of them.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Arc<Lock>,
}

impl DataDir {
    /// Opens the directory or creates it (mode 0700), takes its lock and brings it to this version's format.
    ///
    /// `command` is shown to whoever finds the directory locked: say `tutti up`, not the whole command
    /// line, which may hold secrets.
    pub fn open(path: &Path, command: &str) -> Result<Self, DirError> {
        create(path)?;
        let path = std::path::absolute(path).map_err(|source| DirError::io(path, source))?;
        secure(&path)?;
        layout::refuse_foreign(&path)?;
        let lock = Lock::take(&path, command)?;
        layout::bring_up(&path)?;
        atomic::sweep(&path)?;
        Ok(Self { path, lock: Arc::new(lock) })
    }

    /// Takes over a directory that another process holds: `lock` is what [`DataDir::lock`] has given there. Its layout
    /// must be of this version already ([`FORMAT`]): a newer one could not be given back.
    pub fn adopt(path: &Path, lock: OwnedFd, command: &str) -> Result<Self, DirError> {
        layout::require(path)?;
        let dir = Self { path: path.to_owned(), lock: Arc::new(Lock::adopt(lock)) };
        dir.claim(command)?;
        Ok(dir)
    }

    /// The lock, to be handed to another process. The directory is held until both have let it go.
    pub fn lock(&self) -> Result<OwnedFd, DirError> {
        self.lock.duplicate().map_err(|error| DirError::io(&self.path, error))
    }

    /// Says anew that this process holds the directory, after another one had been given it.
    pub fn claim(&self, command: &str) -> Result<(), DirError> {
        self.lock.claim(command).map_err(|error| DirError::io(&self.path.join("lock"), error))
    }

    /// Who holds a directory now, without taking it; `None` when nobody does or there is none.
    pub fn holder(path: &Path) -> Result<Option<Holder>, DirError> {
        Lock::holder(path)
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state database.
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state.db")
    }

    /// Output of services.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Sockets and other things that go with the process.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Named volumes: the application's own data.
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// The cache of setup steps.
    pub fn setup(&self) -> PathBuf {
        self.path.join("setup")
    }
}

fn create(path: &Path) -> Result<(), DirError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DirError::io(path, source))
}

/// Somebody else's directory could be read or exchanged by them; and what we wrote would be theirs.
fn secure(path: &Path) -> Result<(), DirError> {
    let meta = std::fs::metadata(path).map_err(|source| DirError::io(path, source))?;
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us {
        return Err(DirError::Owner { path: path.to_owned(), owner: meta.uid(), us });
    }
    if meta.mode() & 0o077 != 0 {
        // A folder that was made by hand; what is in it is checked before anything is written.
        layout::refuse_foreign(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))
            .map_err(|source| DirError::io(path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
