//! Chance as a trait: jitter and load balancing are reproducible in tests.
//!
//! Not for secrets: nothing here is unpredictable to an attacker.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea, Flood 2014): fast, passes BigCrush, fine for balancing and jitter.
///
/// It may be shared between threads without a lock; two that ask at the same moment may get the same number.
#[derive(Debug)]
pub struct Rng {
    state: AtomicU64,
}

impl Rng {
    /// A generator that always gives the same sequence.
    pub fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A generator seeded by the process's hash keys, which the operating system randomises.
    pub fn from_entropy() -> Self {
        Self::seeded(RandomState::new().hash_one(0x7574_7469_u64))
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.store(state, Ordering::Relaxed);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0. The bias is below 2^-32 for bounds below 2^32.
    pub fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * (bound as u128);
        (wide >> 64) as usize
    }

    /// A number in 0.0 ..= 1.0, excluding 1.0.
    pub fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let rng = Rng::seeded(7);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[rng.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (a, b) = (Rng::seeded(1), Rng::seeded(1));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
    }
}
