//! What hyper's HTTP/2 server does not watch: clients that take nothing of an answer, and connections that carry nothing.
//!
//! A client rules over the flow-control windows, and it answers pings however hostile it is. With a window of one byte it
//! would hold a stream, the handler's upstream and the piece of body at hand for as long as it likes; so a stream whose next
//! data is not taken within a time is reset. And a connection without a stream is closed after a time, as an
//! HTTP/1.1 connection is; what h2 still holds for it then goes too.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Instant;

use super::io::{LocalTasks, Tasks};
use crate::body::Body;
use crate::deadline::Deadline;
use crate::error::BodyError;

thread_local! {
    /// How the response body of the stream that is being polled was polled last, in this very poll.
    static LAST: Cell<Option<Polled>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
enum Polled {
    /// It gave something, which the peer has to take before more is asked for.
    Gave,
    /// It waits for whoever makes it.
    Waits,
}

/// A response's body that leaves a note of how it was polled.
pub(crate) struct Outgoing(pub(crate) Body);

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        LAST.set(Some(Polled::Waits));
        let frame = ready!(Pin::new(&mut self.get_mut().0).poll_frame(cx));
        LAST.set(Some(Polled::Gave));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    active: usize,
    quiet_since: Instant,
}

impl Streams {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { active: 0, quiet_since: Instant::now() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One begins; it ends when what comes back is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.state().active += 1;
        Active(Arc::clone(self))
    }

    /// Ready when there has been no stream for `patience`.
    pub(crate) async fn idle(&self, patience: Duration) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let quiet = {
                let state = self.state();
                if state.active == 0 { state.quiet_since.max(begun) } else { now }
            };
            if quiet + patience <= now {
                return;
            }
            tokio::time::sleep_until(quiet + patience).await;
        }
    }
}

/// A stream that is under way.
pub(crate) struct Active(Arc<Streams>);

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.active = state.active.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

/// Runs the streams of a connection, and counts them.
#[derive(Clone, Debug)]
pub(crate) struct Watched<E> {
    pub(crate) tasks: E,
    pub(crate) streams: Arc<Streams>,
    /// How long a peer may take nothing of what we have for it.
    pub(crate) stall: Duration,
}

impl<E> Watched<E> {
    /// Of a fresh connection.
    pub(crate) fn of(tasks: E, stall: Duration) -> Self {
        Self { tasks, streams: Streams::new(), stall }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Watched<Tasks> {
    fn execute(&self, stream: F) {
        self.tasks.execute(paced(Box::pin(stream), self.streams.begin(), self.stall));
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Watched<LocalTasks> {
    fn execute(&self, stream: F) {
        self.tasks.execute(paced(Box::pin(stream), self.streams.begin(), self.stall));
    }
}

/// Runs a stream to its end, or until its peer has stalled for too long; dropping it resets it.
async fn paced(mut stream: Pin<Box<impl Future<Output = ()>>>, _active: Active, stall: Duration) {
    let mut deadline = Deadline::default();
    std::future::poll_fn(|cx| {
        LAST.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match LAST.take() {
            Some(Polled::Gave) => deadline.set(stall),
            Some(Polled::Waits) => deadline.clear(),
            None => {}
        }
        ready!(deadline.poll_passed(cx));
        tracing::debug!("an HTTP/2 stream is reset: the client takes nothing of its answer");
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests;
