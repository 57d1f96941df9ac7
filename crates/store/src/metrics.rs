//! What the store counts. One value per store, shared with whoever shows it.

use tutti_core::metrics::{Counter, Gauge, Histogram, Page};

/// Counters of one store.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Transactions carried out and answered, whether or not they changed anything.
    pub transactions: Counter,
    /// Commits that wrote something, each with one sync of the disk.
    pub commits: Counter,
    /// Commits that failed and changed nothing, or of which it is not known.
    pub commit_failures: Counter,
    /// Time from the begin of a batch to the end of its commit.
    pub commit_seconds: Histogram,
    /// Leases that ran out.
    pub leases_expired: Counter,
    /// Leases that are alive.
    pub leases: Gauge,
    /// Changes that the change feed holds.
    pub history_changes: Gauge,
    /// The newest revision.
    pub revision: Gauge,
}

impl Metrics {
    /// Adds every metric to a page.
    pub fn show(&self, page: &mut Page) {
        page.one("tutti_store_transactions_total", "Transactions carried out.", &self.transactions);
        page.one("tutti_store_commits_total", "Commits, each with one sync.", &self.commits);
        page.one("tutti_store_commit_failures_total", "Commits that failed.", &self.commit_failures);
        page.one("tutti_store_commit_seconds", "Time of a group commit.", &self.commit_seconds);
        page.one("tutti_store_leases_expired_total", "Leases that ran out.", &self.leases_expired);
        page.one("tutti_store_leases", "Leases that are alive.", &self.leases);
        page.one("tutti_store_history_changes", "Changes in the change feed.", &self.history_changes);
        page.one("tutti_store_revision", "The newest revision.", &self.revision);
    }
}
