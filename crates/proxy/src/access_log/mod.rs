//! The access log: each worker formats into a buffer of its own and hands full buffers to one writer thread.
//!
//! The data plane never waits for it: when the writer is behind by [`limits::ACCESS_LOG_BUFFERS`], lines are dropped
//! and counted.

pub mod line;
mod writer;

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tutti_core::limits;

use crate::config::{AccessLogOptions, LogFormat};
use crate::metrics::Metrics;
use line::{Line, Stamp};

/// Starts the writer. It ends when the last [`Feed`] made of the sender is gone; the caller joins it.
pub fn start(options: AccessLogOptions, metrics: Arc<Metrics>) -> io::Result<(Opened, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(limits::ACCESS_LOG_BUFFERS);
    let format = options.format;
    let writer = writer::Writer::open(options, metrics)?;
    let thread = std::thread::Builder::new()
        .name("tutti-access-log".to_owned())
        .spawn(move || writer.run(&receiver))?;
    Ok((Opened { sender, format }, thread))
}

/// An access log that is being written.
#[derive(Clone)]
pub struct Opened {
    sender: SyncSender<Vec<u8>>,
    format: LogFormat,
}

/// One worker's way to the writer. Shared with the bodies of that worker's responses, which end on its thread:
/// the lock is never waited for.
pub struct Feed {
    opened: Option<Opened>,
    metrics: Arc<Metrics>,
    buffer: Mutex<Buffer>,
    /// Something is in an empty buffer: it must be flushed before long.
    begun: Notify,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    stamp: Stamp,
}

impl Feed {
    /// A feed; without a log it swallows everything.
    pub fn new(opened: Option<Opened>, metrics: Arc<Metrics>) -> Self {
        Self { opened, metrics, buffer: Mutex::default(), begun: Notify::new() }
    }

    /// Whether lines are wanted.
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Records a request.
    pub fn record(&self, line: &Line<'_>) {
        let Some(opened) = &self.opened else { return };
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = &mut *buffer;
        if buffer.bytes.is_empty() {
            self.begun.notify_one();
        }
        line.write(opened.format, &mut buffer.stamp, &mut buffer.bytes);
        buffer.lines += 1;
        if buffer.bytes.len() >= limits::ACCESS_LOG_BUFFER {
            self.hand_over(opened, buffer);
        }
    }

    /// Waits until there is something to flush.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        let Some(opened) = &self.opened else { return };
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if !buffer.bytes.is_empty() {
            self.hand_over(opened, &mut buffer);
        }
    }

    fn hand_over(&self, opened: &Opened, buffer: &mut Buffer) {
        let room = Vec::with_capacity(limits::ACCESS_LOG_BUFFER + limits::ACCESS_LOG_FIELD);
        let bytes = std::mem::replace(&mut buffer.bytes, room);
        let lines = std::mem::take(&mut buffer.lines);
        match opened.sender.try_send(bytes) {
            Ok(()) => {}
            Err(TrySendError::Full(mut bytes) | TrySendError::Disconnected(mut bytes)) => {
                self.metrics.log_dropped.add(lines);
                bytes.clear();
                buffer.bytes = bytes;
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
    use std::time::{Duration, UNIX_EPOCH};

    fn line(path: &str) -> Line<'_> {
        Line {
            at: UNIX_EPOCH,
            listener: "l",
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

    #[test]
    fn lines_reach_the_file_when_the_feed_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let metrics = Arc::<Metrics>::default();
        let (opened, thread) = start(AccessLogOptions::json(path.clone()), Arc::clone(&metrics)).unwrap();
        let feed = Feed::new(Some(opened), metrics);
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
        let opened = Opened { sender, format: LogFormat::Json };
        let feed = Feed::new(Some(opened), Arc::clone(&metrics));
        let long = "x".repeat(1_000);
        for _ in 0..100 {
            feed.record(&line(&long));
        }
        let written = receiver.try_recv().unwrap().iter().filter(|byte| **byte == b'\n').count() as u64;
        let held = feed.buffer.lock().unwrap().lines;
        assert!(metrics.log_dropped.get() > 0);
        assert_eq!(metrics.log_dropped.get() + written + held, 100);
    }
}
