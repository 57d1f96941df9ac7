//! When a service is left in peace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A circuit breaker. It opens when too many requests fail, and tries again after a while with a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Over how long failures are counted.
    pub window: Duration,
    /// Fewer requests than this in the window decide nothing; at least 1.
    pub minimum: u32,
    /// It opens when so many percent of them fail; 1 to 100.
    pub failure_percent: u32,
    /// How long it stays open the first time. Doubles each time it opens again without having been well in between.
    pub open: Duration,
    /// How long it stays open at most.
    pub open_max: Duration,
    /// So many requests must succeed before it closes; so many are let through at a time.
    pub probes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum: 20,
            failure_percent: 50,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            probes: 3,
        }
    }
}
