//! What hyper needs of a runtime: our stream as its stream, tokio's timer, and tasks that have an owner.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use crate::stream::Stream;

/// Our stream as hyper's.
#[derive(Debug)]
pub(crate) struct HyperStream(pub(crate) Stream);

impl Read for HyperStream {
    #[expect(unsafe_code, reason = "hyper's buffer can be filled without a copy in no other way")]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: `as_mut` asks that no initialised byte of the cursor is de-initialised. The slice is given only to `ReadBuf`,
        // through which bytes can be written and never un-initialised.
        let room = unsafe { buf.as_mut() };
        let mut room = ReadBuf::uninit(room);
        ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, &mut room))?;
        let filled = room.filled().len();
        // SAFETY: `advance` asks that so many bytes are initialised; `ReadBuf` counts as filled only bytes that are.
        unsafe { buf.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
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
