//! When to look at which check: a heap of promises, where those that were replaced are not searched for but ignored
//! when their time comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A check of an instance; instances are told apart by the number of their registration, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CheckKey {
    /// The registration.
    pub serial: u64,
    /// The index of the check.
    pub check: u32,
}

/// The promises.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<(Duration, CheckKey)>>,
}

impl Schedule {
    /// Promises to call at a time.
    pub(crate) fn add(&mut self, at: Duration, key: CheckKey) {
        self.heap.push(Reverse((at, key)));
    }

    /// The earliest promise.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the earliest promise if its time has come.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Duration, CheckKey)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
