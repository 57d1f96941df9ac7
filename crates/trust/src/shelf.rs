//! The certificates in force, by name. Read in every handshake without a lock; written rarely.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tutti_ports::certificates::Identity;

use crate::model::names;

type Map = HashMap<String, Arc<Identity>>;

/// The certificates in force.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    map: ArcSwap<Map>,
}

impl Shelf {
    /// The certificate for a name: its own, or the one with the wildcard for it.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Identity>> {
        let map = self.map.load();
        map.get(name).or_else(|| map.get(&names::wildcard_of(name)?)).cloned()
    }

    /// Puts a certificate under each of its names.
    pub(crate) fn put(&self, identity: &Arc<Identity>) {
        self.map.rcu(|map| {
            let mut map = Map::clone(map);
            map.extend(identity.names.iter().map(|name| (name.clone(), Arc::clone(identity))));
            map
        });
    }

    /// Takes over what another one holds, and nothing else.
    pub(crate) fn replace(&self, other: &Shelf) {
        self.map.store(other.map.load_full());
    }

    /// How many names have one.
    pub(crate) fn len(&self) -> usize {
        self.map.load().len()
    }

    /// The first certificate by name: for clients that name none.
    pub(crate) fn first(&self) -> Option<Arc<Identity>> {
        let map = self.map.load();
        map.iter().min_by(|a, b| a.0.cmp(b.0)).map(|(_, identity)| Arc::clone(identity))
    }
}
