//! Reads a process's output from its pipes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tutti_core::ServiceName;

use super::line::{Cut, Splitter};
use super::{LogLine, Logs, Stream};

/// A line without an end is shown after this time.
const PARTIAL_AFTER: Duration = Duration::from_millis(100);

/// Lines kept in memory to explain an exit.
const LAST_LINES: usize = 10;

/// Longest line among them.
const LAST_LINE_BYTES: usize = 2000;

/// The last lines that an instance printed.
#[derive(Clone, Default)]
pub(crate) struct Captured {
    last: Arc<Mutex<[VecDeque<String>; 2]>>,
}

impl Captured {
    /// Those on standard error, or on standard output if there were none.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let [out, err] = &*last;
        let chosen = if err.is_empty() { out } else { err };
        chosen.iter().cloned().collect()
    }

    fn note(&self, stream: Stream, cuts: &[Cut]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let [out, err] = &mut *last;
        let kept = if stream == Stream::Stderr { err } else { out };
        for cut in cuts.iter().filter(|cut| !cut.text.trim().is_empty()) {
            let fits = cut.text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= LAST_LINE_BYTES);
            kept.push_back(fits.map(|(_, c)| c).collect());
            if kept.len() > LAST_LINES {
                kept.pop_front();
            }
        }
    }
}

/// A pipe whose reading end is ours.
pub(crate) fn pipe() -> io::Result<(AsyncFd<OwnedFd>, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((crate::sys::watched(read, tokio::io::Interest::READABLE)?, write))
}

/// Reads what is there. 0: the end.
pub(crate) async fn read(pipe: &AsyncFd<OwnedFd>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut guard = pipe.readable().await?;
        let result = guard.try_io(|pipe| Ok(rustix::io::read(pipe.get_ref(), &mut *into)?));
        match result {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

/// Whose output it is.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) service: ServiceName,
    pub(crate) ordinal: u32,
    pub(crate) stream: Stream,
}

/// Reads lines until the pipe's end and adds them to the logs.
pub(crate) async fn capture(pipe: AsyncFd<OwnedFd>, source: Source, logs: Arc<Logs>, last: Captured) {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0_u8; 16 << 10];
    loop {
        let mut cuts = Vec::new();
        let read = tokio::select! {
            read = read(&pipe, &mut buffer) => Some(read),
            () = tokio::time::sleep(PARTIAL_AFTER), if splitter.is_open() => None,
        };
        let ended = match read {
            Some(Ok(count)) if count > 0 => {
                splitter.push(buffer.get(..count).unwrap_or_default(), &mut cuts);
                false
            }
            Some(_) => {
                splitter.finish(&mut cuts);
                true
            }
            None => {
                splitter.flush(&mut cuts);
                false
            }
        };
        if !cuts.is_empty() {
            last.note(source.stream, &cuts);
            logs.add(lines(&source, cuts)).await;
        }
        if ended {
            return;
        }
    }
}

fn lines(source: &Source, cuts: Vec<Cut>) -> Vec<LogLine> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let line = |cut: Cut| LogLine {
        at_us,
        seq: 0,
        service: source.service.clone(),
        ordinal: source.ordinal,
        stream: source.stream,
        cut: cut.cut,
        partial: cut.partial,
        text: cut.text,
    };
    cuts.into_iter().map(line).collect()
}
