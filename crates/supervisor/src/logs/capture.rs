//! Reads a process's output from its pipes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
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
    last: Arc<Mutex<LastLines>>,
}

/// Of standard output and of standard error.
pub(crate) type LastLines = [VecDeque<String>; 2];

impl Captured {
    /// What another process has seen.
    pub(crate) fn of(last: LastLines) -> Self {
        Self { last: Arc::new(Mutex::new(last)) }
    }

    /// What was seen.
    pub(crate) fn seen(&self) -> LastLines {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

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

/// The reading end of a stream, and the line of it that has not ended. Shared, since both may have to be handed over.
#[derive(Clone)]
pub(crate) struct Tap {
    pipe: Arc<AsyncFd<OwnedFd>>,
    splitter: Arc<Mutex<Splitter>>,
}

impl Tap {
    /// Of a pipe from which nothing was read.
    pub(crate) fn new(pipe: AsyncFd<OwnedFd>) -> Self {
        Self { pipe: Arc::new(pipe), splitter: Arc::default() }
    }

    /// Of a pipe from which another process has read so far.
    pub(crate) fn adopt(pipe: OwnedFd, splitter: Splitter) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pipe = crate::sys::watched(pipe, tokio::io::Interest::READABLE)?;
        Ok(Self { pipe: Arc::new(pipe), splitter: Arc::new(Mutex::new(splitter)) })
    }

    /// The pipe once more, and the line that has not ended. Nobody may read meanwhile: see [`Logs::quiet`].
    pub(crate) fn duplicate(&self) -> io::Result<(OwnedFd, Splitter)> {
        Ok((self.pipe.get_ref().try_clone()?, self.splitter().clone()))
    }

    fn splitter(&self) -> MutexGuard<'_, Splitter> {
        self.splitter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what there is, or takes out the open line when it was waited for in vain. `None`: nothing has come after all. The flag
    /// says that nothing more will.
    fn take(
        &self,
        ready: Option<io::Result<AsyncFdReadyGuard<'_, OwnedFd>>>,
        buffer: &mut [u8],
    ) -> Option<(Vec<Cut>, bool)> {
        let mut cuts = Vec::new();
        let count = match ready {
            None => {
                self.splitter().flush(&mut cuts);
                return Some((cuts, false));
            }
            Some(Err(_)) => 0,
            Some(Ok(mut ready)) => {
                match ready.try_io(|pipe| Ok(rustix::io::read(pipe.get_ref(), &mut *buffer)?)) {
                    Err(_would_block) => return None,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return None,
                    Ok(read) => read.unwrap_or(0),
                }
            }
        };
        match count {
            0 => self.splitter().finish(&mut cuts),
            _ => self.splitter().push(buffer.get(..count).unwrap_or_default(), &mut cuts),
        }
        Some((cuts, count == 0))
    }
}

/// Reads lines until the pipe's end and adds them to the logs.
pub(crate) async fn capture(tap: Tap, source: Source, logs: Arc<Logs>, last: Captured) {
    let mut buffer = vec![0_u8; 16 << 10];
    loop {
        let open = tap.splitter().is_open();
        let ready = tokio::select! {
            ready = tap.pipe.readable() => Some(ready),
            () = tokio::time::sleep(PARTIAL_AFTER), if open => None,
        };
        // From here until the lines are in the logs, nobody takes the pipe away.
        let _busy = logs.busy().await;
        let Some((cuts, ended)) = tap.take(ready, &mut buffer) else { continue };
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
