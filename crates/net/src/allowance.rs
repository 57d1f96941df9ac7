//! How often a peer may do what costs us work and carries nothing.

use tokio::time::Instant;

/// A number of things that may happen, growing with time up to where it began.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    grown: Instant,
}

impl Allowance {
    /// So many at once, and so many a second.
    pub(crate) fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { left: most, most, per_second, grown: now }
    }

    /// Allows more, up to where it began.
    pub(crate) fn give(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.most);
    }

    /// Takes one; `true` when there was none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.grown).as_millis();
        let grown = passed.saturating_mul(u128::from(self.per_second)) / 1_000;
        if grown > 0 {
            self.grown = now;
            self.give(u32::try_from(grown).unwrap_or(u32::MAX));
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_none()
    }
}
