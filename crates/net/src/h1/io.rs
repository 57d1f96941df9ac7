//! The two directions of a connection with their buffers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite};

use super::incoming::Decoder;
use super::spare;
use crate::scratch;
use crate::stream::{ReadHalf, WriteHalf};

/// Room made for a read when nothing is known about what comes.
const READ_BYTES: usize = 8 << 10;
/// Room made for a read in the middle of a long body.
const BULK_READ_BYTES: usize = 64 << 10;
/// Data up to this size is copied behind what is written already; longer data is written from where it is.
const COPY_BYTES: usize = 4 << 10;
/// Most slices given to one `writev`.
const SLICES: usize = 32;

/// The receiving direction. Lent to a body while it is read, and given back.
#[derive(Debug)]
pub(crate) struct Reader {
    half: ReadHalf,
    /// What has arrived and is not yet understood.
    pub(crate) buf: BytesMut,
    /// How the current body goes on.
    pub(crate) decoder: Decoder,
    /// Whether the peer has said that it sends no more.
    pub(crate) eof: bool,
    /// Room for the next read; grows while a body fills it.
    room: usize,
    /// Whether it has no room of its own between two messages, as those of clients, of which there are many.
    lean: bool,
}

impl Reader {
    pub(crate) fn new(half: ReadHalf, buf: BytesMut) -> Self {
        Self { half, buf, decoder: Decoder::Done, eof: false, room: READ_BYTES, lean: false }
    }

    /// One that holds no room while it waits for the next message.
    pub(crate) fn lean(half: ReadHalf, buf: BytesMut) -> Self {
        Self { lean: true, ..Self::new(half, buf) }
    }

    /// Reads once. 0 bytes mean the end, then and for ever.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let read = if self.lean && self.buf.is_empty() && self.decoder.is_done() {
            if self.buf.capacity() > 0 {
                self.buf = BytesMut::new();
            }
            ready!(scratch::poll_read(|room| Pin::new(&mut self.half).poll_read(cx, room), &mut self.buf))?
        } else {
            if self.buf.capacity() - self.buf.len() < self.room / 4 {
                self.buf.reserve(self.room);
            }
            ready!(self.half.poll_read_buf(cx, &mut self.buf))?
        };
        self.eof = read == 0;
        if read >= self.room {
            self.room = (self.room * 2).min(BULK_READ_BYTES);
        }
        Poll::Ready(Ok(read))
    }

    /// Forgets that a long body was read, so that heads get small buffers again.
    pub(crate) fn settle(&mut self) {
        self.room = READ_BYTES;
    }

    /// Whether the peer is silent and there, as it has to be between two messages.
    pub(crate) fn is_quiet(&self) -> bool {
        if self.eof || !self.buf.is_empty() {
            return false;
        }
        // One byte or an end would be there to read; silence is `WouldBlock`.
        matches!(self.half.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(crate) fn into_parts(self) -> (ReadHalf, BytesMut) {
        (self.half, self.buf)
    }
}

/// The sending direction with what waits to be sent.
#[derive(Debug)]
pub(crate) struct Writer {
    half: WriteHalf,
    /// Heads, chunk lines and short data.
    pub(crate) flat: BytesMut,
    /// Long data: each stands behind so many bytes of `flat`.
    long: Vec<(usize, Bytes)>,
    long_bytes: usize,
    /// How much of `flat` and `long` together has been sent.
    sent: usize,
    /// How many bytes the system has taken since the writer was made.
    total: u64,
    /// Whether the half may hold what it was given, as TLS does until it is flushed.
    held: bool,
    /// Whether it may hold something that is of no use to the client before it has an answer: the end of a handshake.
    greets: bool,
}

impl Writer {
    pub(crate) fn new(half: WriteHalf) -> Self {
        let greets = matches!(half, WriteHalf::Tls(_));
        let (flat, long) = (BytesMut::new(), Vec::new());
        Self { half, flat, long, long_bytes: 0, sent: 0, total: 0, held: false, greets }
    }

    /// Gets room for heads, if there is none.
    pub(crate) fn wake(&mut self) {
        if self.flat.capacity() == 0 {
            self.flat = spare::buffer();
        }
    }

    /// Gives the room back, if nothing waits in it.
    pub(crate) fn rest(&mut self) {
        if self.flat.is_empty() && self.waiting() == 0 {
            spare::give_buffer(std::mem::take(&mut self.flat));
        }
    }

    /// How many bytes the system has taken so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes wait; at least one as long as the half holds something.
    pub(crate) fn waiting(&self) -> usize {
        (self.flat.len() + self.long_bytes - self.sent).max(usize::from(self.held))
    }

    /// Puts data behind what waits.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() <= COPY_BYTES {
            self.flat.extend_from_slice(&data);
        } else {
            self.long_bytes += data.len();
            self.long.push((self.flat.len(), data));
        }
    }

    /// Sends all that waits.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.flat.len() + self.long_bytes > self.sent {
            let written = if self.long.is_empty() {
                let rest = self.flat.get(self.sent..).unwrap_or_default();
                ready!(Pin::new(&mut self.half).poll_write(cx, rest))?
            } else {
                ready!(self.poll_write_slices(cx))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.total += written as u64;
            self.held = true;
        }
        if self.held {
            ready!(Pin::new(&mut self.half).poll_flush(cx))?;
            self.held = false;
        }
        self.flat.clear();
        self.long.clear();
        (self.sent, self.long_bytes) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// Sends what was held back until there is an answer, since none will come before more is read.
    pub(crate) fn poll_greet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.greets {
            ready!(Pin::new(&mut self.half).poll_flush(cx))?;
            self.greets = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_slices(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let mut skip = self.sent;
        let mut flat_from = 0;
        let long = self.long.iter().map(|(at, data)| (*at, &data[..]));
        for (at, data) in long.chain([(self.flat.len(), &[][..])]) {
            let flat = self.flat.get(flat_from..at).unwrap_or_default();
            flat_from = at;
            for part in [flat, data] {
                let skipped = skip.min(part.len());
                skip -= skipped;
                let rest = part.get(skipped..).unwrap_or_default();
                if let (false, Some(slot)) = (rest.is_empty(), slices.get_mut(used)) {
                    *slot = IoSlice::new(rest);
                    used += 1;
                }
            }
        }
        Pin::new(&mut self.half).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }

    /// Over TLS, says that nothing more comes, if that can be said at once: an end without it looks like one that somebody
    /// has cut. Without TLS the end of the connection says the same.
    pub(crate) fn farewell(&mut self) {
        if let WriteHalf::Tls(half) = &mut self.half {
            half.farewell();
        }
    }

    /// Makes the connection end with a reset, so that a body that only the connection's end delimits does not look whole.
    pub(crate) fn abort(self) {
        self.half.abort();
    }

    pub(crate) fn into_half(self) -> WriteHalf {
        self.half
    }
}

/// Reads and throws away until the peer closes, so that an answer already sent is not lost by a reset
/// (RFC 9112 section 9.6). Bounded in bytes; the caller bounds the time.
pub(crate) fn poll_discard(reader: &mut Reader, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        *left = left.saturating_sub(reader.buf.len());
        let buffered = reader.buf.len();
        reader.buf.advance(buffered);
        match ready!(reader.poll_fill(cx)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(_) if *left == 0 => return Poll::Ready(()),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
