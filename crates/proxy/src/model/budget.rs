//! The retry budget: retries may add a share to the load of a service, and no more, so that a struggling service
//! is not beaten down by those who mean to help it. There is one for a service, which all workers share.

use std::time::Duration;

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Retries for each 100 requests.
    pub percent: u32,
    /// Retries for each second that are allowed however few requests there are: a floor, not an addition.
    pub per_second: u32,
    /// Most retries that may be saved up.
    pub burst: u32,
    /// Retries that are there before the first request.
    pub initial: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { percent: 15, per_second: 10, burst: 100, initial: 10 }
    }
}

/// A retry costs this many parts.
const WHOLE: u64 = 1_000_000;

/// One service's budget. Time is given, in any steady clock.
#[derive(Clone, Debug)]
pub struct Budget {
    allowance: Allowance,
    parts: u64,
    /// What requests brought lately beyond the floor.
    surplus: u64,
    refilled: Duration,
}

impl Budget {
    /// A budget with its first retries.
    pub fn new(allowance: Allowance, now: Duration) -> Self {
        let initial = allowance.initial.min(allowance.burst);
        Self { allowance, parts: u64::from(initial) * WHOLE, surplus: 0, refilled: now }
    }

    /// From now on another allowance holds. What is saved up stays, within it.
    pub fn adjust(&mut self, allowance: Allowance) {
        if self.allowance != allowance {
            self.allowance = allowance;
            self.add(0);
        }
    }

    /// So many requests were sent for the first time.
    pub fn deposit(&mut self, requests: u64) {
        let part = requests.saturating_mul(u64::from(self.allowance.percent) * (WHOLE / 100));
        self.surplus = self.surplus.saturating_add(part).min(u64::from(self.allowance.per_second) * WHOLE);
        self.add(part);
    }

    /// Whether a retry may be made; if so, it is paid for.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.refilled).as_micros()).unwrap_or(u64::MAX);
        self.refilled = self.refilled.max(now);
        // The floor is reached by what requests brought, as far as that goes.
        let floor = passed.saturating_mul(u64::from(self.allowance.per_second));
        let brought = floor.min(self.surplus);
        self.surplus -= brought;
        self.add(floor - brought);
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
        let mut budget = Budget::new(Allowance { percent: 20, per_second: 0, burst: 2, initial: 2 }, SECOND);
        assert!(budget.withdraw(SECOND) && budget.withdraw(SECOND) && !budget.withdraw(SECOND));
        for _ in 0..5 {
            budget.deposit(1);
        }
        assert!(budget.withdraw(SECOND) && !budget.withdraw(SECOND));
    }

    #[test]
    fn time_alone_allows_a_few() {
        let mut budget = Budget::new(Allowance { percent: 20, per_second: 10, burst: 5, initial: 5 }, SECOND);
        assert_eq!((0..9).filter(|_| budget.withdraw(SECOND)).count(), 5);
        assert!(!budget.withdraw(SECOND + Duration::from_millis(99)));
        assert!(budget.withdraw(SECOND + Duration::from_millis(101)));
        assert_eq!((0..99).filter(|_| budget.withdraw(SECOND * 100)).count(), 5);
    }

    #[test]
    fn the_floor_is_no_addition() {
        let mut budget =
            Budget::new(Allowance { percent: 20, per_second: 10, burst: 100, initial: 0 }, SECOND);
        let mut retries = 0;
        // 500 requests a second for ten seconds, every second one of which would be repeated.
        for n in 0..5_000_u32 {
            budget.deposit(1);
            let now = SECOND + Duration::from_millis(2) * n;
            retries += u32::from(n % 2 == 0 && budget.withdraw(now));
        }
        assert!((980..=1_000).contains(&retries), "{retries}");
    }

    #[test]
    fn many_at_once_are_as_many_one_by_one() {
        let allowance = Allowance { percent: 20, per_second: 3, burst: 40, initial: 0 };
        let (mut one, mut all) = (Budget::new(allowance, SECOND), Budget::new(allowance, SECOND));
        (0..60).for_each(|_| one.deposit(1));
        all.deposit(60);
        let count = |budget: &mut Budget| (0..99).filter(|_| budget.withdraw(SECOND * 2)).count();
        assert_eq!((count(&mut one), count(&mut all)), (12, 12));
        all.deposit(u64::MAX);
        assert_eq!(count(&mut all), 40);
    }

    #[test]
    fn a_smaller_allowance_holds_at_once() {
        let mut budget = Budget::new(Allowance { percent: 0, per_second: 0, burst: 9, initial: 9 }, SECOND);
        budget.adjust(Allowance { percent: 0, per_second: 0, burst: 1, initial: 9 });
        assert!(budget.withdraw(SECOND) && !budget.withdraw(SECOND));
    }

    proptest! {
        #[test]
        fn never_more_than_the_allowance(steps in proptest::collection::vec((any::<bool>(), 0_u64..50), 0..400)) {
            let allowance = Allowance { percent: 20, per_second: 10, burst: 3, initial: 3 };
            let mut budget = Budget::new(allowance, Duration::ZERO);
            let (mut now, mut requests, mut retries) = (0_u64, 0_u64, 0_u64);
            for (request, wait) in steps {
                now += wait;
                if request {
                    budget.deposit(1);
                    requests += 1;
                } else if budget.withdraw(Duration::from_millis(now)) {
                    retries += 1;
                }
            }
            prop_assert!(retries <= 3 + requests / 5 + now / 100 + 1);
        }
    }
}
