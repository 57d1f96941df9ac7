//! Who is connected: connections of one client over all workers, within a limit.
//!
//! Asked once for each connection, never for a request.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks, so that workers seldom meet.
const SHARDS: usize = 16;

/// A client: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

impl Client {
    /// The client at an address.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Client::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Client::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The connections of all clients.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Client, u32>>; SHARDS],
}

/// A client's connection; given back when dropped.
#[derive(Debug)]
pub struct Connected {
    clients: Arc<Clients>,
    client: Client,
}

impl Clients {
    /// Counts a connection; `None` when the client has `most` of them.
    pub fn connect(self: &Arc<Self>, client: Client, most: u32) -> Option<Connected> {
        let mut shard = self.shard(client)?;
        let count = shard.entry(client).or_default();
        // An entry that was just made is below any limit but 0, which nobody asks for.
        if *count >= most.max(1) {
            return None;
        }
        *count += 1;
        Some(Connected { clients: Arc::clone(self), client })
    }

    fn shard(&self, client: Client) -> Option<MutexGuard<'_, HashMap<Client, u32>>> {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % SHARDS as u64).ok()?;
        self.shards.get(at).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let Some(mut shard) = self.clients.shard(self.client) else { return };
        if let Entry::Occupied(mut count) = shard.entry(self.client) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
    }

    #[test]
    fn connections_are_counted_and_given_back() {
        let clients = Arc::<Clients>::default();
        let one = clients.connect(at("10.0.0.1"), 2).unwrap();
        let _two = clients.connect(at("10.0.0.1"), 2).unwrap();
        assert!(clients.connect(at("10.0.0.1"), 2).is_none());
        assert!(clients.connect(at("10.0.0.2"), 2).is_some());
        drop(one);
        let again = clients.connect(at("10.0.0.1"), 2);
        assert!(again.is_some());
        drop((again, _two));
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
