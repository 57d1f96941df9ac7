//! Clocks for tests.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tutti_core::time::Clock;

/// A clock that follows tokio's time, also while that is paused and advanced by hand. Make it inside a runtime.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
    wall: SystemTime,
}

impl TokioClock {
    /// A clock whose monotonic time is zero now, and whose wall clock begins at one billion seconds after 1970.
    pub fn new() -> Self {
        Self { origin: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.wall + self.origin.elapsed()
    }
}
