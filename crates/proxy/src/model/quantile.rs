//! A quantile of recent durations, by a histogram that forgets: a fixed kilobyte, two additions for each duration.
//!
//! Buckets grow by about 9 % each, from 100 µs to over two minutes, so what is read is at most that much too large. Every so often all
//! counts are halved, so that what was long ago weighs little.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: usize = 8;
/// Doublings above [`LEAST`].
const DOUBLINGS: usize = 21;
const BUCKETS: usize = STEPS * DOUBLINGS;
const LEAST: Duration = Duration::from_micros(100);
/// After so many durations all counts are halved.
const WINDOW: u32 = 1_000;
/// From so many on there is something to be said.
const ENOUGH: u32 = 20;

/// Durations, and how many of them are how long.
#[derive(Clone, Debug)]
pub struct Quantile {
    counts: Box<[u32; BUCKETS]>,
    total: u32,
    fresh: u32,
}

impl Default for Quantile {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, fresh: 0 }
    }
}

impl Quantile {
    /// One more.
    pub fn observe(&mut self, took: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(took)) {
            *count += 1;
            self.total += 1;
            self.fresh += 1;
        }
        if self.fresh >= WINDOW {
            self.fresh = 0;
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// What `share` of them, 0.0 to 1.0, did not exceed; `None` when there are too few to tell.
    pub fn at(&self, share: f64) -> Option<Duration> {
        if self.total < ENOUGH {
            return None;
        }
        let wanted = (f64::from(self.total) * share.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut seen = 0_u32;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if f64::from(seen) >= wanted {
                return Some(end(at));
            }
        }
        Some(end(BUCKETS - 1))
    }
}

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let ratio = took.as_secs_f64() / LEAST.as_secs_f64();
    if ratio <= 1.0 {
        return 0;
    }
    let at = (ratio.log2() * STEPS as f64).ceil() as usize;
    at.min(BUCKETS - 1)
}

/// The longest duration of a bucket.
fn end(bucket: usize) -> Duration {
    LEAST.mul_f64((bucket as f64 / STEPS as f64).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn little_is_not_enough() {
        let mut quantile = Quantile::default();
        for _ in 1..ENOUGH {
            quantile.observe(Duration::from_millis(5));
            assert_eq!(quantile.at(0.5), None);
        }
        quantile.observe(Duration::from_millis(5));
        let read = quantile.at(0.5).unwrap();
        assert!((5.0..5.6).contains(&(read.as_secs_f64() * 1e3)), "{read:?}");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut quantile = Quantile::default();
        (0..5_000).for_each(|_| quantile.observe(Duration::from_secs(1)));
        (0..10_000).for_each(|_| quantile.observe(Duration::from_millis(1)));
        assert!(quantile.at(0.99).unwrap() < Duration::from_millis(2));
        assert!(quantile.total <= 2 * WINDOW);
    }

    proptest! {
        #[test]
        fn it_is_the_right_one_but_for_a_tenth(
            mut micros in proptest::collection::vec(100_u64..10_000_000, 20..900),
            share in 0.01_f64..0.999,
        ) {
            let mut quantile = Quantile::default();
            micros.iter().for_each(|one| quantile.observe(Duration::from_micros(*one)));
            micros.sort_unstable();
            let at = ((micros.len() as f64 * share).ceil() as usize).max(1) - 1;
            let exact = micros[at] as f64;
            let read = quantile.at(share).unwrap().as_secs_f64() * 1e6;
            prop_assert!(read >= exact * 0.999 && read <= exact * 1.1, "{read} {exact}");
        }
    }
}
