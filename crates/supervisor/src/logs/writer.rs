//! Writes lines to their files on a thread of its own, so that no service and no request waits for the disk.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tutti_core::ServiceName;

use super::{LogLine, file};
use crate::metrics::Metrics;
use crate::options::LogOptions;

/// Time between two notices of dropped lines.
const NOTICE_PAUSE: Duration = Duration::from_secs(60);

pub(super) enum ToDisk {
    Lines(Vec<LogLine>),
    Flush(oneshot::Sender<()>),
    Close,
}

type Notice = Box<dyn Fn(&ServiceName, String) + Send>;

/// Runs until it is told to close, or nobody can tell it anything any more.
pub(crate) struct Writer {
    folder: PathBuf,
    options: LogOptions,
    inbox: mpsc::Receiver<ToDisk>,
    open: HashMap<ServiceName, Open>,
    metrics: Arc<Metrics>,
    notice: Notice,
    noticed: Option<Instant>,
}

struct Open {
    file: File,
    number: u64,
    size: u64,
    /// The last write failed, maybe in the middle of a line.
    torn: bool,
}

impl Writer {
    pub(super) fn new(
        folder: PathBuf,
        options: LogOptions,
        inbox: mpsc::Receiver<ToDisk>,
        metrics: Arc<Metrics>,
        notice: Notice,
    ) -> Self {
        Self { folder, options, inbox, open: HashMap::new(), metrics, notice, noticed: None }
    }

    /// Blocks; for a thread of its own.
    pub(crate) fn run(mut self) {
        while let Some(order) = self.inbox.blocking_recv() {
            match order {
                ToDisk::Lines(lines) => self.write(&lines),
                ToDisk::Flush(done) => {
                    let _ = done.send(());
                }
                ToDisk::Close => return,
            }
        }
    }

    fn write(&mut self, lines: &[LogLine]) {
        for batch in lines.chunk_by(|a, b| a.service == b.service) {
            let Some(service) = batch.first().map(|line| line.service.clone()) else { continue };
            let mut bytes = Vec::new();
            for line in batch {
                file::encode(line, &mut bytes);
            }
            if let Err(error) = self.append(&service, &bytes) {
                self.metrics.log_lines_dropped.add(batch.len() as u64);
                let total = self.metrics.log_lines_dropped.get();
                if self.noticed.is_none_or(|at| at.elapsed() > NOTICE_PAUSE) {
                    self.noticed = Some(Instant::now());
                    let why = format!(
                        "{}: log lines cannot be written and are dropped ({total} so far): {error}",
                        tutti_core::code::LOGS_DROPPED
                    );
                    (self.notice)(&service, why);
                }
            }
        }
    }

    fn append(&mut self, service: &ServiceName, bytes: &[u8]) -> io::Result<()> {
        let full = self.open.get(service).is_some_and(|open| open.size >= self.options.file_bytes);
        if full {
            self.open.remove(service);
        }
        if !self.open.contains_key(service) {
            let open = self.begin(service)?;
            self.open.insert(service.clone(), open);
        }
        let Some(open) = self.open.get_mut(service) else { return Ok(()) };
        if std::mem::take(&mut open.torn) {
            open.torn = open.file.write_all(b"\n").is_err();
        }
        let result = open.file.write_all(bytes);
        match &result {
            Ok(()) => open.size += bytes.len() as u64,
            Err(_) => open.torn = true,
        }
        result
    }

    /// Goes on with the newest file if it has room, or begins the next one and removes what is too much.
    fn begin(&self, service: &ServiceName) -> io::Result<Open> {
        let folder = self.folder.join(service.as_str());
        fs::create_dir_all(&folder)?;
        let files = file::files(&folder);
        let newest = files.last().map(|(number, path)| (*number, fs::metadata(path).map_or(0, |m| m.len())));
        let (number, size) = match newest {
            Some((number, size)) if size < self.options.file_bytes => (number, size),
            Some((number, _)) => (number + 1, 0),
            None => (1, 0),
        };
        let keep = self.options.files.max(1);
        let existing = files.iter().filter(|(old, _)| *old != number);
        let surplus = (existing.clone().count() + 1).saturating_sub(keep);
        for (_, path) in existing.take(surplus) {
            let _ = fs::remove_file(path);
        }
        self.bound_total();
        let file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{number}.log")))?;
        // A crash may have left a line without its end; a newline too many is no line.
        Ok(Open { file, number, size, torn: size > 0 })
    }

    /// Removes the oldest files of all services until all together are within the bound.
    fn bound_total(&self) {
        let mut all: Vec<(std::time::SystemTime, u64, PathBuf)> = Vec::new();
        for service in super::logged_services(&self.folder) {
            let writing = self.open.get(&service).map(|open| open.number);
            for (number, path) in file::files(&self.folder.join(service.as_str())) {
                if let (Ok(meta), true) = (fs::metadata(&path), Some(number) != writing) {
                    let age = meta.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
                    all.push((age, meta.len(), path));
                }
            }
        }
        all.sort();
        let mut total: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in all {
            if total <= self.options.total_bytes {
                return;
            }
            let _ = fs::remove_file(path);
            total = total.saturating_sub(size);
        }
    }
}
