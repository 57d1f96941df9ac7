//! What can be set about the registry.

use std::time::Duration;

/// How the registry works. The defaults suit ten instances and ten thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most probes over the network at a time; further ones wait, those on suspicion in front.
    pub probes_in_flight: usize,
    /// Most checks that are commands at a time: each is a process of its own.
    pub commands_in_flight: usize,
    /// Shortest time between two probes of a check on suspicion.
    pub suspicion_pause: Duration,
    /// How long a call that changes the catalog waits for the change to be durable, after it has taken effect.
    pub write_patience: Duration,
    /// Longest pause between two attempts to write when the state fails.
    pub write_retry_max: Duration,
    /// How long changes are still written after the registry was asked to stop.
    pub flush_patience: Duration,
    /// The former run's instances live, and are registered as they stand: nothing is written before [`crate::Handle::settle`].
    pub take_over: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probes_in_flight: 512,
            commands_in_flight: 16,
            suspicion_pause: Duration::from_millis(250),
            write_patience: Duration::from_secs(1),
            write_retry_max: Duration::from_secs(5),
            flush_patience: Duration::from_secs(2),
            take_over: false,
        }
    }
}
