//! How many requests there may be at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a request matters that says nothing of it.
pub const NORMAL_PRIORITY: u8 = 128;

/// A bulkhead: requests at a time, and those that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Requests at a time, over all workers; `None`: no fixed limit.
    pub limit: Option<u32>,
    /// Requests that wait.
    pub queue: u32,
    /// How long one waits, unless there is an overload.
    pub queue_timeout: Duration,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { limit: None, queue: 100, queue_timeout: Duration::from_millis(500) }
    }
}

/// A limit that is found out while requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptive {
    /// How.
    pub rule: AdaptiveRule,
    /// Where it begins.
    pub initial: u32,
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

/// How a limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdaptiveRule {
    /// By how much longer requests take than they do alone.
    Gradient,
    /// One more as long as all goes well, a tenth less when a request fails or takes longer than this.
    Aimd(Duration),
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { rule: AdaptiveRule::Gradient, initial: 20, min: 2, max: 1_000 }
    }
}
