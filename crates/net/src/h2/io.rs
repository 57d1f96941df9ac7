//! What hyper needs of a runtime: our stream as its stream, tokio's timer, and tasks that have an owner.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tutti_core::limits;

use super::flood::{Flood, Side, Watch};
use crate::deadline::Deadline;
use crate::stream::Stream;

/// What was seen of a connection.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Why it was ended, if it was for a flood.
    pub(crate) flood: OnceLock<Flood>,
    settled: AtomicBool,
    streams: AtomicU32,
    asked: AtomicBool,
    held: AtomicBool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            flood: OnceLock::new(),
            settled: AtomicBool::new(false),
            streams: AtomicU32::new(u32::MAX),
            asked: AtomicBool::new(false),
            held: AtomicBool::new(false),
        }
    }
}

impl Seen {
    /// Whether the peer's settings have come and are in force.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// How many streams of ours at a time the peer allows, as far as it has said so.
    pub(crate) fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// A request is about to be given to hyper.
    pub(crate) fn asks(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Whether one was since the last time.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Acquire)
    }

    /// Whether nothing is read from now on. Who waits for more meanwhile is not told of it, so ask again.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }
}

/// Our stream as hyper's, with a [`Watch`] on what passes.
#[derive(Debug)]
pub(crate) struct HyperStream {
    stream: Stream,
    watch: Box<Watch>,
    seen: Arc<Seen>,
    settled: bool,
    ending: Option<Box<Ending>>,
}

/// The end of a connection whose peer floods it: it is told so, and what it still sends is thrown away for a moment, so that
/// the word is not lost by a reset.
#[derive(Debug)]
struct Ending {
    farewell: Vec<u8>,
    told: bool,
    left: usize,
    deadline: Deadline,
}

impl HyperStream {
    pub(crate) fn new(stream: Stream, side: Side) -> (Self, Arc<Seen>) {
        let seen = Arc::<Seen>::default();
        let watch = Box::new(Watch::new(side, tokio::time::Instant::now()));
        (Self { stream, watch, seen: Arc::clone(&seen), settled: false, ending: None }, seen)
    }

    /// From now on the peer is not listened to.
    fn refuse(&mut self, flood: Flood) {
        // It is set once: nothing is watched after the first.
        let _ = self.seen.flood.set(flood);
        let mut deadline = Deadline::default();
        deadline.set(limits::HTTP_LINGER_TIME);
        let farewell = self.watch.farewell().map(Vec::from).unwrap_or_default();
        let left = limits::HTTP_LINGER_BYTES;
        self.ending = Some(Box::new(Ending { farewell, told: false, left, deadline }));
    }

    fn wrote(&mut self, written: usize, bufs: &[io::IoSlice<'_>]) {
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.watch.sent(buf.get(..part).unwrap_or_default());
            left -= part;
        }
    }
}

impl Ending {
    /// Ready when the connection can be closed.
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Error> {
        let over = || io::Error::new(io::ErrorKind::ConnectionAborted, "the peer floods the connection");
        if self.deadline.poll_passed(cx).is_ready() {
            return Poll::Ready(over());
        }
        while !self.farewell.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.farewell)) {
                Ok(written @ 1..) => drop(self.farewell.drain(..written)),
                _ => return Poll::Ready(over()),
            }
        }
        if !self.told {
            let shut = ready!(Pin::new(&mut *stream).poll_shutdown(cx));
            self.told = true;
            if shut.is_err() {
                return Poll::Ready(over());
            }
        }
        let mut space = [0; 4 << 10];
        loop {
            let mut room = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut room));
            let read = read.map_or(0, |()| room.filled().len());
            self.left = self.left.saturating_sub(read);
            if read == 0 || self.left == 0 {
                return Poll::Ready(over());
            }
        }
    }
}

impl Read for HyperStream {
    #[expect(unsafe_code, reason = "hyper's buffer can be filled without a copy in no other way")]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(ending) = &mut this.ending {
            return ending.poll(&mut this.stream, cx).map(Err);
        }
        if !this.settled && this.watch.is_settled() {
            // Whoever asks for more has worked through what came before.
            this.settled = true;
            this.seen.settled.store(true, Ordering::Relaxed);
        }
        if this.seen.held.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        // SAFETY: `as_mut` asks that no initialised byte of the cursor is de-initialised. The slice is given only to `ReadBuf`,
        // through which bytes can be written and never un-initialised.
        let room = unsafe { buf.as_mut() };
        let mut room = ReadBuf::uninit(room);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room))?;
        let flood = match room.filled() {
            [] => None,
            bytes => this.watch.received(bytes, tokio::time::Instant::now()),
        };
        if let Some(streams) = this.watch.streams() {
            // Before anything of it is acted upon: whoever reads an answer knows of the settings that came with it.
            this.seen.streams.store(streams, Ordering::Relaxed);
        }
        if let Some(flood) = flood {
            this.refuse(flood);
            return match &mut this.ending {
                Some(ending) => ending.poll(&mut this.stream, cx).map(Err),
                None => Poll::Pending,
            };
        }
        let filled = room.filled().len();
        // SAFETY: `advance` asks that so many bytes are initialised; `ReadBuf` counts as filled only bytes that are.
        unsafe { buf.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ending.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.wrote(written, &[io::IoSlice::new(buf)]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ending.is_some() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.wrote(written, bufs);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// tokio's timer as hyper's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioTimer;

struct TokioSleep(Pin<Box<tokio::time::Sleep>>);

impl Future for TokioSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for TokioSleep {}

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(TokioSleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(TokioSleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<TokioSleep>() {
            Some(sleep) => sleep.get_mut().0.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// Runs a connection's streams as tasks, which end with the last clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(future);
        reap(&mut tasks);
    }
}

/// The same on one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalTasks(Rc<RefCell<JoinSet<()>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        let mut tasks = self.0.borrow_mut();
        tasks.spawn_local(future);
        reap(&mut tasks);
    }
}

/// Forgets tasks that have ended.
fn reap(tasks: &mut JoinSet<()>) {
    while let Some(end) = tasks.try_join_next() {
        if let Err(error) = end
            && error.is_panic()
        {
            tracing::error!(%error, "the task of an HTTP/2 stream panicked");
        }
    }
}
