//! The two directions of a TLS stream. They share the session, which is locked for the time of one call; nobody but the
//! connection's own tasks ever asks for it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::cork::Corked;
use crate::stream::Stream;

/// A session over a stream.
pub(crate) type Session = TlsStream<Corked>;

/// The receiving direction.
#[derive(Debug)]
pub(crate) struct ReadHalf(Arc<Mutex<Session>>);

/// The sending direction.
#[derive(Debug)]
pub(crate) struct WriteHalf(Arc<Mutex<Session>>);

/// Takes a session apart.
pub(crate) fn split(session: Session) -> (ReadHalf, WriteHalf) {
    let shared = Arc::new(Mutex::new(session));
    (ReadHalf(Arc::clone(&shared)), WriteHalf(shared))
}

/// The reverse; `None` if the halves are not of one session.
pub(crate) fn join(read: ReadHalf, write: WriteHalf) -> Option<Session> {
    if !Arc::ptr_eq(&read.0, &write.0) {
        return None;
    }
    drop(read);
    let shared = Arc::into_inner(write.0)?;
    Some(shared.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What lies below a session.
pub(crate) fn below(session: &Session) -> &Stream {
    session.get_ref().0.stream()
}

impl ReadHalf {
    /// Reads without waiting; `WouldBlock` when nothing is there.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut room = ReadBuf::new(buf);
        let mut session = lock(&self.0);
        let read = std::future::poll_fn(|cx| Pin::new(&mut *session).poll_read(cx, &mut room));
        // Without its budget of cooperation an empty answer would be taken for silence.
        let read = pin!(tokio::task::coop::unconstrained(read));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map(|()| room.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_read(cx, buf)
    }
}

impl WriteHalf {
    /// Says that nothing more comes, if that can be said at once. The stream below stays as it is.
    pub(crate) fn farewell(&mut self) {
        let mut session = lock(&self.0);
        session.get_mut().1.send_close_notify();
        let _ = Pin::new(&mut *session).poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    /// Makes the connection below end with a reset.
    pub(crate) fn abort(self) {
        below(&lock(&self.0)).reset_when_dropped();
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_shutdown(cx)
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
