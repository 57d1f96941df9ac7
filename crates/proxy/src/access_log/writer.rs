//! The thread that brings access log lines to the disk. It owns the file, so no worker ever waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::config::AccessLogOptions;
use crate::metrics::Metrics;

/// How often the writer looks whether the file was moved away by somebody else.
const LOOK: Duration = Duration::from_secs(1);

/// The file being written.
pub struct Writer {
    options: AccessLogOptions,
    metrics: Arc<Metrics>,
    file: File,
    size: u64,
}

impl Writer {
    /// Opens the file for appending; makes it and its folder if they do not exist.
    pub fn open(options: AccessLogOptions, metrics: Arc<Metrics>) -> io::Result<Self> {
        if let Some(folder) = options.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = append(&options.path)?;
        let size = file.metadata()?.len();
        Ok(Self { options, metrics, file, size })
    }

    /// Writes what comes until every sender is gone.
    pub fn run(mut self, lines: &Receiver<Vec<u8>>) {
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(buffer) => self.write(&buffer),
                Err(RecvTimeoutError::Timeout) => self.follow(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(%error, "the access log's last lines may not be on the disk");
        }
    }

    fn write(&mut self, buffer: &[u8]) {
        if self.size > 0 && self.size + buffer.len() as u64 > self.options.rotate_bytes {
            self.rotate();
        }
        match self.file.write_all(buffer) {
            Ok(()) => self.size += buffer.len() as u64,
            Err(error) => {
                let lines = buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.metrics.log_dropped.add(lines);
                tracing::warn!(%error, lines, "access log lines could not be written");
            }
        }
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the oldest goes.
    fn rotate(&mut self) {
        let path = |n: u32| {
            let mut name = self.options.path.clone().into_os_string();
            if n > 0 {
                name.push(format!(".{n}"));
            }
            PathBuf::from(name)
        };
        for n in (0..self.options.keep).rev() {
            // One that does not exist yet is no error.
            let _ = fs::rename(path(n), path(n + 1));
        }
        if self.options.keep == 0 {
            let _ = fs::remove_file(path(0));
        }
        self.reopen();
    }

    /// A file that was renamed or removed by a log rotation tool is begun anew.
    fn follow(&mut self) {
        let same = match (fs::metadata(&self.options.path), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.ino(), named.dev()) == (open.ino(), open.dev()),
            _ => false,
        };
        if !same {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        match append(&self.options.path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size, file)) => (self.size, self.file) = (size, file),
            Err(error) => {
                tracing::warn!(%error, path = %self.options.path.display(), "cannot reopen the access log")
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

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
        let options = AccessLogOptions { rotate_bytes: 4, keep: 2, ..AccessLogOptions::json(path) };
        let (sender, receiver) = sync_channel(8);
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n"] {
            sender.send(line.as_bytes().to_vec()).unwrap();
        }
        drop(sender);
        Writer::open(options, Arc::default()).unwrap().run(&receiver);
        let expected = [("access.log", "7\n"), ("access.log.1", "5\n6\n"), ("access.log.2", "3\n4\n")];
        assert_eq!(names(folder.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_that_was_moved_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/access.log");
        let mut writer = Writer::open(AccessLogOptions::json(path.clone()), Arc::default()).unwrap();
        writer.write(b"1\n");
        fs::rename(&path, folder.path().join("logs/moved")).unwrap();
        writer.follow();
        writer.write(b"2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        writer.follow();
        writer.write(b"3\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n3\n");
    }
}
