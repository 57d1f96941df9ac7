//! Options of the embedded store. Every field has a default that suits one machine.

use std::time::Duration;

/// How an embedded store is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Changes kept in the change feed; a watcher that falls further behind reads the range again. The newest
    /// transaction is always kept, however large.
    pub history_changes: usize,
    /// Bytes of keys and values kept in the change feed.
    pub history_bytes: usize,
    /// How long a change is kept, counted from its commit or from the opening of the store, and enforced
    /// when the next change is written.
    pub history_age: Duration,
    /// Connections for reading, and so the number of reads at the same time.
    pub readers: usize,
    /// Transactions that share one commit at most: bounds how long the first of them waits.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_changes: 10_000,
            history_bytes: 32 << 20,
            history_age: Duration::from_secs(60 * 60),
            readers: 2,
            batch: 256,
        }
    }
}
