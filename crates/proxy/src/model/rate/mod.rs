//! Counting one caller's requests against one limit. Time is given, in any clock that does not go back; one that jumps
//! does no harm: back, time stands still; ahead, what was counted is forgotten as it would have been.

pub mod gcra;
pub mod header;
pub mod window;

use std::time::Duration;

use tutti_ports::rate::{Algorithm, Policy, Verdict};

use gcra::Gcra;
use window::Window;

/// What is remembered of one caller.
#[derive(Clone, Debug)]
pub enum Counts {
    /// For [`Algorithm::Gcra`].
    Gcra(Gcra),
    /// For [`Algorithm::SlidingWindow`].
    Window(Box<Window>),
}

impl Counts {
    /// Nothing has been counted.
    pub fn new(policy: &Policy) -> Self {
        match policy.algorithm {
            Algorithm::Gcra => Counts::Gcra(Gcra::default()),
            Algorithm::SlidingWindow => Counts::Window(Box::default()),
        }
    }

    /// What would be said of one request; nothing is counted.
    pub fn look(&mut self, policy: &Policy, now: Duration) -> Verdict {
        match self {
            Counts::Gcra(gcra) => gcra.look(policy, now),
            Counts::Window(window) => window.look(policy, now),
        }
    }

    /// Counts a request that [`Counts::look`] let pass at the same time.
    pub fn take(&mut self, policy: &Policy, now: Duration) {
        match self {
            Counts::Gcra(gcra) => gcra.take(policy, now),
            Counts::Window(window) => window.take(policy, now),
        }
    }

    /// Takes one back.
    pub fn give_back(&mut self, policy: &Policy, now: Duration) {
        match self {
            Counts::Gcra(gcra) => gcra.give_back(policy),
            Counts::Window(window) => window.give_back(policy, now),
        }
    }

    /// When forgetting it makes no difference.
    pub fn spent(&self, policy: &Policy) -> Duration {
        match self {
            Counts::Gcra(gcra) => gcra.spent(),
            Counts::Window(window) => window.spent(policy),
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
