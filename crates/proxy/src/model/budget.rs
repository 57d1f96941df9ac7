//! The retry budget: retries may add a share to the load of a service, and no more, so that a struggling service
//! is not beaten down by those who mean to help it.

use std::time::Duration;

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Retries for each 100 requests.
    pub percent: u32,
    /// Retries for each second that are allowed however few requests there are.
    pub per_second: u32,
    /// Most retries that may be saved up.
    pub burst: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { percent: 20, per_second: 10, burst: 100 }
    }
}

/// A retry costs this many parts.
const WHOLE: u64 = 1_000_000;

/// One service's budget. Time is given, in any steady clock.
#[derive(Clone, Debug)]
pub struct Budget {
    allowance: Allowance,
    parts: u64,
    refilled: Duration,
}

impl Budget {
    /// A full budget.
    pub fn new(allowance: Allowance, now: Duration) -> Self {
        Self { allowance, parts: u64::from(allowance.burst) * WHOLE, refilled: now }
    }

    /// A request was sent for the first time.
    pub fn deposit(&mut self) {
        self.add(u64::from(self.allowance.percent) * (WHOLE / 100));
    }

    /// Whether a retry may be made; if so, it is paid for.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.refilled).as_micros()).unwrap_or(u64::MAX);
        self.refilled = self.refilled.max(now);
        self.add(passed.saturating_mul(u64::from(self.allowance.per_second)));
        match self.parts.checked_sub(WHOLE) {
            Some(rest) => {
                self.parts = rest;
                true
            }
            None => false,
        }
    }

    fn add(&mut self, parts: u64) {
        self.parts = self.parts.saturating_add(parts).min(u64::from(self.allowance.burst) * WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_share_of_the_requests_may_be_retried() {
        let mut budget = Budget::new(Allowance { percent: 20, per_second: 0, burst: 2 }, SECOND);
        assert!(budget.withdraw(SECOND) && budget.withdraw(SECOND) && !budget.withdraw(SECOND));
        for _ in 0..5 {
            budget.deposit();
        }
        assert!(budget.withdraw(SECOND) && !budget.withdraw(SECOND));
    }

    #[test]
    fn time_alone_allows_a_few() {
        let mut budget = Budget::new(Allowance { percent: 20, per_second: 10, burst: 5 }, SECOND);
        assert_eq!((0..9).filter(|_| budget.withdraw(SECOND)).count(), 5);
        assert!(!budget.withdraw(SECOND + Duration::from_millis(99)));
        assert!(budget.withdraw(SECOND + Duration::from_millis(101)));
        assert_eq!((0..99).filter(|_| budget.withdraw(SECOND * 100)).count(), 5);
    }

    proptest! {
        #[test]
        fn never_more_than_the_allowance(steps in proptest::collection::vec((any::<bool>(), 0_u64..50), 0..400)) {
            let allowance = Allowance { percent: 20, per_second: 10, burst: 3 };
            let mut budget = Budget::new(allowance, Duration::ZERO);
            let (mut now, mut requests, mut retries) = (0_u64, 0_u64, 0_u64);
            for (request, wait) in steps {
                now += wait;
                if request {
                    budget.deposit();
                    requests += 1;
                } else if budget.withdraw(Duration::from_millis(now)) {
                    retries += 1;
                }
            }
            prop_assert!(retries <= 3 + requests / 5 + now / 100 + 1);
        }
    }
}
