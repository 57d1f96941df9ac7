//! A circuit breaker (Nygard, "Release It!"): closed, open, half-open.
//!
//! ```text
//!            too many of the last requests failed
//!   closed ───────────────────────────────────────▶ open
//!     ▲                                              │ its time is over, and a request comes
//!     │ so many probes succeeded                     ▼
//!     └────────────────────────────────────────── half-open ──▶ open, for twice as long: a probe failed
//! ```
//!
//! Time is given, in any steady clock. What a request that began before the last change has to say is not listened to.

use std::time::Duration;

use tutti_ports::routing::Breaker as Rules;

/// Parts of the window: the oldest of them is forgotten at a time.
const PARTS: usize = 10;

/// Most doublings of the time that it stays open; the rules bound it before that.
const DOUBLINGS: u32 = 16;

/// Where a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests pass.
    Closed,
    /// None does until then.
    Open {
        /// When a probe may pass.
        until: Duration,
    },
    /// A few pass, to see.
    HalfOpen {
        /// Probes under way.
        under_way: u32,
        /// Probes that succeeded.
        succeeded: u32,
    },
}

/// What is said to a request that wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Pass,
    /// It may, and everything depends on it. The number tells probes of different times apart.
    Probe(u64),
    /// It may not; after this time it is worth asking again.
    Refuse(Duration),
}

/// A breaker. Closed at first.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    /// When the state was entered, and how many there have been.
    since: Duration,
    changes: u64,
    /// How often it has opened without having been well in between.
    opened: u32,
    window: Window,
}

impl Default for Breaker {
    fn default() -> Self {
        let (since, window) = (Duration::ZERO, Window::default());
        Self { state: State::Closed, since, changes: 0, opened: 0, window }
    }
}

impl Breaker {
    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// A request wants to pass.
    pub fn admit(&mut self, rules: &Rules, now: Duration) -> Verdict {
        if let State::Open { until } = self.state {
            if now < until {
                return Verdict::Refuse(until - now);
            }
            self.enter(State::HalfOpen { under_way: 0, succeeded: 0 }, now);
        }
        match &mut self.state {
            State::HalfOpen { under_way, succeeded } => {
                if *under_way + *succeeded >= rules.probes.max(1) {
                    // Who comes while probes are under way hears soon.
                    return Verdict::Refuse(Duration::from_secs(1).min(rules.open));
                }
                *under_way += 1;
                Verdict::Probe(self.changes)
            }
            _ => Verdict::Pass,
        }
    }

    /// A try that began at `began` has ended well, or not.
    pub fn record(&mut self, rules: &Rules, began: Duration, now: Duration, failed: bool) {
        match &mut self.state {
            State::Open { .. } => {}
            _ if began < self.since => {}
            State::HalfOpen { succeeded, .. } if !failed => {
                *succeeded += 1;
                if *succeeded >= rules.probes.max(1) {
                    self.window = Window::default();
                    self.enter(State::Closed, now);
                }
            }
            State::HalfOpen { .. } => self.open(rules, now),
            State::Closed => {
                self.window.add(rules.window, now, failed);
                let (all, failures) = self.window.sum();
                let many = all >= u64::from(rules.minimum.max(1));
                if many && failed && failures * 100 >= u64::from(rules.failure_percent.max(1)) * all {
                    if now.saturating_sub(self.since) > rules.window {
                        // It has been well for a while: what was before does not count any more.
                        self.opened = 0;
                    }
                    self.open(rules, now);
                }
            }
        }
    }

    /// A probe is over, whatever came of it. Without this, one that was given up would block the way for ever.
    pub fn release(&mut self, probe: u64) {
        if let State::HalfOpen { under_way, .. } = &mut self.state
            && probe == self.changes
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    fn open(&mut self, rules: &Rules, now: Duration) {
        let times = 1_u32 << self.opened.min(DOUBLINGS);
        let long = rules.open.saturating_mul(times).min(rules.open_max.max(rules.open));
        self.opened = self.opened.saturating_add(1);
        self.window = Window::default();
        self.enter(State::Open { until: now + long }, now);
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.since = now;
        self.changes += 1;
    }
}

/// Successes and failures of the last while, in parts.
#[derive(Clone, Debug, Default)]
struct Window {
    parts: [(u64, u64); PARTS],
    /// The number of the newest part since the clock began.
    newest: u64,
}

impl Window {
    fn add(&mut self, length: Duration, now: Duration, failed: bool) {
        let part = (length / PARTS as u32).as_nanos().max(1);
        let number = u64::try_from(now.as_nanos() / part).unwrap_or(u64::MAX).max(self.newest);
        for passed in (self.newest..number).take(PARTS).map(|passed| passed + 1) {
            // Parts between that nothing fell into, and the one that begins.
            let first = number - (number - self.newest).min(PARTS as u64);
            let at = (first + (passed - self.newest)) % PARTS as u64;
            if let Some(part) = self.parts.get_mut(at as usize) {
                *part = (0, 0);
            }
        }
        self.newest = number;
        if let Some((all, failures)) = self.parts.get_mut((number % PARTS as u64) as usize) {
            *all += 1;
            *failures += u64::from(failed);
        }
    }

