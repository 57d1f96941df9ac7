//! The clock as a trait: state machines take the time as a value and are stepped by tests.

use std::time::{Duration, Instant, SystemTime};

/// Tells the time. Cheap to clone behind an `Arc`.
pub trait Clock: Send + Sync + 'static {
    /// Time since an arbitrary fixed origin; never goes back, and does not follow the wall clock's jumps.
    fn monotonic(&self) -> Duration;

    /// The wall clock, for showing to people and for what outlives the process.
    fn wall(&self) -> SystemTime;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
    /// What the clock showed at its origin.
    before: Duration,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    pub fn new() -> Self {
        Self::continuing(Duration::ZERO)
    }

    /// A clock that shows this much now: it goes on where one of another process has been.
    pub fn continuing(now: Duration) -> Self {
        Self { origin: Instant::now(), before: now }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.before.saturating_add(self.origin.elapsed())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
