//! What Tutti has to say of itself: `<data>/tutti.log`, bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use tutti_store::DataDir;

/// A file of this size is put aside as `tutti.log.1`, in place of the one that was put aside before.
const FILE_BYTES: u64 = 8 << 20;

/// Sends what Tutti has to say of itself to `<data>/tutti.log`; `TUTTI_LOG` chooses how much (`info` if not set).
pub(super) fn log_to(data: &DataDir) -> anyhow::Result<()> {
    let path = data.path().join("tutti.log");
    let file = Bounded::open(&path, FILE_BYTES);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("TUTTI_LOG").unwrap_or_else(|_| "info".into());
    // A second engine in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
    Ok(())
}

/// A file that is put aside when it has grown to a size.
struct Bounded {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
}

impl Bounded {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, most })
    }

    /// Puts the file aside and begins a new one; if that fails, the old one is gone on with.
    fn turn(&mut self) -> io::Result<()> {
        let (named, ours) = (fs::metadata(&self.path), self.file.metadata()?);
        // Another process, that has taken over or is upgraded away, may have done it: then what is there is its file, and ours.
        if named.is_ok_and(|named| (named.dev(), named.ino()) != (ours.dev(), ours.ino())) {
            *self = Self::open(&self.path, self.most)?;
            return Ok(());
        }
        fs::rename(&self.path, self.path.with_extension("log.1"))?;
        *self = Self::open(&self.path, self.most)?;
        Ok(())
    }
}

impl Write for Bounded {
    /// Writes a whole line, as the subscriber hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size >= self.most {
            // Next time it is tried again: a log that cannot be turned is better than none.
            let _ = self.turn();
        }
        self.file.write_all(line)?;
        self.size = self.size.saturating_add(line.len() as u64);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_hold_the_newest_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tutti.log");
        let mut log = Bounded::open(&path, 10).unwrap();
        for line in ["first..10\n", "second.10\n", "third..10\n", "4\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
        assert_eq!(fs::read_to_string(folder.path().join("tutti.log.1")).unwrap(), "third..10\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        drop(log);
        assert_eq!(Bounded::open(&path, 10).unwrap().size, 2);
    }

    #[test]
    fn two_processes_put_a_file_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tutti.log");
        let (mut old, mut new) = (Bounded::open(&path, 10).unwrap(), Bounded::open(&path, 10).unwrap());
        old.write_all(b"old..8..10\n").unwrap();
        new.write_all(b"new..8..10\n").unwrap();
        new.write_all(b"new\n").unwrap();
        old.write_all(b"old\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\nold\n");
        assert!(fs::read_to_string(folder.path().join("tutti.log.1")).unwrap().contains("new..8"));
    }
}
