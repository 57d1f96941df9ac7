//! Listening sockets, made the way a server needs them.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::stream::{Addr, Stream};

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that wait to be accepted. The system may allow fewer.
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
    /// Declared last, so that it goes after the socket.
    guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpListener),
    /// The file goes with the listener.
    Unix(UnixListener, #[allow(dead_code)] SocketFile),
}

impl Listener {
    /// Listens at an address, inside a runtime. Port 0 takes a free one: ask [`Listener::local_addr`]. A stale Unix socket
    /// file (nobody answers there) is replaced; a living one, or any other file, is an error.
    pub fn bind(addr: &Addr, options: &ListenOptions) -> io::Result<Listener> {
        match addr {
            Addr::Tcp(addr) => Self::bind_tcp(*addr, options),
            Addr::Unix(Some(path)) => Self::bind_unix(path, options),
            Addr::Unix(None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket has no path")),
        }
    }

    fn bind_tcp(addr: SocketAddr, options: &ListenOptions) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server must get its port back while old connections are still closing.
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let SocketAddr::V6(v6) = addr {
            // Never left to the system's default, which differs.
            let both = options.dual_stack.unwrap_or(*v6.ip() == Ipv6Addr::UNSPECIFIED);
            socket.set_only_v6(!both)?;
        }
        // Linux hands this on to accepted sockets; elsewhere `accept` sets it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Self::from_std(socket.into())
    }

    fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<Listener> {
        remove_stale(path)?;
        // Bound under a name that nobody knows and renamed when its mode is right: at no moment can others connect.
        let hidden = hidden_name(path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(&hidden)?)?;
        let file = SocketFile::at(hidden.clone());
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(options.unix_mode))?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        std::fs::rename(&hidden, path)?;
        file.moved();
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Listener {
            io: Io::Unix(listener, SocketFile::at(path.to_owned())),
            local: Addr::unix(path),
            guard: None,
        })
    }

    /// Makes a listener of a Unix socket that another process has bound to this path and handed over. The file stays the other's until
    /// [`FileHold::own`].
    pub fn adopt_unix(socket: OwnedFd, path: &Path) -> io::Result<Listener> {
        let socket = std::os::unix::net::UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket)?;
        let file = SocketFile::at(path.to_owned());
        file.stays.store(true, Ordering::SeqCst);
        let io = Io::Unix(listener, file);
        Ok(Listener { io, local: Addr::unix(path), guard: None })
    }

    /// The same socket once more, to be handed to another process. It listens as long as one of the two is open.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.io {
            Io::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Io::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// What becomes of a Unix socket's file when this is closed; `None` for TCP.
    pub fn file(&self) -> Option<FileHold> {
        match &self.io {
            Io::Tcp(_) => None,
            Io::Unix(_, file) => Some(FileHold(Arc::clone(&file.stays))),
        }
    }

    /// Makes a listener of a socket that listens already (handed over by another process, or made in another namespace).
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let local = Addr::Tcp(listener.local_addr()?);
        Ok(Listener { io: Io::Tcp(TcpListener::from_std(listener)?), local, guard: None })
    }

    /// Drops `guard` right after the socket is closed: whoever holds its other end learns that the address is free.
    #[must_use]
    pub fn guarded(mut self, guard: impl std::any::Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
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
            Io::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                if !cfg!(target_os = "linux") {
                    stream.set_nodelay(true)?;
                }
                Ok((stream.into(), Addr::Tcp(unmapped(peer))))
            }
            Io::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| (stream.into(), Addr::Unix(None)))
            }
        }
    }
}

/// Whether an address can be listened at now: fails as listening would. Asked before sockets that share a port
/// (`reuse_port`) are made, because those would also share it with another process of the same user.
pub fn check_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = addr {
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(1)
}

/// An IPv4 peer of a dual-stack listener, as IPv4.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Decides whether a socket's file goes with its listener.
#[derive(Clone, Debug)]
pub struct FileHold(Arc<AtomicBool>);

impl FileHold {
    /// The file stays: another process listens there.
    pub fn leave(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The file goes with the listener.
    pub fn own(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A socket's file, removed with its listener unless it is to stay.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    stays: Arc<AtomicBool>,
}

impl SocketFile {
    fn at(path: PathBuf) -> Self {
        Self { path, stays: Arc::default() }
    }

    /// The file has another name now.
    fn moved(self) {
        self.stays.store(true, Ordering::SeqCst);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::SeqCst)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "cannot remove a socket's file");
        }
    }
}

fn hidden_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

/// Removes a socket file at which nobody answers any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            ));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests;
