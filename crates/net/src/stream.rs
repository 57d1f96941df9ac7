//! A stream of bytes to a peer, whatever carries it.
//!
//! [`Stream`] hides the transport (TCP, a Unix socket, TLS over either). It can hold bytes
//! that were read before it was handed on (by a protocol sniff, or behind the head of an upgrade) and
//! gives them out first.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::error::{ConnectCause, ConnectError};
use crate::h2::websocket::Socket;
use crate::scratch;
use crate::tls::stream as tls;

/// Room made when looking at the first bytes; a whole request head usually fits.
const READ_BYTES: usize = 8 << 10;

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A Unix socket; without a path it is unnamed, as clients' sockets are.
    Unix(Option<Arc<Path>>),
}

impl Addr {
    /// The address of a Unix socket at a path.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Addr::Unix(Some(Arc::from(path.as_ref())))
    }

    /// The IP address and port, if this is TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Addr::Tcp(addr) => Some(*addr),
            Addr::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Addr::Tcp(addr)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Tcp(addr) => write!(f, "{addr}"),
            Addr::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Addr::Unix(None) => f.write_str("unix:"),
        }
    }
}

/// What carries the bytes.
#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A session over another stream.
    Tls(Box<tls::Session>),
    /// A stream of HTTP/2 that carries a WebSocket.
    Socket(Box<Socket>),
}

/// A stream of bytes in both directions. Closing one direction leaves the other open.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// Bytes already taken from the socket and not yet from us.
    unread: BytesMut,
}

impl Stream {
    /// Connects, at most for `timeout`. TCP streams get `TCP_NODELAY`.
    pub async fn connect(addr: &Addr, timeout: Duration) -> Result<Stream, ConnectError> {
        let failed = |cause| ConnectError { addr: addr.clone(), cause };
        match tokio::time::timeout(timeout, Self::dial(addr)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(ConnectCause::Io(error))),
            Err(_) => Err(failed(ConnectCause::Timeout(timeout))),
        }
    }

    async fn dial(addr: &Addr) -> io::Result<Stream> {
        match addr {
            Addr::Tcp(addr) => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Addr::Unix(Some(path)) => Ok(UnixStream::connect(path).await?.into()),
            Addr::Unix(None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket has no path")),
        }
    }

    /// Two streams that are connected to each other.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (a, b) = UnixStream::pair()?;
        Ok((a.into(), b.into()))
    }

    /// Whether TLS carries it.
    pub fn is_secure(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<Addr> {
        match &self.io {
            Io::Tcp(stream) => stream.peer_addr().map(Addr::Tcp),
            Io::Unix(stream) => stream.peer_addr().map(|addr| Addr::Unix(addr.as_pathname().map(Arc::from))),
            Io::Tls(session) => tls::below(session).peer_addr(),
            Io::Socket(_) => Ok(Addr::Unix(None)),
        }
    }

    /// Our end.
    pub fn local_addr(&self) -> io::Result<Addr> {
        match &self.io {
            Io::Tcp(stream) => stream.local_addr().map(Addr::Tcp),
            Io::Unix(stream) => stream.local_addr().map(|addr| Addr::Unix(addr.as_pathname().map(Arc::from))),
            Io::Tls(session) => tls::below(session).local_addr(),
            Io::Socket(_) => Ok(Addr::Unix(None)),
        }
    }

    /// Waits until at least `want` bytes can be read or the peer stops sending, and returns them without consuming
    /// them: fewer than `want` means that no more will come. Ask for little; what is not there yet is waited for.
    pub async fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        while self.unread.len() < want {
            let Self { io, unread } = self;
            let read = if unread.is_empty() {
                poll_fn(|cx| scratch::poll_read(|room| Pin::new(&mut *io).poll_read(cx, room), unread))
                    .await?
            } else {
                unread.reserve(want.max(READ_BYTES));
                io.read_buf(unread).await?
            };
            if read == 0 {
                break;
            }
        }
        Ok(&self.unread)
    }

    /// The first byte that was seen and not yet taken.
    pub fn first_seen(&self) -> Option<u8> {
        self.unread.first().copied()
    }

    /// Whether no byte has been seen.
    pub(crate) fn is_untouched(&self) -> bool {
        self.unread.is_empty()
    }

    /// Takes bytes that were seen by [`Stream::peek`] off the stream.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.unread.advance(bytes.min(self.unread.len()));
    }

    /// Sends the first bytes of a fresh stream; what a socket takes at once.
    pub async fn begin_with(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(self, bytes).await
    }

    /// A stream whose bytes go through a session.
    pub(crate) fn encrypted(session: tls::Session) -> Stream {
        Stream { io: Io::Tls(Box::new(session)), unread: BytesMut::new() }
    }

    /// A stream of HTTP/2 as one of bytes.
    pub(crate) fn upgraded(socket: Socket) -> Stream {
        Stream { io: Io::Socket(Box::new(socket)), unread: BytesMut::new() }
    }

    /// Makes the connection end with a reset when it is dropped, where there is such a thing.
    pub(crate) fn reset_when_dropped(&self) {
        match &self.io {
            Io::Tcp(stream) => reset_when_dropped(stream),
            Io::Unix(_) | Io::Socket(_) => {}
            Io::Tls(session) => tls::below(session).reset_when_dropped(),
        }
    }

    /// Whether small writes are sent at once; `None` if this is not TCP.
    #[cfg(test)]
    pub(crate) fn nodelay(&self) -> Option<bool> {
        match &self.io {
            Io::Tcp(stream) => stream.nodelay().ok(),
            Io::Unix(_) | Io::Socket(_) => None,
            Io::Tls(session) => tls::below(session).nodelay(),
        }
    }

    /// Takes the stream apart: what was read ahead, and the two directions.
    pub(crate) fn into_parts(self) -> (BytesMut, ReadHalf, WriteHalf) {
        match self.io {
            Io::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (self.unread, ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Io::Unix(stream) => {
                let (read, write) = stream.into_split();
                (self.unread, ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
            Io::Tls(session) => {
                let (read, write) = tls::split(*session);
                (self.unread, ReadHalf::Tls(read), WriteHalf::Tls(write))
            }
            Io::Socket(socket) => {
                let (read, write) = tokio::io::split(*socket);
                (self.unread, ReadHalf::Socket(read), WriteHalf::Socket(write))
            }
        }
    }

    /// The reverse of [`Stream::into_parts`]; `None` if the halves are not of one stream.
    pub(crate) fn from_parts(unread: BytesMut, read: ReadHalf, write: WriteHalf) -> Option<Stream> {
        let io = match (read, write) {
            (ReadHalf::Tcp(read), WriteHalf::Tcp(write)) => Io::Tcp(read.reunite(write).ok()?),
            (ReadHalf::Unix(read), WriteHalf::Unix(write)) => Io::Unix(read.reunite(write).ok()?),
            (ReadHalf::Tls(read), WriteHalf::Tls(write)) => Io::Tls(Box::new(tls::join(read, write)?)),
            (ReadHalf::Socket(read), WriteHalf::Socket(write)) if read.is_pair_of(&write) => {
                Io::Socket(Box::new(read.unsplit(write)))
            }
            _ => return None,
        };
        Some(Stream { io, unread })
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { io: Io::Tcp(stream), unread: BytesMut::new() }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self { io: Io::Unix(stream), unread: BytesMut::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let take = this.unread.len().min(buf.remaining());
            buf.put_slice(this.unread.get(..take).unwrap_or_default());
            this.unread.advance(take);
            if this.unread.is_empty() {
                // What was read ahead is read once; its room would be kept for as long as the connection.
                this.unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

macro_rules! forward_write {
    ($on:ty, $($variant:path),*) => {
        impl AsyncWrite for $on {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_write(cx, buf),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_write_vectored(cx, bufs),)*
                }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_shutdown(cx),)*
                }
            }
        }
    };
}

macro_rules! forward_read {
    ($on:ty, $($variant:path),*) => {
        impl AsyncRead for $on {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_read(cx, buf),)*
                }
            }
        }
    };
}

