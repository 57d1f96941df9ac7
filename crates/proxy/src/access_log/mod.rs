//! The access log: each worker formats into a buffer of its own and hands full buffers to one writer thread.
//!
//! The data plane never waits for it: when the writer is behind by [`limits::ACCESS_LOG_BUFFERS`], lines are dropped
//! and counted; so are lines that the disk does not take.

pub mod line;
pub mod plan;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;
use tutti_core::limits;

use crate::metrics::Metrics;
use line::{Line, Stamp};
use plan::{Plan, Sink};
pub use writer::open;

/// Starts the writer. It ends when the last [`Feed`] made of the sender is gone; the caller joins it.
pub fn start(metrics: Arc<Metrics>) -> io::Result<(Opened, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(limits::ACCESS_LOG_BUFFERS);
    let writer = writer::Writer::new(metrics);
    let spare = Arc::<Spare>::default();
    let back = Arc::clone(&spare);
    let thread = std::thread::Builder::new()
        .name("tutti-access-log".to_owned())
        .spawn(move || writer.run(&receiver, &back))?;
    Ok((Opened { sender, spare }, thread))
}

/// Lines on their way to a sink.
#[derive(Debug)]
pub struct Batch {
    /// Where they go.
    sink: Arc<Sink>,
    /// Whole lines.
    bytes: Vec<u8>,
}

/// The way to the writer.
#[derive(Clone)]
pub struct Opened {
    sender: SyncSender<Batch>,
    spare: Arc<Spare>,
}

/// Buffers that have been written, to be filled again: room of their size is asked of the system each time.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(limits::ACCESS_LOG_BUFFER + limits::ACCESS_LOG_FIELD))
    }

    fn give(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < limits::ACCESS_LOG_SPARE {
            kept.push(bytes);
        }
    }
}

/// One worker's way to the writer. Shared with the bodies of that worker's responses, which end on its thread:
/// the lock is never waited for.
pub struct Feed {
    opened: Opened,
    metrics: Arc<Metrics>,
    open: AtomicBool,
    buffer: Mutex<Buffer>,
    /// Something is in an empty buffer: it must be flushed before long.
    begun: Notify,
}

#[derive(Default)]
struct Buffer {
    plan: Option<Arc<Plan>>,
    bytes: Vec<u8>,
    lines: u64,
    stamp: Stamp,
}

impl Feed {
    /// A feed that swallows everything until it is told how to record.
    pub fn new(opened: Opened, metrics: Arc<Metrics>) -> Self {
        let open = AtomicBool::new(false);
        Self { opened, metrics, open, buffer: Mutex::default(), begun: Notify::new() }
    }

    /// From now on lines are made like this. What was recorded before goes where it should have gone.
    pub fn follow(&self, plan: Option<&Arc<Plan>>) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.plan.as_ref().map(Arc::as_ptr) != plan.map(Arc::as_ptr) {
            self.hand_over(&mut buffer);
            buffer.plan = plan.cloned();
            self.open.store(plan.is_some(), Ordering::Relaxed);
        }
    }

    /// Whether lines are wanted.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Records a request, if it is one of those that are wanted.
    pub fn record(&self, line: &Line<'_>) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffer { plan: Some(plan), bytes, stamp, lines } = &mut *buffer else { return };
        if !plan.wants(line) {
            return;
        }
        if bytes.is_empty() {
            self.begun.notify_one();
        }
        line.write(plan, stamp, bytes);
        *lines += 1;
        if bytes.len() >= limits::ACCESS_LOG_BUFFER {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what has waited for so long, for ever.
    pub async fn keep_flushing(&self, after: Duration) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(after).await;
            self.flush();
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let Some(plan) = &buffer.plan else { return };
        if buffer.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::replace(&mut buffer.bytes, self.opened.spare.take());
        let lines = std::mem::take(&mut buffer.lines);
        match self.opened.sender.try_send(Batch { sink: Arc::clone(&plan.sink), bytes }) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.metrics.log_dropped.add(lines);
                self.opened.spare.give(batch.bytes);
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn line(path: &str) -> Line<'_> {
        Line {
            at: UNIX_EPOCH,
            listener: "l",
            host: b"",
            first_byte: None,
            trace: 0,
            route: None,
            client: None,
            method: "GET",
            path,
            protocol: "h2",
            status: 200,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            service: None,
            instance: None,
            attempts: 0,
            request_id: b"",
            trace_id: b"",
            fault: None,
        }
    }

    fn plan(path: std::path::PathBuf) -> Arc<Plan> {
        let options = crate::config::AccessLogOptions::json(path);
        Plan::compile(&Default::default(), Some(&options)).unwrap()
    }

    #[test]
    fn a_change_of_the_place_loses_and_mixes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let metrics = Arc::<Metrics>::default();
        let (opened, thread) = start(Arc::clone(&metrics)).unwrap();
        let feed = Feed::new(opened, Arc::clone(&metrics));
        feed.follow(Some(&plan(one.clone())));
        feed.record(&line("/one"));
        feed.follow(Some(&plan(two.clone())));
        feed.record(&line("/two"));
        feed.follow(None);
        assert!(!feed.is_open());
        feed.record(&line("/three"));
        drop(feed);
        thread.join().unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        let (one, two) = (read(one), read(two));
        assert!(one.contains("/one") && one.lines().count() == 1, "{one}");
        assert!(two.contains("/two") && two.lines().count() == 1, "{two}");
        assert_eq!(metrics.log_dropped.get(), 0);
    }

    #[test]
    fn lines_reach_the_file_when_the_feed_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let metrics = Arc::<Metrics>::default();
        let (opened, thread) = start(Arc::clone(&metrics)).unwrap();
        let feed = Feed::new(opened, metrics);
        feed.record(&line("/never"));
        feed.follow(Some(&plan(path.clone())));
        feed.record(&line("/one"));
        feed.record(&line("/two"));
        drop(feed);
        thread.join().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().count() == 2 && text.contains("\"/one\"") && text.contains("\"/two\""));
    }

    #[test]
    fn a_writer_that_is_behind_costs_lines_not_time() {
        let (sender, receiver) = sync_channel(1);
        let metrics = Arc::<Metrics>::default();
        let feed = Feed::new(Opened { sender, spare: Arc::default() }, Arc::clone(&metrics));
        feed.follow(Some(&plan("/nowhere".into())));
        let long = "x".repeat(1_000);
        for _ in 0..400 {
            feed.record(&line(&long));
        }
        let written = receiver.try_recv().unwrap().bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let held = feed.buffer.lock().unwrap().lines;
        assert!(metrics.log_dropped.get() > 0);
        assert_eq!(metrics.log_dropped.get() + written + held, 400);
    }
}
