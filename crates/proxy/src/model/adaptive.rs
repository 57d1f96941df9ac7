//! How many requests an upstream can have under way: found out by watching how long it takes for them.
//!
//! Two rules. *Gradient*, as in Envoy's adaptive concurrency filter ("Gradient controller"): the limit is multiplied by the
//! ratio of the time that a request takes when nobody else is there to the time that it takes now, plus room for a short
//! queue of the limit's square root. The first is measured again from time to time, with few requests under way, since it
//! changes. *AIMD*, as in Netflix's concurrency-limits (`AIMDLimit`): one more as long as things go well, a tenth less
//! when a request fails or takes too long.

use std::time::Duration;

/// How a limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By the times of requests.
    Gradient,
    /// By what goes wrong, or takes longer than this.
    Aimd(Duration),
}

/// What bounds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How it is found.
    pub rule: Rule,
    /// Where it begins.
    pub initial: u32,
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

/// One request that was answered, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long it took.
    pub took: Duration,
    /// Whether it was answered in time and without an error of overload.
    pub good: bool,
}

/// Samples of which a time is taken.
const WINDOW: u32 = 25;
/// Longest time until a new limit, and shortest.
const WINDOW_TIME: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(50));
/// The share by which times may grow before that counts ("minRTT buffer").
const TOLERANCE: f64 = 0.25;
/// How often the time of an idle upstream is measured again.
const MEASURE_EVERY: Duration = Duration::from_secs(60);
/// With how many requests under way, and by how many.
const MEASURE: (u32, u32) = (3, 25);

/// A limit that moves. Time is given, in any steady clock.
#[derive(Clone, Debug)]
pub struct Adaptive {
    bounds: Bounds,
    limit: f64,
    /// The time of a request when nobody else is there.
    alone: Option<Duration>,
    measured: Duration,
    measuring: bool,
    window: Window,
}

#[derive(Clone, Debug, Default)]
struct Window {
    began: Duration,
    count: u32,
    sum: Duration,
    least: Option<Duration>,
    busiest: u32,
}

impl Adaptive {
    /// Begins.
    pub fn new(bounds: Bounds, now: Duration) -> Self {
        let window = Window { began: now, ..Window::default() };
        let limit = f64::from(bounds.initial.clamp(bounds.min, bounds.max));
        let measuring = bounds.rule == Rule::Gradient;
        Self { bounds, limit, alone: None, measured: now, measuring, window }
    }

    /// Most requests under way.
    pub fn limit(&self) -> u32 {
        let limit = (self.limit as u32).clamp(self.bounds.min, self.bounds.max);
        // Before the first measurement nothing is known that would justify holding requests back.
        if self.measuring && self.alone.is_some() { limit.min(MEASURE.0.max(self.bounds.min)) } else { limit }
    }

    /// A request has ended while `under_way`, itself included, were there.
    pub fn ended(&mut self, sample: Sample, under_way: u32, now: Duration) {
        match self.bounds.rule {
            Rule::Gradient => self.gradient(sample, under_way, now),
            Rule::Aimd(longest) => self.aimd(sample, under_way, longest),
        }
    }

    fn aimd(&mut self, sample: Sample, under_way: u32, longest: Duration) {
        if !sample.good || sample.took > longest {
            self.set(self.limit * 0.9);
        } else if f64::from(under_way) * 2.0 >= self.limit {
            // One more for each limit's worth of requests.
            self.set(self.limit + 1.0 / self.limit.max(1.0));
        }
    }

