//! A sliding window: never more than the policy's requests in any stretch of time as long as its window, wherever it
//! begins.
//!
//! The window is cut into eight parts, and the requests of the last nine are counted, the one that is under way among
//! them: any stretch that is one window long lies within nine parts. So the limit is never exceeded (counting by two fixed
//! windows allows up to twice as many), and a request is remembered for at most an eighth of the window too long.

use std::time::Duration;

use tutti_ports::rate::{Policy, Verdict};

use super::nanos;

const PARTS: u64 = 8;
const KEPT: usize = PARTS as usize + 1;

/// The counts of the last parts, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Window {
    newest: u64,
    counts: [u32; KEPT],
}

fn width(policy: &Policy) -> u64 {
    nanos(policy.window).div_ceil(PARTS).max(1)
}

impl Window {
    fn advance(&mut self, policy: &Policy, now: u64) {
        let part = now / width(policy);
        // A clock that goes back stands still.
        let passed = usize::try_from(part.saturating_sub(self.newest)).unwrap_or(KEPT).min(KEPT);
        if passed > 0 {
            self.counts.rotate_right(passed % KEPT);
            self.counts.iter_mut().take(passed).for_each(|count| *count = 0);
            self.newest = part;
        }
    }

    fn total(&self) -> u32 {
        self.counts.iter().fold(0, |sum: u32, count| sum.saturating_add(*count))
    }

    /// When the part with this age is forgotten.
    fn gone(&self, policy: &Policy, age: usize) -> u64 {
        (self.newest + (KEPT - age.min(KEPT)) as u64).saturating_mul(width(policy))
    }

    /// See [`super::Counts::look`].
    pub fn look(&mut self, policy: &Policy, now: Duration) -> Verdict {
        let now = nanos(now);
        self.advance(policy, now);
        let total = self.total();
        let allowed = total < policy.requests;
        let until = if allowed {
            self.gone(policy, 0)
        } else {
            // The oldest go first; the next may pass when enough of them are gone.
            let mut left = total;
            let oldest_first = self.counts.iter().enumerate().rev();
            let enough = oldest_first.into_iter().find(|(_, count)| {
                left -= **count;
                left < policy.requests
            });
            self.gone(policy, enough.map_or(0, |(age, _)| age))
        };
        let remaining = policy.requests.saturating_sub(total).saturating_sub(1);
        Verdict { allowed, remaining, reset: Duration::from_nanos(until.saturating_sub(now)) }
    }

    /// See [`super::Counts::take`].
    pub fn take(&mut self, policy: &Policy, now: Duration) {
        self.advance(policy, nanos(now));
        if let Some(newest) = self.counts.first_mut() {
            *newest = newest.saturating_add(1);
        }
    }

    /// See [`super::Counts::give_back`]. The newest that was counted is taken back.
    pub fn give_back(&mut self, policy: &Policy, now: Duration) {
        self.advance(policy, nanos(now));
        if let Some(count) = self.counts.iter_mut().find(|count| **count > 0) {
            *count -= 1;
        }
    }

    /// See [`super::Counts::spent`].
    pub fn spent(&self, policy: &Policy) -> Duration {
        let newest = self.counts.iter().position(|count| *count > 0);
        Duration::from_nanos(newest.map_or(0, |age| self.gone(policy, age)))
    }
}
