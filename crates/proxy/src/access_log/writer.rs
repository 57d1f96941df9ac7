//! The thread that brings access log lines to the disk. It owns the file, so no worker ever waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::plan::Sink;
use super::{Batch, Spare};
use crate::metrics::Metrics;

/// How often the writer looks whether the file was moved away by somebody else.
const LOOK: Duration = Duration::from_secs(1);

/// What is being written.
pub struct Writer {
    metrics: Arc<Metrics>,
    current: Option<Current>,
    /// The last lines could not be written, and that has been said.
    failing: bool,
}

struct Current {
    sink: Arc<Sink>,
    out: Out,
    size: u64,
    /// The last line that was written is not whole.
    torn: bool,
}

enum Out {
    File(File),
    Stdout(io::Stdout),
    /// It could not be opened; that is tried again.
    Nothing,
}

impl Writer {
    /// A writer that has nothing open.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, current: None, failing: false }
    }

    /// Writes what comes until every sender is gone.
    pub(super) fn run(mut self, batches: &Receiver<Batch>, spare: &Spare) {
        let mut looked = Instant::now();
        loop {
            match batches.recv_timeout(LOOK) {
                Ok(batch) => {
                    self.write(&batch);
                    spare.give(batch.bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Also when it is never idle: a file that was moved away would grow for ever.
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if let Some(current) = &mut self.current {
                    current.follow();
                }
            }
        }
        if let Some(Current { out: Out::File(file), .. }) = &self.current
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(%error, "the access log's last lines may not be on the disk");
        }
    }

    fn write(&mut self, batch: &Batch) {
        let current = match &mut self.current {
            Some(current) if current.sink == batch.sink => current,
            _ => self.current.insert(Current::open(Arc::clone(&batch.sink))),
        };
        match current.write(&batch.bytes) {
            Ok(()) => self.failing = false,
            Err((written, error)) => {
                let left = batch.bytes.get(written..).unwrap_or_default();
                let lines = left.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.metrics.log_dropped.add(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, lines, "access log lines cannot be written; they are dropped and counted until they can");
                }
            }
        }
    }
}

impl Current {
    fn open(sink: Arc<Sink>) -> Self {
        let mut current = Self { sink, out: Out::Nothing, size: 0, torn: false };
        current.reopen();
        current
    }

    /// Writes whole lines. An error says how many bytes were written before it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.sink.path.is_some()
            && self.size > 0
            && self.size + bytes.len() as u64 > self.sink.rotate_bytes
        {
            self.rotate();
        }
        if matches!(self.out, Out::Nothing) {
            self.reopen();
        }
        let torn = std::mem::take(&mut self.torn);
        let out: &mut dyn Write = match &mut self.out {
            Out::File(file) => file,
            Out::Stdout(out) => out,
            Out::Nothing => return Err((0, io::Error::other("the file cannot be opened"))),
        };
        if torn && let Err(error) = out.write_all(b"\n") {
            self.torn = true;
            return Err((0, error));
        }
        let (written, result) = write_some(out, bytes);
        self.size += written as u64;
        self.torn = written > 0 && bytes.get(written - 1) != Some(&b'\n');
        result.map_err(|error| (written, error))
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the oldest goes.
    fn rotate(&mut self) {
        let Some(log) = &self.sink.path else { return };
        let path = |n: u32| {
            let mut name = log.clone().into_os_string();
            if n > 0 {
                name.push(format!(".{n}"));
            }
            PathBuf::from(name)
        };
        for n in (0..self.sink.keep).rev() {
            // One that does not exist yet is no error.
            let _ = fs::rename(path(n), path(n + 1));
        }
        if self.sink.keep == 0 {
            let _ = fs::remove_file(path(0));
        }
        self.reopen();
    }

    /// A file that was renamed or removed by a log rotation tool is begun anew; of one that was cut the size is known again.
    fn follow(&mut self) {
        let (Some(path), Out::File(file)) = (&self.sink.path, &self.out) else { return };
        match (fs::metadata(path), file.metadata()) {
            (Ok(named), Ok(open)) if (named.ino(), named.dev()) == (open.ino(), open.dev()) => {
                self.size = open.len();
            }
            _ => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.sink.path else {
            self.out = Out::Stdout(io::stdout());
            return;
        };
        match open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size, file)) => {
                (self.size, self.out, self.torn) = (size, Out::File(file), false);
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot reopen the access log")
            }
        }
    }
}

/// Writes as much as is taken.
fn write_some(out: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, out.flush())
}

/// Opens a file for appending; makes it and its folder if they do not exist.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn sink(path: PathBuf, rotate_bytes: u64, keep: u32) -> Arc<Sink> {
        Arc::new(Sink { path: Some(path), rotate_bytes, keep })
    }

    fn names(folder: &Path) -> Vec<(String, String)> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let sink = sink(path, 4, 2);
        let (sender, receiver) = sync_channel(8);
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n"] {
            sender.send(Batch { sink: Arc::clone(&sink), bytes: line.as_bytes().to_vec() }).unwrap();
        }
        drop(sender);
        Writer::new(Arc::default()).run(&receiver, &Spare::default());
        let expected = [("access.log", "7\n"), ("access.log.1", "5\n6\n"), ("access.log.2", "3\n4\n")];
        assert_eq!(names(folder.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_that_was_moved_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/access.log");
        let mut writer = Current::open(sink(path.clone(), 1 << 20, 1));
        writer.write(b"1\n").unwrap();
        fs::rename(&path, folder.path().join("logs/moved")).unwrap();
        writer.follow();
        writer.write(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        writer.follow();
        writer.write(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n3\n");
        // Cut in place, as `copytruncate` does.
        fs::write(&path, "").unwrap();
        writer.follow();
        assert_eq!(writer.size, 0);
        fs::remove_file(&path).unwrap();
        writer.follow();
        writer.write(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
    }

    /// Takes some bytes, then none for a while.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(&bytes[..taken]);
            self.1 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_has_taken_is_known() {
        let mut out = Narrow(Vec::new(), 3);
        let (written, result) = write_some(&mut out, b"1\n2\n");
        assert!(written == 3 && result.unwrap_err().kind() == io::ErrorKind::StorageFull);
        let (written, result) = write_some(&mut Narrow(Vec::new(), 9), b"1\n2\n");
        assert!(written == 4 && result.is_ok());
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many() {
        let metrics = Arc::<Metrics>::default();
        let mut writer = Writer::new(Arc::clone(&metrics));
        // Takes nothing, ever.
        let full = sink("/dev/full".into(), u64::MAX, 0);
        for _ in 0..3 {
            writer.write(&Batch { sink: Arc::clone(&full), bytes: b"1\n2\n".to_vec() });
        }
        assert_eq!(metrics.log_dropped.get(), 6);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        writer.write(&Batch { sink: sink(path.clone(), 1 << 20, 0), bytes: b"3\n".to_vec() });
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert!(!writer.failing);
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Current::open(sink(path.clone(), 1 << 20, 0));
        writer.write(b"1\nhal").unwrap();
        assert!(writer.torn);
        writer.write(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\nhal\n2\n");
    }
}
