//! What the tries of all workers have shown of an endpoint.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tutti_ports::routing::Outlier;

use super::endpoint::Pace;
use crate::model::outlier::{self, Outcome, Reason, Sample, Streaks};

/// Counts of one endpoint. No lock: two workers that count at the same moment both count.
#[derive(Debug, Default)]
pub struct Passive {
    /// [`Streaks`], 16 bits each.
    streaks: AtomicU64,
    successes: AtomicU32,
    failures: AtomicU32,
    /// How long its answers take, on the whole.
    latency: Pace,
    /// In milliseconds of the engine's clock; 0: it is not passed over, and has not been.
    ejected_until: AtomicU64,
    times: AtomicU32,
    /// The place in [`Reason::ALL`].
    reason: AtomicU8,
}

/// An endpoint that is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// Why.
    pub reason: Reason,
    /// For how much longer.
    pub remaining: Duration,
    /// How often it has been, as far as it is not forgiven.
    pub times: u32,
}

impl Passive {
    /// A try has ended. An endpoint that is well costs one read.
    pub fn note(&self, outcome: Outcome) -> Streaks {
        let packed = self.streaks.load(Ordering::Relaxed);
        if packed == 0 && outcome == Outcome::Fine {
            return Streaks::default();
        }
        let next = |packed: u64| Some(pack(unpack(packed).after(outcome)));
        let before = self.streaks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(packed);
        unpack(before).after(outcome)
    }

    /// The same for the rates of an interval.
    pub fn count(&self, outcome: Outcome, took: Duration, now: Duration) {
        let counter = if outcome == Outcome::Fine { &self.successes } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Local {
            self.latency.observe(took, now, false);
        }
    }

    /// What was counted since this was last asked.
    pub fn take(&self) -> Sample {
        Sample {
            successes: u64::from(self.successes.swap(0, Ordering::Relaxed)),
            failures: u64::from(self.failures.swap(0, Ordering::Relaxed)),
            latency: self.latency.get().mean,
        }
    }

    /// Whether it is passed over.
    pub fn is_ejected(&self, now: Duration) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && until > millis(now)
    }

    /// Passes it over, for longer each time. Says for how long.
    pub fn eject(&self, rules: &Outlier, reason: Reason, now: Duration) -> Duration {
        let well_for =
            Duration::from_millis(millis(now).saturating_sub(self.ejected_until.load(Ordering::Relaxed)));
        let times = outlier::times(rules, self.times.load(Ordering::Relaxed), well_for).saturating_add(1);
        let long = outlier::ejection(rules, times);
        let place = Reason::ALL.iter().position(|one| *one == reason).unwrap_or(0);
        self.times.store(times, Ordering::Relaxed);
        self.reason.store(place as u8, Ordering::Relaxed);
        self.streaks.store(0, Ordering::Relaxed);
        self.ejected_until.store(millis(now + long), Ordering::Relaxed);
        long
    }

    /// Why it is passed over, if it is.
    pub fn ejected(&self, now: Duration) -> Option<Ejected> {
        let until = Duration::from_millis(self.ejected_until.load(Ordering::Relaxed));
        let remaining = until.checked_sub(now).filter(|remaining| !remaining.is_zero())?;
        let reason = Reason::ALL.get(usize::from(self.reason.load(Ordering::Relaxed))).copied()?;
        Some(Ejected { reason, remaining, times: self.times.load(Ordering::Relaxed) })
    }

    /// Takes over what was shown of another one.
    pub fn inherit(&self, other: &Self) {
        let long =
            |to: &AtomicU64, from: &AtomicU64| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        let short =
            |to: &AtomicU32, from: &AtomicU32| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        long(&self.streaks, &other.streaks);
        long(&self.ejected_until, &other.ejected_until);
        short(&self.successes, &other.successes);
        short(&self.failures, &other.failures);
        short(&self.times, &other.times);
        self.reason.store(other.reason.load(Ordering::Relaxed), Ordering::Relaxed);
        self.latency.inherit(&other.latency);
    }

    /// Forgets everything: it is another life.
    pub fn clear(&self) {
        self.streaks.store(0, Ordering::Relaxed);
        self.successes.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(0, Ordering::Relaxed);
        self.times.store(0, Ordering::Relaxed);
        self.latency.clear();
    }
}

fn pack(streaks: Streaks) -> u64 {
    u64::from(streaks.errors) | u64::from(streaks.gateway) << 16 | u64::from(streaks.local) << 32
}

fn unpack(packed: u64) -> Streaks {
    let part = |shift: u32| (packed >> shift & 0xffff) as u16;
    Streaks { errors: part(0), gateway: part(16), local: part(32) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_grow_and_end() {
        let (passive, rules) = (Passive::default(), Outlier::default());
        let at = Duration::from_secs;
        for _ in 0..4 {
            assert_eq!(passive.note(Outcome::Gateway).due(&rules), None);
        }
        assert_eq!(passive.note(Outcome::Gateway).due(&rules), Some(Reason::ConsecutiveGatewayErrors));
        assert_eq!(passive.eject(&rules, Reason::ConsecutiveGatewayErrors, at(100)), at(10));
        assert!(passive.is_ejected(at(109)) && !passive.is_ejected(at(110)));
        let why = passive.ejected(at(104)).unwrap();
        assert_eq!((why.reason.as_str(), why.remaining, why.times), ("consecutive_gateway_errors", at(6), 1));
        // The streak began anew, and soon after it is twice as long.
        assert_eq!(passive.note(Outcome::Gateway).due(&rules), None);
        assert_eq!(passive.eject(&rules, Reason::Latency, at(115)), at(20));
        assert_eq!(passive.eject(&rules, Reason::Latency, at(135)), at(30));
        // After long good health it is the first time again.
        assert_eq!(passive.eject(&rules, Reason::Latency, at(900)), at(10));
        passive.clear();
        assert_eq!(passive.ejected(at(901)), None);
    }

    #[test]
    fn rates_are_taken_once() {
        let passive = Passive::default();
        let (ms, now) = (Duration::from_millis(20), Duration::from_secs(1));
        passive.count(Outcome::Fine, ms, now);
        passive.count(Outcome::Local, ms * 99, now);
        let sample = passive.take();
        assert_eq!((sample.successes, sample.failures), (1, 1));
        assert!((sample.latency - 0.02).abs() < 1e-9);
        assert_eq!(passive.take().successes, 0);
    }
}
