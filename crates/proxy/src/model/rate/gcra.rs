//! The generic cell rate algorithm (ITU-T I.371 annex A, ATM Forum Traffic Management 4.1 section 4.4.5), in its form of
//! virtual scheduling: one number for each caller, the time at which its next request is due. A request that comes
//! earlier than `burst - 1` intervals before that is refused and counts for nothing.

use std::time::Duration;

use tutti_ports::rate::{Policy, Verdict};

use super::nanos;

/// The theoretical arrival time of the next request, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gcra {
    due: u64,
}

/// Time between two requests of a steady caller; rounded up, so that it is never less than the policy says.
fn interval(policy: &Policy) -> u64 {
    nanos(policy.window).div_ceil(u64::from(policy.requests.max(1))).max(1)
}

fn most_ahead(policy: &Policy) -> u64 {
    interval(policy).saturating_mul(u64::from(policy.burst.max(1)))
}

impl Gcra {
    /// How far ahead of the clock the caller would be with `more` requests.
    fn ahead(&self, policy: &Policy, now: u64, more: u64) -> u64 {
        // A clock that went back must not lock anybody out for longer than a full burst does.
        let due = self.due.clamp(now, now.saturating_add(most_ahead(policy)));
        (due - now).saturating_add(interval(policy).saturating_mul(more))
    }

    /// See [`super::Counts::look`].
    pub fn look(&self, policy: &Policy, now: Duration) -> Verdict {
        let (now, interval, most) = (nanos(now), interval(policy), most_ahead(policy));
        let with = self.ahead(policy, now, 1);
        let allowed = with <= most;
        let reset = if allowed { with } else { with - most };
        let remaining = u32::try_from(most.saturating_sub(with) / interval).unwrap_or(u32::MAX);
        Verdict { allowed, remaining, reset: Duration::from_nanos(reset) }
    }

    /// See [`super::Counts::take`].
    pub fn take(&mut self, policy: &Policy, now: Duration) {
        let now = nanos(now);
        self.due = now.saturating_add(self.ahead(policy, now, 1));
    }

    /// See [`super::Counts::give_back`].
    pub fn give_back(&mut self, policy: &Policy) {
        self.due = self.due.saturating_sub(interval(policy));
    }

    /// See [`super::Counts::spent`].
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.due)
    }
}
