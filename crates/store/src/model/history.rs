//! How much of the change feed is kept: bounded by count, bytes and age, cut between transactions.

use std::collections::VecDeque;
use std::time::Duration;

use tutti_ports::state::Revision;

use crate::config::Options;

/// What one transaction added to the change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its revision.
    pub revision: Revision,
    /// Changes of keys.
    pub changes: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// The transactions in the change feed, oldest first.
#[derive(Debug, Default)]
pub struct History {
    marks: VecDeque<(Duration, Mark)>,
    changes: usize,
    bytes: usize,
}

impl History {
    /// Adds a committed transaction.
    pub fn push(&mut self, mark: Mark, now: Duration) {
        self.changes += mark.changes;
        self.bytes += mark.bytes;
        self.marks.push_back((now, mark));
    }

    /// The newest revision that has to leave the feed once `coming` are added to it; the newest transaction
    /// of all always stays.
    pub fn cut(&self, coming: &[Mark], options: &Options, now: Duration) -> Option<Revision> {
        let mut changes = self.changes + coming.iter().map(|mark| mark.changes).sum::<usize>();
        let mut bytes = self.bytes + coming.iter().map(|mark| mark.bytes).sum::<usize>();
        let newest = coming.last().or_else(|| self.marks.back().map(|(_, mark)| mark))?.revision;
        let mut cut = None;
        for (at, mark) in self.marks.iter().copied().chain(coming.iter().map(|mark| (now, *mark))) {
            let old = now.saturating_sub(at) > options.history_age;
            let over = changes > options.history_changes || bytes > options.history_bytes;
            if mark.revision == newest || !(old || over) {
                break;
            }
            changes -= mark.changes;
            bytes -= mark.bytes;
            cut = Some(mark.revision);
        }
        cut
    }

    /// Forgets everything up to and including a revision.
    pub fn forget(&mut self, through: Revision) {
        while let Some((_, mark)) = self.marks.front().copied() {
            if mark.revision > through {
                break;
            }
            self.changes -= mark.changes;
            self.bytes -= mark.bytes;
            self.marks.pop_front();
        }
    }

    /// Changes in the feed.
    pub fn changes(&self) -> usize {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(changes: usize, bytes: usize, age: u64) -> Options {
        Options {
            history_changes: changes,
            history_bytes: bytes,
            history_age: Duration::from_secs(age),
            ..Options::default()
        }
    }

    fn mark(revision: u64, changes: usize, bytes: usize) -> Mark {
        Mark { revision: Revision(revision), changes, bytes }
    }

    #[test]
    fn a_transaction_larger_than_the_whole_bound_is_kept_while_it_is_the_newest() {
        let history = History::default();
        assert_eq!(history.cut(&[mark(1, 50, 50)], &options(3, 3, 60), Duration::ZERO), None);
        let both = [mark(1, 50, 50), mark(2, 50, 50)];
        assert_eq!(history.cut(&both, &options(3, 3, 60), Duration::ZERO), Some(Revision(1)));
    }

    #[test]
    fn age_counts_from_the_commit() {
        let mut history = History::default();
        history.push(mark(1, 1, 1), Duration::from_secs(0));
        history.push(mark(2, 1, 1), Duration::from_secs(50));
        let coming = [mark(3, 1, 1)];
        let cut = |now| history.cut(&coming, &options(100, 100, 60), Duration::from_secs(now));
        assert_eq!((cut(60), cut(61), cut(111)), (None, Some(Revision(1)), Some(Revision(2))));
    }

    proptest! {
        #[test]
        fn what_is_left_is_within_the_bounds_or_a_single_transaction(
            sizes in proptest::collection::vec((1_usize..5, 0_usize..9), 1..40),
            changes in 1_usize..12, bytes in 1_usize..30,
        ) {
            let options = options(changes, bytes, 1_000);
            let mut history = History::default();
            for (at, (rows, size)) in sizes.iter().enumerate() {
                let now = Duration::from_secs(at as u64);
                let coming = [mark(at as u64 + 1, *rows, *size)];
                let cut = history.cut(&coming, &options, now);
                history.push(coming[0], now);
                if let Some(cut) = cut {
                    history.forget(cut);
                }
                let held: usize = history.marks.iter().map(|(_, mark)| mark.changes).sum();
                prop_assert_eq!(held, history.changes);
                let within = history.changes <= changes && history.bytes <= bytes;
                prop_assert!(within || history.marks.len() == 1);
            }
        }
    }
}
