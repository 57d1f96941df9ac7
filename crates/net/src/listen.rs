//! Listening sockets, made the way a server needs them.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, UnixListener};

use crate::stream::{Addr, Stream};

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// Several listeners at one address share its connections (`SO_REUSEPORT`): one for each core. TCP only.
    pub reuse_port: bool,
    /// For IPv6 addresses: whether IPv4 connections are taken too, as mapped addresses. `None` means yes for `[::]`
    /// (what people expect of "all addresses") and no for others.
    pub dual_stack: Option<bool>,
    /// The mode of a Unix socket's file.
    pub unix_mode: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, reuse_port: false, dual_stack: None, unix_mode: 0o600 }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    io: Io,
    local: Addr,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpListener),
    /// The guard removes the file.
    Unix(UnixListener),
}

impl Listener {
    /// Listens at an address. Port 0 takes a free one: ask [`Listener::local_addr`]. A stale Unix socket file (nobody
    /// answers there) is replaced; a living one, or any other file, is an error.
    pub fn bind(addr: &Addr, options: &ListenOptions) -> io::Result<Listener> {
        let _ = (addr, options);
        Err(io::Error::other("to come"))
    }

    /// Makes a listener of a socket that listens already (handed over by another process, or made in another namespace).
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Listener> {
        let _ = listener;
        Err(io::Error::other("to come"))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// The IP address and port where it listens, if it is TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.local.socket_addr()
    }

    /// The next connection and who it comes from. Errors are those of `accept(2)`; the accept loops of
    /// [`crate::server`] know which of them to survive.
    pub async fn accept(&self) -> io::Result<(Stream, Addr)> {
        match &self.io {
            Io::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (stream.into(), peer.into())),
            Io::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (stream.into(), Addr::Unix(None)))
            }
        }
    }
}