    fn gradient(&mut self, sample: Sample, under_way: u32, now: Duration) {
        if !sample.good {
            // How long a failure takes says nothing; that there is one, says there is no room for more.
            self.set(self.limit * 0.98);
            return;
        }
        let window = &mut self.window;
        window.count += 1;
        window.sum += sample.took;
        window.least = Some(window.least.map_or(sample.took, |least| least.min(sample.took)));
        window.busiest = window.busiest.max(under_way);
        let age = now.saturating_sub(window.began);
        let enough = if self.measuring { MEASURE.1 } else { WINDOW };
        if (window.count < enough || age < WINDOW_TIME.1) && age < WINDOW_TIME.0 {
            return;
        }
        let window = std::mem::replace(&mut self.window, Window { began: now, ..Window::default() });
        let mean = window.sum / window.count.max(1);
        if self.measuring {
            // The very first time others are there, too, and the least of them is nearest to the truth.
            let quiet = if self.alone.is_none() { window.least.unwrap_or(mean) } else { mean };
            self.alone = Some(quiet);
            (self.measuring, self.measured) = (false, now);
            return;
        }
        if let Some(alone) = self.alone {
            let alone = alone.min(window.least.unwrap_or(mean).max(alone / 2));
            self.alone = Some(alone);
            let gradient = alone.as_secs_f64() * (1.0 + TOLERANCE) / mean.as_secs_f64().max(1e-9);
            let next = self.limit * gradient.clamp(0.5, 2.0) + self.limit.sqrt();
            // A limit that is not used says nothing about a greater one.
            if next < self.limit || f64::from(window.busiest) * 2.0 >= self.limit {
                self.set(next);
            }
        }
        if now.saturating_sub(self.measured) >= MEASURE_EVERY {
            self.measuring = true;
        }
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(f64::from(self.bounds.min), f64::from(self.bounds.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { rule: Rule::Gradient, initial: 20, min: 2, max: 500 };

    /// An upstream that works on `capacity` requests at a time, 20 ms each, always with as many under way as it may have.
    fn settle(adaptive: &mut Adaptive, capacity: f64, steps: u32, from: Duration) -> Duration {
        let mut now = from;
        for _ in 0..steps {
            let limit = adaptive.limit();
            let took = Duration::from_millis(20).mul_f64((f64::from(limit) / capacity).max(1.0));
            now += took.div_f64(f64::from(limit));
            adaptive.ended(Sample { took, good: true }, limit, now);
        }
        now
    }

    #[test]
    fn the_limit_settles_near_what_the_upstream_can_do() {
        for capacity in [5.0, 40.0, 150.0] {
            let mut adaptive = Adaptive::new(Bounds { initial: 4, ..BOUNDS }, Duration::ZERO);
            settle(&mut adaptive, capacity, 40_000, Duration::ZERO);
            let limit = adaptive.limit;
            assert!(limit >= capacity && limit <= capacity * 2.5, "{capacity}: {limit}");
        }
    }

    #[test]
    fn it_follows_an_upstream_that_loses_and_regains_its_strength() {
        let mut adaptive = Adaptive::new(BOUNDS, Duration::ZERO);
        let now = settle(&mut adaptive, 100.0, 20_000, Duration::ZERO);
        assert!(adaptive.limit >= 100.0, "{}", adaptive.limit);
        let now = settle(&mut adaptive, 10.0, 5_000, now);
        assert!(adaptive.limit <= 30.0, "{}", adaptive.limit);
        settle(&mut adaptive, 100.0, 20_000, now);
        assert!(adaptive.limit >= 100.0, "{}", adaptive.limit);
    }

    #[test]
    fn an_idle_upstream_is_not_believed_to_be_a_strong_one() {
        let mut adaptive = Adaptive::new(BOUNDS, Duration::ZERO);
        for n in 0..10_000_u32 {
            let sample = Sample { took: Duration::from_millis(5), good: true };
            adaptive.ended(sample, 1, Duration::from_millis(10) * n);
        }
        assert!(adaptive.limit <= 20.0, "{}", adaptive.limit);
    }

    #[test]
    fn a_failure_takes_a_tenth_and_success_gives_one() {
        let bounds = Bounds { rule: Rule::Aimd(Duration::from_secs(1)), initial: 100, ..BOUNDS };
        let mut adaptive = Adaptive::new(bounds, Duration::ZERO);
        let (good, bad) =
            (Sample { took: Duration::ZERO, good: true }, Sample { took: Duration::ZERO, good: false });
        adaptive.ended(bad, 100, Duration::ZERO);
        assert_eq!(adaptive.limit(), 90);
        adaptive.ended(Sample { took: Duration::from_secs(2), good: true }, 100, Duration::ZERO);
        assert_eq!(adaptive.limit(), 81);
        for _ in 0..82 {
            adaptive.ended(good, 81, Duration::ZERO);
        }
        assert_eq!(adaptive.limit(), 82);
        for _ in 0..100 {
            adaptive.ended(good, 10, Duration::ZERO);
        }
        assert_eq!(adaptive.limit(), 82);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            gradient in any::<bool>(),
            steps in proptest::collection::vec((0_u64..10_000, any::<bool>(), 0_u32..600, 0_u64..200), 0..400),
        ) {
            let rule = if gradient { Rule::Gradient } else { Rule::Aimd(Duration::from_millis(500)) };
            let mut adaptive = Adaptive::new(Bounds { rule, ..BOUNDS }, Duration::ZERO);
            let mut now = Duration::ZERO;
            for (took, good, under_way, wait) in steps {
                now += Duration::from_millis(wait);
                adaptive.ended(Sample { took: Duration::from_millis(took), good }, under_way, now);
                prop_assert!((2..=500).contains(&adaptive.limit()));
            }
        }
    }
}
