//! The counts of rate limits in this process, exact over all workers.
//!
//! Each limit has a table of its own, cut into shards with a lock each, and a bounded number of callers. Nobody is ever
//! forgotten before their counts are spent, so a flood of other names cannot win a caller its own limit back: when a shard
//! is full and nobody in it is spent, callers that are new share [`limits::RATE_CROWD`] places by the hash of
//! their name, each with the limit of one caller. The hash is keyed with a secret of the process, so nobody can choose a
//! shard or a place. Limits do not share tables, so names that anybody can invent, as in a header field, do not crowd
//! out addresses.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tutti_core::limits;
use tutti_ports::rate::{Answer, Ask, Policy, RateStore, Verdict};

use crate::metrics::Metrics;
use crate::model::rate::Counts;

const SHARDS: usize = 16;
const SHARD_KEYS: usize = limits::RATE_KEYS / SHARDS;
const SHARD_CROWD: usize = limits::RATE_CROWD / SHARDS;

/// How often a full shard is looked through at most.
const SWEEP: Duration = Duration::from_millis(100);

/// The store in this process.
#[derive(Debug)]
pub struct LocalStore {
    origin: Instant,
    seed: RandomState,
    tables: RwLock<HashMap<Arc<Policy>, Arc<Table>>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Table {
    policy: Arc<Policy>,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<u64, Counts>,
    /// Shared by those for whom there is no room. Empty until there is such a caller.
    crowd: Vec<Counts>,
    /// Nobody is spent before.
    sweep_at: Duration,
}

/// Where the counts of one question are.
struct Place {
    table: Arc<Table>,
    hash: u64,
}

impl Place {
    fn shard(&self) -> usize {
        (self.hash >> 32) as usize % SHARDS
    }

    /// In which order locks are taken: the same for everybody, or two could wait for each other.
    fn order(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.table) as usize, self.shard())
    }
}

impl LocalStore {
    /// An empty store.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (seed, tables) = (RandomState::new(), RwLock::default());
        Self { origin: Instant::now(), seed, tables, metrics }
    }

    fn place(&self, ask: &Ask) -> Place {
        Place { table: self.table(&ask.policy), hash: self.seed.hash_one(&ask.key) }
    }

    fn table(&self, policy: &Arc<Policy>) -> Arc<Table> {
        if let Some(table) = self.tables.read().unwrap_or_else(PoisonError::into_inner).get(&**policy) {
            return Arc::clone(table);
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(Arc::clone(policy)).or_insert_with(|| {
            Arc::new(Table { policy: Arc::clone(policy), shards: std::array::from_fn(|_| Mutex::default()) })
        });
        Arc::clone(table)
    }

    /// Like [`RateStore::take`], at a time.
    fn take_at(&self, asks: &[Ask], now: Duration) -> Vec<Verdict> {
        let places: Vec<Place> = asks.iter().map(|ask| self.place(ask)).collect();
        let mut held = lock(&places);
        let mut verdicts = Vec::with_capacity(places.len());
        for place in &places {
            let verdict = held.with(place, |shard, policy| {
                let (counts, crowded) = shard.counts(policy, place.hash, now);
                if crowded {
                    self.metrics.rate_limit_crowded.inc();
                }
                counts.look(policy, now)
            });
            verdicts.push(verdict.unwrap_or(Verdict { allowed: true, remaining: 0, reset: Duration::ZERO }));
        }
        if verdicts.iter().all(|verdict| verdict.allowed) {
            for place in &places {
                held.with(place, |shard, policy| shard.counts(policy, place.hash, now).0.take(policy, now));
            }
        }
        verdicts
    }

    fn give_back_at(&self, asks: &[Ask], now: Duration) {
        let places: Vec<Place> = asks.iter().map(|ask| self.place(ask)).collect();
        let mut held = lock(&places);
        for place in &places {
            held.with(place, |shard, policy| shard.counts(policy, place.hash, now).0.give_back(policy, now));
        }
    }
}

/// The locked shards of some places.
struct Held<'a>(Vec<((usize, usize), MutexGuard<'a, Shard>)>);

fn lock(places: &[Place]) -> Held<'_> {
    let mut order: Vec<&Place> = places.iter().collect();
    order.sort_by_key(|place| place.order());
    order.dedup_by_key(|place| place.order());
    let mut held = Vec::with_capacity(order.len());
    for place in order {
        if let Some(shard) = place.table.shards.get(place.shard()) {
            held.push((place.order(), shard.lock().unwrap_or_else(PoisonError::into_inner)));
        }
    }
    Held(held)
}

impl Held<'_> {
    fn with<T>(&mut self, place: &Place, then: impl FnOnce(&mut Shard, &Policy) -> T) -> Option<T> {
        let order = place.order();
        let (_, shard) = self.0.iter_mut().find(|(key, _)| *key == order)?;
        Some(then(shard, &place.table.policy))
    }
}

