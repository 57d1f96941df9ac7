//! How long an instance takes: a mean that forgets, and that believes bad news at once.

use std::time::Duration;

/// How fast it forgets: after this time, what was seen counts for 1/e. Finagle's default.
const DECAY: f64 = 10.0;

/// What an instance costs that has requests under way and has not answered any, in seconds: more than any other, but
/// one that has nothing to do is tried (Finagle's `Penalty`).
const PENALTY: f64 = 1e6;

/// A mean over time, weighted by age. `peak` as in Finagle's `PeakEwma`: what is slower than the mean takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ewma {
    /// In seconds; 0: nothing has been seen.
    pub mean: f64,
    /// When it was last brought up to date.
    pub at: Duration,
}

impl Ewma {
    /// With one more observation.
    #[must_use]
    pub fn observed(self, took: Duration, now: Duration, peak: bool) -> Self {
        let took = took.as_secs_f64();
        let at = now.max(self.at);
        if self.mean == 0.0 || (peak && took > self.mean) {
            return Self { mean: took, at };
        }
        let keep = self.keep(now);
        Self { mean: self.mean * keep + took * (1.0 - keep), at }
    }

    /// What one more request would cost an instance that has so many under way.
    ///
    /// The mean decays while nothing is heard, so that one which was slow gets another chance.
    pub fn cost(self, under_way: u64, now: Duration) -> f64 {
        let mean = self.mean * self.keep(now);
        let load = under_way as f64;
        if self.mean == 0.0 && under_way > 0 { PENALTY + load } else { mean * (load + 1.0) }
    }

    fn keep(self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / DECAY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bad_news_is_believed_at_once_and_good_news_slowly() {
        let calm = Ewma::default().observed(MS * 10, MS, true);
        assert!((calm.mean - 0.01).abs() < 1e-9);
        let slow = calm.observed(MS * 500, MS * 2, true);
        assert!((slow.mean - 0.5).abs() < 1e-9);
        let soon = slow.observed(MS * 10, MS * 102, true);
        assert!(soon.mean > 0.49 && soon.mean < 0.5, "{soon:?}");
        let later = slow.observed(MS * 10, MS * 30_002, true);
        assert!(later.mean < 0.04, "{later:?}");
        // Without the peak, one slow answer in a calm moment hardly counts.
        assert!(calm.observed(MS * 500, MS * 2, false).mean < 0.011);
    }

    #[test]
    fn an_instance_nothing_is_known_of_is_tried_once() {
        let (unknown, now) = (Ewma::default(), MS);
        let known = Ewma::default().observed(MS * 20, now, true);
        assert!(unknown.cost(0, now) < known.cost(0, now));
        assert!(unknown.cost(1, now) > known.cost(100, now));
        assert!(known.cost(3, now) > known.cost(2, now));
        assert!(known.cost(0, now + Duration::from_secs(60)) < known.cost(0, now) / 100.0);
    }

    proptest! {
        #[test]
        fn the_mean_stays_between_what_was_seen(
            seen in proptest::collection::vec((1_u64..10_000, 0_u64..60_000), 1..50),
            peak in any::<bool>(),
        ) {
            let (mut mean, mut now) = (Ewma::default(), Duration::ZERO);
            for (took, wait) in &seen {
                now += MS * (*wait as u32);
                mean = mean.observed(MS * (*took as u32), now, peak);
            }
            let least = seen.iter().map(|(took, _)| *took).min().unwrap() as f64 / 1e3;
            let most = seen.iter().map(|(took, _)| *took).max().unwrap() as f64 / 1e3;
            prop_assert!(mean.mean >= least - 1e-9 && mean.mean <= most + 1e-9);
        }
    }
}
