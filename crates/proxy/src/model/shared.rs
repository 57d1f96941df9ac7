//! A map and a list of which two versions share what they have in common: copying one costs a fraction of what it holds, and changing a
//! copy copies only what is near the change. They carry the tables of routes from one snapshot to the next.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Entries of a shard on average, at most.
const CROWDED: usize = 4;

/// Shards of a group at most: as many pointers are copied for a change, and one for each group.
const GROUP: usize = 32;

/// Places of a chunk.
const CHUNK: usize = 64;

/// Texts to values. Keyed with a secret of the process, like the maps of the standard library.
#[derive(Clone, Debug)]
pub struct Map<V> {
    /// A power of two of shards, or none: the first group is full before there is a second.
    groups: Vec<Arc<[Shard<V>]>>,
    /// The bits of a hash that are the number of its shard.
    mask: usize,
    len: usize,
    seed: RandomState,
}

type Shard<V> = Arc<[Entry<V>]>;

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u64,
    key: Arc<str>,
    value: V,
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { groups: Vec::new(), mask: 0, len: 0, seed: RandomState::new() }
    }
}

impl<V> Map<V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        let hash = self.seed.hash_one(key);
        let shard = self.shard(hash)?;
        shard.iter().find(|entry| entry.hash == hash && *entry.key == *key).map(|entry| &entry.value)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.shards().flat_map(|shard| shard.iter().map(|entry| (&*entry.key, &entry.value)))
    }

    fn shards(&self) -> impl Iterator<Item = &Shard<V>> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    fn shard(&self, hash: u64) -> Option<&Shard<V>> {
        let at = self.at(hash);
        self.groups.get(at / GROUP)?.get(at % GROUP)
    }

    /// The number of a hash's shard.
    fn at(&self, hash: u64) -> usize {
        // Only so many bits are wanted.
        #[allow(clippy::cast_possible_truncation)]
        let hash = hash as usize;
        hash & self.mask
    }
}

impl<V: Clone + Default> Map<V> {
    /// The value of a key, to be changed; a default one if there was none.
    pub fn entry(&mut self, key: &str) -> Option<&mut V> {
        let hash = self.seed.hash_one(key);
        let same = |entry: &Entry<V>| entry.hash == hash && *entry.key == *key;
        let known = self.shard(hash).and_then(|shard| shard.iter().position(same));
        let place = match known {
            Some(place) => place,
            None => {
                self.grow();
                let shard = self.shard_mut(hash)?;
                let new = Entry { hash, key: Arc::from(key), value: V::default() };
                *shard = shard.iter().cloned().chain([new]).collect();
                let place = shard.len() - 1;
                self.len += 1;
                place
            }
        };
        Arc::make_mut(self.shard_mut(hash)?).get_mut(place).map(|entry| &mut entry.value)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let hash = self.seed.hash_one(key);
        if let Some(shard) = self.shard_mut(hash) {
            *shard = shard.iter().filter(|entry| *entry.key != *key).cloned().collect();
            self.len -= 1;
        }
    }

    /// A shard, to be changed; its group is copied where another map has it too.
    fn shard_mut(&mut self, hash: u64) -> Option<&mut Shard<V>> {
        let at = self.at(hash);
        Arc::make_mut(self.groups.get_mut(at / GROUP)?).get_mut(at % GROUP)
    }

    /// Makes room for one more.
    fn grow(&mut self) {
        let count = if self.groups.is_empty() { 0 } else { self.mask + 1 };
        if self.len < count * CROWDED {
            return;
        }
        let count = (count * 2).max(1);
        self.mask = count - 1;
        let mut sorted: Vec<Vec<Entry<V>>> = (0..count).map(|_| Vec::new()).collect();
        for entry in self.shards().flat_map(|shard| shard.iter()) {
            if let Some(shard) = sorted.get_mut(self.at(entry.hash)) {
                shard.push(entry.clone());
            }
        }
        let none: Shard<V> = Arc::from(Vec::new());
        let filled = |shard: &mut Vec<Entry<V>>| match shard.is_empty() {
            true => Arc::clone(&none),
            false => Arc::from(std::mem::take(shard)),
        };
        self.groups = sorted.chunks_mut(GROUP).map(|group| group.iter_mut().map(filled).collect()).collect();
    }
}

/// Values by small numbers.
#[derive(Clone, Debug)]
pub struct List<V> {
    chunks: Vec<Arc<[Option<V>; CHUNK]>>,
}

impl<V> Default for List<V> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<V> List<V> {
    /// The value at a place.
    pub fn get(&self, at: usize) -> Option<&V> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.as_ref()
    }

    /// All values, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }
}

impl<V: Clone> List<V> {
    /// Puts a value at a place, or takes it away; what was there.
    pub fn set(&mut self, at: usize, value: Option<V>) -> Option<V> {
        while self.chunks.len() <= at / CHUNK {
            self.chunks.push(Arc::new(std::array::from_fn(|_| None)));
        }
        let place = Arc::make_mut(self.chunks.get_mut(at / CHUNK)?).get_mut(at % CHUNK)?;
        std::mem::replace(place, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_map_is_what_a_map_is_and_a_copy_stays_as_it_was() {
        let rng = tutti_core::random::Rng::seeded(7);
        let (mut map, mut model) = (Map::<u64>::default(), HashMap::new());
        let mut copies = Vec::new();
        for step in 0..20_000 {
            let key = format!("/{}", rng.below(3_000));
            if rng.below(3) == 0 {
                map.remove(&key);
                model.remove(&key);
            } else {
                *map.entry(&key).unwrap() = step;
                model.insert(key, step);
            }
            if step % 4_000 == 0 {
                copies.push((map.clone(), model.clone()));
            }
        }
        copies.push((map, model));
        for (map, model) in copies {
            assert_eq!(map.len(), model.len());
            for at in 0..3_000 {
                let key = format!("/{at}");
                assert_eq!(map.get(&key), model.get(&key), "{key}");
            }
        }
    }

    #[test]
    fn a_change_copies_only_what_is_near() {
        let mut map = Map::<u64>::default();
        for at in 0..5_000 {
            *map.entry(&at.to_string()).unwrap() = at;
        }
        let mut copy = map.clone();
        *copy.entry("77").unwrap() = 0;
        let shared = map.shards().zip(copy.shards()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, map.shards().count() - 1);
        let shared = map.groups.iter().zip(&copy.groups).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, map.groups.len() - 1);
        assert_eq!((map.get("77"), copy.get("77")), (Some(&77), Some(&0)));
        assert!(map.shards().all(|shard| shard.len() < 20));
    }

    #[test]
    fn a_list_keeps_places() {
        let mut list = List::default();
        assert_eq!(list.set(70, Some("a")), None);
        let before = list.clone();
        assert_eq!(list.set(70, None), Some("a"));
        assert_eq!((before.get(70), list.get(70), list.get(1_000)), (Some(&"a"), None, None));
        assert_eq!((before.iter().count(), list.iter().count()), (1, 0));
    }
}