forward_read!(Io, Io::Tcp, Io::Unix, Io::Tls, Io::Socket);
forward_read!(ReadHalf, ReadHalf::Tcp, ReadHalf::Unix, ReadHalf::Tls, ReadHalf::Socket);
forward_write!(Io, Io::Tcp, Io::Unix, Io::Tls, Io::Socket);
forward_write!(WriteHalf, WriteHalf::Tcp, WriteHalf::Unix, WriteHalf::Tls, WriteHalf::Socket);

/// The receiving direction.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    /// Of a TCP stream.
    Tcp(tcp::OwnedReadHalf),
    /// Of a Unix stream.
    Unix(unix::OwnedReadHalf),
    /// Of a session.
    Tls(tls::ReadHalf),
    /// Of a stream of HTTP/2.
    Socket(tokio::io::ReadHalf<Socket>),
}

impl ReadHalf {
    /// Reads without waiting; `WouldBlock` when nothing is there. Costs no system call while the reactor knows of no event.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            ReadHalf::Tcp(half) => half.try_read(buf),
            ReadHalf::Unix(half) => half.try_read(buf),
            ReadHalf::Tls(half) => half.try_read(buf),
            // It says only when asked with somebody to wake.
            ReadHalf::Socket(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads into the spare capacity of `buf`; 0 bytes mean that the peer sends no more.
    pub(crate) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // `read_buf` is cancel safe and keeps no state, so a fresh future for each poll is the same read.
        std::pin::pin!(self.read_buf(buf)).poll(cx)
    }
}

/// The sending direction.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    /// Of a TCP stream.
    Tcp(tcp::OwnedWriteHalf),
    /// Of a Unix stream.
    Unix(unix::OwnedWriteHalf),
    /// Of a session.
    Tls(tls::WriteHalf),
    /// Of a stream of HTTP/2.
    Socket(tokio::io::WriteHalf<Socket>),
}

impl WriteHalf {
    /// Drops the half so that, when the other is dropped too, the peer sees a reset and not a clean end. A Unix
    /// socket has no reset; its peer sees the end.
    pub(crate) fn abort(self) {
        match self {
            WriteHalf::Tcp(half) => {
                reset_when_dropped(half.as_ref());
                half.forget();
            }
            WriteHalf::Unix(half) => drop(half),
            WriteHalf::Tls(half) => half.abort(),
            WriteHalf::Socket(half) => drop(half),
        }
    }
}

fn reset_when_dropped(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "cannot make the connection end with a reset");
    }
}

#[cfg(test)]
mod tests;
