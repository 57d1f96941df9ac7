//! The stream below a session. On the server's side the last that a handshake of TLS 1.3 writes are tickets (RFC 8446 section 4.6.1),
//! for which no client waits: they are held back and go out with the first answer, in one packet instead of two.
//!
//! Whoever serves the session must flush it before it waits for the client, since the end of a handshake of TLS 1.2 is held as well.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Most slices that are written at once besides what was held back.
const SLICES: usize = 15;

/// A stream, and what is held back of what was written.
#[derive(Debug)]
pub(crate) struct Corked {
    stream: Stream,
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everything goes out, first what is held.
    Open,
    /// A server's handshake that has not written yet.
    Quiet,
    /// It has written.
    Answered,
    /// It has read since: what it writes is held, until it has to wait for the client again.
    Holding,
}

impl Corked {
    /// Holds nothing back.
    pub(crate) fn open(stream: Stream) -> Self {
        Self { stream, held: Vec::new(), state: State::Open }
    }

    /// For a server's handshake, until [`Corked::end`].
    pub(crate) fn server(stream: Stream) -> Self {
        Self { state: State::Quiet, ..Self::open(stream) }
    }

    /// The handshake is over: what is held goes out with what is written next, or when it is flushed.
    pub(crate) fn end(&mut self) {
        self.state = State::Open;
    }

    /// What carries the bytes.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            self.wrote(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes off what has gone out.
    fn wrote(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if written >= self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..written);
        }
        Ok(())
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.state == State::Answered {
            this.state = State::Holding;
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_pending() && this.state == State::Holding && !this.held.is_empty() {
            // The client may be waiting for it: a second hello was asked for, or this is TLS 1.2.
            ready!(this.poll_held(cx))?;
        }
        read
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.state {
            State::Open | State::Answered => {}
            State::Quiet => this.state = State::Answered,
            State::Holding => {
                bufs.iter().for_each(|buf| this.held.extend_from_slice(buf));
                return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
            }
        }
        while !this.held.is_empty() {
            let mut all = [IoSlice::new(&[]); SLICES + 1];
            let given = [IoSlice::new(&this.held)].into_iter().chain(bufs.iter().copied());
            all.iter_mut().zip(given).for_each(|(slot, buf)| *slot = buf);
            let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, &all))?;
            let more = written.saturating_sub(this.held.len());
            this.wrote(written)?;
            if more > 0 {
                return Poll::Ready(Ok(more));
            }
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state != State::Holding {
            ready!(self.poll_held(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn seen(far: &mut Stream) -> String {
        let mut room = [0; 64];
        let read = far.read(&mut room).await.unwrap();
        String::from_utf8(room[..read].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_ends_a_handshake_goes_out_with_what_comes_next() {
        let (near, mut far) = Stream::pair().unwrap();
        let mut corked = Corked::server(near);
        corked.write_all(b"hello ").await.unwrap();
        corked.write_all(b"done ").await.unwrap();
        corked.flush().await.unwrap();
        assert_eq!(seen(&mut far).await, "hello done ");
        far.write_all(b"finished").await.unwrap();
        corked.read_exact(&mut [0; 8]).await.unwrap();
        corked.write_all(b"ticket ").await.unwrap();
        corked.flush().await.unwrap();
        corked.end();
        let wrote = corked.write_vectored(&[IoSlice::new(b"ans"), IoSlice::new(b"wer")]).await.unwrap();
        assert_eq!((wrote, &*seen(&mut far).await), (6, "ticket answer"));
        corked.write_all(b"more").await.unwrap();
        assert_eq!(seen(&mut far).await, "more");
    }

    #[tokio::test]
    async fn whoever_waits_for_the_client_has_said_everything() {
        let (near, mut far) = Stream::pair().unwrap();
        let mut corked = Corked::server(near);
        corked.write_all(b"again").await.unwrap();
        far.write_all(b"hello").await.unwrap();
        corked.read_exact(&mut [0; 5]).await.unwrap();
        corked.write_all(b"held").await.unwrap();
        let client = async {
            assert_eq!(seen(&mut far).await, "again");
            assert_eq!(seen(&mut far).await, "held");
            far.write_all(b"!").await.unwrap();
        };
        tokio::join!(client, async { corked.read_exact(&mut [0; 1]).await.unwrap() });
        // And one that is flushed, and one that ends.
        corked.write_all(b"ticket").await.unwrap();
        corked.end();
        corked.flush().await.unwrap();
        assert_eq!(seen(&mut far).await, "ticket");
        (corked.held, corked.state) = (b"last".to_vec(), State::Holding);
        corked.shutdown().await.unwrap();
        assert_eq!((seen(&mut far).await, seen(&mut far).await), ("last".to_owned(), String::new()));
    }
}
