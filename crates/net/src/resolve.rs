//! From the name of a host to its addresses, by the system's resolver.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The addresses of a host; at least one.
pub async fn resolve(host: &str, port: u16, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let looked = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name of the host was not resolved in time");
    let found: Vec<SocketAddr> = looked.map_err(late)??.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    Ok(found)
}
