//! What services print: captured by line, kept in bounded files, and read back.
//!
//! Files are `<data>/logs/<service>/<n>.log`, see [`file`]. A line has a time, an instance, a stream and a number
//! that grows by one within its service, also over restarts of Tutti. Nothing here grows without bound: not a line,
//! not the queue to the disk, not the files, not what a slow follower has not read.

mod capture;
mod file;
mod line;
mod query;
mod render;
mod writer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, broadcast, mpsc, oneshot};
use tutti_core::{InstanceId, ServiceName};

use crate::metrics::Metrics;
use crate::options::LogOptions;
pub(crate) use capture::{Captured, LastLines, Source, Tap, capture, pipe, read};
pub(crate) use line::Splitter;
pub use render::{Fields, fields};
use writer::ToDisk;
pub(crate) use writer::Writer;

/// Lines that a follower may lag behind before it loses the oldest.
const FOLLOW_LINES: usize = 1024;

/// Batches of lines on their way to the disk; each is at most what one read from a pipe gives.
const DISK_QUEUE: usize = 64;

/// Which stream a line was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What a setup step printed.
    Setup,
    /// What Tutti says of the instance.
    Tutti,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read: microseconds since 1970.
    pub at_us: u64,
    /// Its number within the service.
    pub seq: u64,
    /// The service.
    pub service: ServiceName,
    /// The ordinal of the instance: 2 for `catalog-2`; 0 for setup steps and one-off commands.
    pub ordinal: u32,
    /// The stream.
    pub stream: Stream,
    /// It was longer than the limit, and its end is missing.
    #[serde(default)]
    pub cut: bool,
    /// It had no line end for a while; the next line of the stream continues it.
    #[serde(default)]
    pub partial: bool,
    /// The text, without line end. What is not UTF-8 is replaced.
    pub text: String,
}

/// Which lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogQuery {
    /// Of these services; empty: of all.
    pub services: Vec<String>,
    /// Of this instance only.
    pub instance: Option<String>,
    /// Not older: microseconds since 1970.
    pub since_us: Option<u64>,
    /// Not younger.
    pub until_us: Option<u64>,
    /// The last so many of each instance.
    pub tail: Option<usize>,
}

impl LogQuery {
    pub(crate) fn wants_service(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|name| name == service)
    }

    pub(crate) fn wants(&self, line: &LogLine) -> bool {
        self.wants_service(line.service.as_str())
            && self.since_us.is_none_or(|since| line.at_us >= since)
            && self.until_us.is_none_or(|until| line.at_us <= until)
            && self
                .instance
                .as_ref()
                .is_none_or(|id| *id == InstanceId::of(&line.service, line.ordinal).as_str())
    }
}

/// What a follower reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A line.
    Line(Arc<LogLine>),
    /// So many lines were lost, because they came faster than they were read. They are in the files.
    Lost(u64),
}

/// Old lines, then new ones as they come.
pub struct Follower {
    query: LogQuery,
    history: VecDeque<LogLine>,
    /// The highest number of each service in the history: what the live feed repeats is left out.
    seen: HashMap<ServiceName, u64>,
    live: broadcast::Receiver<Arc<LogLine>>,
}

