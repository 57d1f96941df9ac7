//! Free ports of this machine, each given to one instance at a time.
//!
//! They are taken from below the range from which the kernel takes the local ports of outgoing connections
//! (`ip_local_port_range`): a port from inside could be taken by a connection of the proxy before the service gets to
//! bind it, and under load it would be.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use tutti_core::random::Rng;

/// Lowest port that is given out.
const LOWEST: u16 = 20_000;

/// The kernel's usual first ephemeral port.
const USUAL_EPHEMERAL: u16 = 32_768;

/// Ports that are in use by this process's instances, and those that never are given out.
pub(crate) struct Pool {
    taken: Mutex<HashSet<u16>>,
    never: Mutex<HashSet<u16>>,
    chance: Mutex<Rng>,
}

/// A port that is kept for its holder.
pub(crate) struct Lease {
    pub(crate) port: u16,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.port);
    }
}

impl Pool {
    /// A pool that leaves out the ports that the application publishes or knows by number.
    pub(crate) fn new(never: HashSet<u16>) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            never: Mutex::new(never),
            chance: Mutex::new(Rng::from_entropy()),
        })
    }

    /// Leaves out these ports from now on.
    pub(crate) fn leave_out(&self, never: HashSet<u16>) {
        *self.never.lock().unwrap_or_else(PoisonError::into_inner) = never;
    }

    /// A port at which nobody listens now.
    pub(crate) fn free(self: &Arc<Self>) -> io::Result<Lease> {
        let end = ephemeral_begin().clamp(LOWEST, USUAL_EPHEMERAL);
        let count = usize::from(end - LOWEST);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = self.chance.lock().unwrap_or_else(PoisonError::into_inner).below(count);
        let mut candidates =
            (0..count).filter_map(|n| u16::try_from((begin + n) % count).ok()).map(|n| LOWEST + n);
        let never = self.never.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |port: &u16| !taken.contains(port) && !never.contains(port) && is_free(*port);
        let port = match candidates.find(usable) {
            Some(port) => port,
            None => any_free()?,
        };
        taken.insert(port);
        Ok(Lease { port, pool: Arc::clone(self) })
    }

    /// This port, at which an instance listens already.
    pub(crate) fn held(self: &Arc<Self>, port: u16) -> Lease {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        Lease { port, pool: Arc::clone(self) }
    }

    /// This port and no other. `None`: somebody listens there, or another instance has it.
    pub(crate) fn exactly(self: &Arc<Self>, port: u16) -> Option<Lease> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = !taken.contains(&port) && is_free(port);
        free.then(|| {
            taken.insert(port);
            Lease { port, pool: Arc::clone(self) }
        })
    }
}

fn ephemeral_begin() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL_EPHEMERAL)
}

/// Whether a service could listen there, on loopback or on every address.
fn is_free(port: u16) -> bool {
    try_bind(Ipv4Addr::LOCALHOST, port).is_ok() && try_bind(Ipv4Addr::UNSPECIFIED, port).is_ok()
}

fn any_free() -> io::Result<u16> {
    try_bind(Ipv4Addr::LOCALHOST, 0)
}

fn try_bind(address: Ipv4Addr, port: u16) -> io::Result<u16> {
    let probe = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // Connections that linger after their end do not keep a server from listening, and must not look as if.
    sockopt::set_socket_reuseaddr(&probe, true)?;
    bind(&probe, &SocketAddrV4::new(address, port))?;
    let bound = SocketAddrV4::try_from(getsockname(&probe)?)?;
    Ok(bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_out_twice_while_it_is_held() {
        let pool = Pool::new(HashSet::new());
        let leases: Vec<Lease> = (0..50).map(|_| pool.free().unwrap()).collect();
        let ports: HashSet<u16> = leases.iter().map(|lease| lease.port).collect();
        assert_eq!(ports.len(), 50);
        let port = leases[0].port;
        assert!(pool.exactly(port).is_none());
        drop(leases);
        assert_eq!(pool.exactly(port).unwrap().port, port);
    }

    #[test]
    fn a_port_where_somebody_listens_is_not_free() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }
}
