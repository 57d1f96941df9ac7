//! Copies bytes between two streams, both ways, until both directions have ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Deadline;
use crate::stream::Stream;

/// Room for bytes on their way, for each direction.
const BUFFER_BYTES: usize = 16 << 10;

/// How a tunnel ended, and what it carried.
#[derive(Debug)]
pub struct Tunnelled {
    /// Bytes from the first stream to the second.
    pub a_to_b: u64,
    /// Bytes from the second stream to the first.
    pub b_to_a: u64,
    /// Why it ended.
    pub end: End,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// No byte went either way for the idle timeout.
    Idle,
    /// The first stream failed.
    FailedA(io::Error),
    /// The second stream failed.
    FailedB(io::Error),
}

/// Copies both ways. When one side stops sending, the other is told so (half-close) and may go on. Ends when both have
/// stopped, one fails, or nothing has moved for `idle` (zero: no limit).
pub async fn tunnel(mut a: Stream, mut b: Stream, idle: Duration) -> Tunnelled {
    let (mut there, mut back) = (Way::new(), Way::new());
    let mut quiet = Deadline::default();
    let end = std::future::poll_fn(|cx| {
        let before = there.moved + back.moved;
        let first = there.poll(&mut a, &mut b, cx);
        let second = back.poll(&mut b, &mut a, cx);
        match (first, second) {
            (Poll::Ready(Err(Failed::Reading(error))), _) | (_, Poll::Ready(Err(Failed::Writing(error)))) => {
                return Poll::Ready(End::FailedA(error));
            }
            (Poll::Ready(Err(Failed::Writing(error))), _) | (_, Poll::Ready(Err(Failed::Reading(error)))) => {
                return Poll::Ready(End::FailedB(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Closed),
            _ => {}
        }
        if idle.is_zero() {
            return Poll::Pending;
        }
        if there.moved + back.moved > before {
            quiet.set(idle);
        } else {
            quiet.ensure(idle);
        }
        quiet.poll_passed(cx).map(|()| End::Idle)
    });
    let end = end.await;
    Tunnelled { a_to_b: there.moved, b_to_a: back.moved, end }
}

/// One direction.
struct Way {
    buffer: Box<[u8]>,
    /// What is in the buffer and not yet written.
    from: usize,
    to: usize,
    moved: u64,
    /// Whether the target may hold what it was given, as TLS does until it is flushed.
    held: bool,
    state: State,
}

enum State {
    Copying,
    /// The source has ended; its target is to be told.
    Closing,
    Closed,
}

/// Which side of a direction failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

impl Way {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES].into(),
            from: 0,
            to: 0,
            moved: 0,
            held: false,
            state: State::Copying,
        }
    }

    /// Ready when the source has ended and the target knows.
    fn poll(
        &mut self,
        source: &mut Stream,
        target: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Closing => {
                    ready!(Pin::new(&mut *target).poll_shutdown(cx)).map_err(Failed::Writing)?;
                    self.state = State::Closed;
                }
                State::Copying if self.from < self.to => {
                    let waiting = self.buffer.get(self.from..self.to).unwrap_or_default();
                    let written =
                        ready!(Pin::new(&mut *target).poll_write(cx, waiting)).map_err(Failed::Writing)?;
                    if written == 0 {
                        return Poll::Ready(Err(Failed::Writing(io::ErrorKind::WriteZero.into())));
                    }
                    self.from += written;
                    self.moved += written as u64;
                    self.held = true;
                }
                State::Copying => {
                    let mut room = ReadBuf::new(&mut self.buffer);
                    let read = Pin::new(&mut *source).poll_read(cx, &mut room);
                    if read.is_pending() && self.held {
                        ready!(Pin::new(&mut *target).poll_flush(cx)).map_err(Failed::Writing)?;
                        self.held = false;
                    }
                    ready!(read).map_err(Failed::Reading)?;
                    (self.from, self.to) = (0, room.filled().len());
                    if self.to == 0 {
                        self.state = State::Closing;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