impl Follower {
    /// The next line; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Followed> {
        if let Some(line) = self.history.pop_front() {
            return Some(Followed::Line(Arc::new(line)));
        }
        loop {
            match self.live.recv().await {
                Ok(line) => {
                    let repeated = self.seen.get(&line.service).is_some_and(|seen| line.seq <= *seen);
                    if !repeated && self.query.wants(&line) {
                        return Some(Followed::Line(line));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(count)) => return Some(Followed::Lost(count)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The logs of all services.
pub(crate) struct Logs {
    folder: PathBuf,
    /// Held from a line's numbering until it is queued for the disk, so that files are in order.
    next: tokio::sync::Mutex<HashMap<ServiceName, u64>>,
    live: Mutex<Option<broadcast::Sender<Arc<LogLine>>>>,
    disk: mpsc::Sender<ToDisk>,
    metrics: Arc<Metrics>,
    /// Many read pipes at once; who hands them over waits until none does.
    reading: Arc<RwLock<()>>,
}

impl Logs {
    /// Opens the logs below `folder`. The writer must be run on a thread of its own; `notice` is told, rarely, that
    /// lines were dropped.
    pub(crate) fn open(
        folder: PathBuf,
        services: impl Iterator<Item = ServiceName>,
        options: LogOptions,
        metrics: Arc<Metrics>,
        notice: impl Fn(&ServiceName, String) + Send + 'static,
    ) -> io::Result<(Self, Writer)> {
        std::fs::create_dir_all(&folder)?;
        let next =
            services.map(|name| (name.clone(), file::last_seq(&folder.join(name.as_str())) + 1)).collect();
        let (disk, inbox) = mpsc::channel(DISK_QUEUE);
        let writer = Writer::new(folder.clone(), options, inbox, Arc::clone(&metrics), Box::new(notice));
        let (live, _) = broadcast::channel(FOLLOW_LINES);
        Ok((
            Self {
                folder,
                next: tokio::sync::Mutex::new(next),
                live: Mutex::new(Some(live)),
                disk,
                metrics,
                reading: Arc::default(),
            },
            writer,
        ))
    }

    /// Held by whoever reads a pipe until what was read is in the logs.
    pub(crate) async fn busy(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.reading).read_owned().await
    }

    /// As long as this is held nothing is read from any pipe, and what was read is in the files.
    pub(crate) async fn quiet(&self) -> OwnedRwLockWriteGuard<()> {
        let quiet = Arc::clone(&self.reading).write_owned().await;
        self.flush().await;
        quiet
    }

    async fn flush(&self) {
        let (flushed, done) = oneshot::channel();
        if self.disk.send(ToDisk::Flush(flushed)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Numbers lines, shows them to followers and sends them to the disk. Waits while the disk's queue is full.
    pub(crate) async fn add(&self, mut lines: Vec<LogLine>) {
        self.metrics.log_lines.add(lines.len() as u64);
        let mut next = self.next.lock().await;
        for line in &mut lines {
            let seq = next
                .entry(line.service.clone())
                .or_insert_with(|| file::last_seq(&self.folder.join(line.service.as_str())) + 1);
            line.seq = *seq;
            *seq += 1;
        }
        {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(live) = live.as_ref().filter(|live| live.receiver_count() > 0) {
                for line in &lines {
                    let _ = live.send(Arc::new(line.clone()));
                }
            }
        }
        let _ = self.disk.send(ToDisk::Lines(lines)).await;
    }

    /// Lines that were printed, oldest first.
    pub(crate) async fn query(&self, query: LogQuery) -> Vec<LogLine> {
        self.flush().await;
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || query::read(&folder, &query)).await.unwrap_or_default()
    }

    /// Lines that were printed, then new ones.
    pub(crate) async fn follow(&self, query: LogQuery) -> Follower {
        let live =
            self.live.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|live| live.subscribe());
        let history = self.query(query.clone()).await;
        let mut seen = HashMap::new();
        for line in &history {
            let last = seen.entry(line.service.clone()).or_insert(0_u64);
            *last = line.seq.max(*last);
        }
        let live = live.unwrap_or_else(|| broadcast::channel(1).1);
        Follower { query, history: history.into(), seen, live }
    }

    /// Ends every follower and, when the queue is written, the writer.
    pub(crate) async fn close(&self) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.disk.send(ToDisk::Close).await;
    }
}

/// Lines that were printed, oldest first, from a data directory whose Tutti does not run. Blocks.
pub fn read_back(data_dir: &std::path::Path, query: &LogQuery) -> Vec<LogLine> {
    query::read(&data_dir.join("logs"), query)
}

/// Every service that has a log.
pub(crate) fn logged_services(folder: &std::path::Path) -> HashSet<ServiceName> {
    let Ok(entries) = std::fs::read_dir(folder) else { return HashSet::new() };
    entries.filter_map(|entry| ServiceName::new(entry.ok()?.file_name().to_str()?).ok()).collect()
}

#[cfg(test)]
mod tests;
