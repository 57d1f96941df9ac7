//! The lock: `flock` on a file that says who holds it. The kernel releases it when its holder dies.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::error::DirError;

/// More than this is never written, and never read: the file could be anybody's.
const NOTE_BYTES: u64 = 512;

/// How often and how far apart the lock is tried before its holder is taken to stay.
const LOOKS: usize = 5;
const LOOK_TIME: Duration = Duration::from_millis(5);

/// The process that holds a data directory, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its id; `None` if it has not said so yet.
    pub pid: Option<u32>,
    /// What it was started as, say `tutti up`.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} ({})", self.command),
            None => f.write_str("another process, which is just starting"),
        }
    }
}

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a directory, at once or not at all.
    pub fn take(dir: &Path, command: &str) -> Result<Self, DirError> {
        let path = dir.join("lock");
        let mut file = open(&path, OFlags::CREATE).map_err(|error| DirError::io(&path, error.into()))?;
        match lock(&file) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(DirError::Locked { path: dir.to_owned(), holder: read(&mut file) });
            }
            Err(error) => return Err(DirError::io(&path, error.into())),
        }
        let lock = Self { file };
        lock.claim(command).map_err(|error| DirError::io(&path, error))?;
        Ok(lock)
    }

    /// The lock that another process holds and has handed over: it is one of the open file, so both hold it until one closes it.
    pub fn adopt(file: OwnedFd) -> Self {
        Self { file: File::from(file) }
    }

    /// The open file, to be handed over.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Writes into the file who holds it.
    pub fn claim(&self, command: &str) -> io::Result<()> {
        let command: String = command.chars().filter(|c| !c.is_control()).take(100).collect();
        let note = format!("{}\n{command}\n", std::process::id());
        let mut file = &self.file;
        self.file.set_len(0)?;
        file.rewind()?;
        file.write_all(note.as_bytes())
    }

    /// Who holds the lock of a directory.
    pub fn holder(dir: &Path) -> Result<Option<Holder>, DirError> {
        let path = dir.join("lock");
        let mut file = match open(&path, OFlags::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(DirError::io(&path, error.into())),
        };
        // Shared, so that two that only look do not see each other; released with the file.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(Errno::WOULDBLOCK) => Ok(Some(read(&mut file))),
            Err(error) => Err(DirError::io(&path, error.into())),
        }
    }
}

/// A process that only looks ([`Lock::holder`]) has the lock for some microseconds; one that stays keeps it.
fn lock(file: &File) -> Result<(), Errno> {
    for _ in 0..LOOKS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK_TIME),
            other => return other,
        }
    }
    Err(Errno::WOULDBLOCK)
}

/// Close-on-exec, so that no service inherits the lock; never through a symbolic link.
fn open(path: &Path, create: OFlags) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | create;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

fn read(file: &mut File) -> Holder {
    let mut note = String::new();
    if file.rewind().and_then(|()| file.take(NOTE_BYTES).read_to_string(&mut note)).is_err() {
        return Holder::default();
    }
    let (pid, command) = note.split_once('\n').unwrap_or_default();
    Holder { pid: pid.parse().ok(), command: command.trim().to_owned() }
}