impl Shard {
    /// The counts of a caller, and whether they are shared with others for want of room.
    fn counts(&mut self, policy: &Policy, hash: u64, now: Duration) -> (&mut Counts, bool) {
        if self.counts.len() >= SHARD_KEYS && !self.counts.contains_key(&hash) {
            self.sweep(policy, now);
            if self.counts.len() >= SHARD_KEYS {
                if self.crowd.is_empty() {
                    self.crowd = vec![Counts::new(policy); SHARD_CROWD];
                }
                let at = hash as usize % SHARD_CROWD;
                if let Some(shared) = self.crowd.get_mut(at) {
                    return (shared, true);
                }
            }
        }
        (self.counts.entry(hash).or_insert_with(|| Counts::new(policy)), false)
    }

    /// Forgets whom it makes no difference to.
    fn sweep(&mut self, policy: &Policy, now: Duration) {
        if now < self.sweep_at {
            return;
        }
        let mut next = Duration::MAX;
        self.counts.retain(|_, counts| {
            let spent = counts.spent(policy);
            if spent > now {
                next = next.min(spent);
            }
            spent > now
        });
        self.sweep_at = if self.counts.len() < SHARD_KEYS { now } else { next.max(now + SWEEP) };
    }
}

impl RateStore for LocalStore {
    fn take(&self, asks: &[Ask]) -> Answer {
        Answer::Now(Ok(self.take_at(asks, self.origin.elapsed())))
    }

    fn give_back(&self, asks: &[Ask]) {
        self.give_back_at(asks, self.origin.elapsed());
    }

    fn retain(&self, policies: &[Arc<Policy>]) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|policy, _| policies.contains(policy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_ports::rate::Algorithm;

    fn store() -> LocalStore {
        LocalStore::new(Arc::default())
    }

    fn policy(name: &str, requests: u32) -> Arc<Policy> {
        let window = Duration::from_secs(1);
        let algorithm = Algorithm::SlidingWindow;
        Arc::new(Policy { name: name.into(), algorithm, requests, window, burst: 1 })
    }

    fn ask(policy: &Arc<Policy>, key: u32) -> Ask {
        Ask { policy: Arc::clone(policy), key: key.to_be_bytes().to_vec() }
    }

    fn passes(store: &LocalStore, asks: &[Ask], now: Duration) -> bool {
        store.take_at(asks, now).iter().all(|verdict| verdict.allowed)
    }

    #[test]
    fn all_must_let_it_pass_and_none_counts_what_another_refuses() {
        let (store, now) = (store(), Duration::ZERO);
        let (wide, narrow) = (policy("wide", 3), policy("narrow", 1));
        let both = |key| [ask(&wide, 0), ask(&narrow, key)];
        assert!(passes(&store, &both(1), now));
        for _ in 0..10 {
            assert!(!passes(&store, &both(1), now));
        }
        assert!(passes(&store, &both(2), now) && passes(&store, &both(3), now));
        assert!(!passes(&store, &both(4), now));
        // The narrow limit has not counted the fourth.
        assert!(passes(&store, &[ask(&narrow, 4)], now));
        store.give_back_at(&[ask(&wide, 0)], now);
        assert!(passes(&store, &both(5), now));
    }

    #[test]
    fn threads_together_get_exactly_what_is_allowed() {
        let store = store();
        let (one, two) = (policy("one", 1_000), policy("two", 700));
        let passed: usize = std::thread::scope(|scope| {
            let run = |swap: bool| {
                let (store, one, two) = (&store, &one, &two);
                move || {
                    let mut asks = [ask(one, 1), ask(two, 2)];
                    if swap {
                        asks.reverse();
                    }
                    (0..1_000).filter(|_| passes(store, &asks, Duration::ZERO)).count()
                }
            };
            let threads: Vec<_> = (0..4).map(|at| scope.spawn(run(at % 2 == 0))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 700);
        let left = (0..1_000).filter(|_| passes(&store, &[ask(&one, 1)], Duration::ZERO)).count();
        assert_eq!(left, 300);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_wins_nobody_their_limit_back() {
        let (store, now) = (store(), Duration::ZERO);
        let limit = policy("limit", 1);
        assert!(passes(&store, &[ask(&limit, 0)], now));
        let flood = limits::RATE_KEYS as u32 * 2;
        let passed = (1..=flood).filter(|key| passes(&store, &[ask(&limit, *key)], now)).count();
        assert!(passed <= limits::RATE_KEYS + limits::RATE_CROWD, "{passed}");
        assert!(passed > limits::RATE_KEYS * 9 / 10, "{passed}");
        assert!(!passes(&store, &[ask(&limit, 0)], now));
        let table = store.table(&limit);
        let kept: usize = table.shards.iter().map(|shard| shard.lock().unwrap().counts.len()).sum();
        assert!(kept <= limits::RATE_KEYS, "{kept}");
        // Once they are spent there is room again.
        let later = Duration::from_secs(3);
        let passed = (flood..flood + 1_000).filter(|key| passes(&store, &[ask(&limit, *key)], later)).count();
        assert_eq!(passed, 1_000);
    }

    #[test]
    fn what_is_not_in_force_is_forgotten_and_what_is_stays() {
        let (store, now) = (store(), Duration::ZERO);
        let (kept, gone) = (policy("kept", 1), policy("gone", 1));
        assert!(passes(&store, &[ask(&kept, 1), ask(&gone, 1)], now));
        store.retain(&[policy("kept", 1)]);
        assert!(!passes(&store, &[ask(&kept, 1)], now));
        assert!(passes(&store, &[ask(&gone, 1)], now));
    }
}