    fn sum(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(all, failed), part| (all + part.0, failed + part.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const RULES: Rules = Rules {
        window: Duration::from_secs(10),
        minimum: 10,
        failure_percent: 50,
        open: S,
        open_max: Duration::from_secs(6),
        probes: 2,
    };

    fn fail(breaker: &mut Breaker, now: Duration, times: u32) {
        for _ in 0..times {
            breaker.record(&RULES, now, now, true);
        }
    }

    #[test]
    fn it_opens_at_the_rate_and_not_below_the_volume() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, S, 9);
        assert_eq!(breaker.admit(&RULES, S), Verdict::Pass);
        fail(&mut breaker, S, 1);
        assert_eq!(breaker.admit(&RULES, S), Verdict::Refuse(S));
        let mut breaker = Breaker::default();
        for turn in 0..100 {
            breaker.record(&RULES, S, S, turn % 5 > 2);
        }
        assert_eq!(breaker.state(), State::Closed);
        fail(&mut breaker, S, 20);
        assert_eq!(breaker.state(), State::Open { until: S * 2 });
    }

    #[test]
    fn failures_are_forgotten_with_the_window() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, S, 9);
        fail(&mut breaker, S * 12, 9);
        assert_eq!(breaker.state(), State::Closed);
        fail(&mut breaker, S * 21, 1);
        assert_eq!(breaker.state(), State::Open { until: S * 22 });
    }

    #[test]
    fn probes_close_it_or_open_it_for_longer() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, S, 10);
        assert!(matches!(breaker.admit(&RULES, S * 3 / 2), Verdict::Refuse(_)));
        // Two probes at a time, and no more.
        let Verdict::Probe(first) = breaker.admit(&RULES, S * 2) else { panic!() };
        assert_eq!(breaker.admit(&RULES, S * 2), Verdict::Probe(first));
        assert!(matches!(breaker.admit(&RULES, S * 2), Verdict::Refuse(_)));
        // One is given up: another may pass.
        breaker.release(first);
        assert_eq!(breaker.admit(&RULES, S * 2), Verdict::Probe(first));
        // One that began before it opened has nothing to say.
        breaker.record(&RULES, S, S * 2, true);
        breaker.record(&RULES, S * 2, S * 2, true);
        assert_eq!(breaker.state(), State::Open { until: S * 4 });
        breaker.release(first);
        for (at, until) in [(4, 8), (8, 14), (14, 20)] {
            assert!(matches!(breaker.admit(&RULES, S * at), Verdict::Probe(_)));
            breaker.record(&RULES, S * at, S * at, true);
            assert_eq!(breaker.state(), State::Open { until: S * until });
        }
        for _ in 0..2 {
            let Verdict::Probe(probe) = breaker.admit(&RULES, S * 20) else { panic!() };
            breaker.record(&RULES, S * 20, S * 20, false);
            breaker.release(probe);
        }
        assert_eq!(breaker.admit(&RULES, S * 20), Verdict::Pass);
        // Well for longer than the window: the next time it begins anew.
        fail(&mut breaker, S * 40, 10);
        assert_eq!(breaker.state(), State::Open { until: S * 41 });
    }

    proptest! {
        /// Whatever happens: probes under way are bounded, an open breaker lets nobody pass before its time and everybody
        /// after it, and it opens only with enough failures.
        #[test]
        fn it_keeps_its_promises(steps in proptest::collection::vec((0_u8..5, 0_u64..1500), 1..300)) {
            let mut breaker = Breaker::default();
            let (mut now, mut probes, mut recorded) = (Duration::ZERO, Vec::new(), 0_u32);
            for (what, wait) in steps {
                now += Duration::from_millis(wait);
                let before = breaker.state();
                match what {
                    0 | 1 => match (before, breaker.admit(&RULES, now)) {
                        (State::Closed, verdict) => prop_assert_eq!(verdict, Verdict::Pass),
                        (State::Open { until }, Verdict::Refuse(rest)) => prop_assert_eq!(rest, until - now),
                        (State::Open { until }, verdict) => {
                            prop_assert!(now >= until && matches!(verdict, Verdict::Probe(_)));
                            probes.clear();
                            probes.push(verdict);
                        }
                        (State::HalfOpen { .. }, Verdict::Probe(probe)) => probes.push(Verdict::Probe(probe)),
                        (State::HalfOpen { under_way, succeeded }, verdict) => {
                            prop_assert!(matches!(verdict, Verdict::Refuse(_)) && under_way + succeeded >= 2);
                        }
                    },
                    2 => if let Some(Verdict::Probe(probe)) = probes.pop() { breaker.release(probe) },
                    3 => breaker.record(&RULES, now, now, false),
                    _ => breaker.record(&RULES, now, now, true),
                }
                recorded += u32::from(what > 2);
                match breaker.state() {
                    State::HalfOpen { under_way, succeeded } => {
                        prop_assert!(under_way <= 2 && succeeded < 2);
                    }
                    State::Open { until } => {
                        prop_assert!(before != State::Closed || recorded >= 10);
                        prop_assert!(until <= now + RULES.open_max);
                    }
                    State::Closed => {}
                }
                if before == State::Closed && breaker.state() != State::Closed {
                    recorded = 0;
                }
            }
        }
    }
}
