//! Changes of the routes that wait for their turn, so that one that was overtaken by a later one is left out.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The changes that wait. Their numbers begin with 1.
#[derive(Debug, Default)]
pub struct Changes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    waiting: BTreeSet<u64>,
}

/// A change's place; given up when dropped.
#[derive(Debug)]
pub struct Ticket<'a> {
    changes: &'a Changes,
    number: u64,
}

impl Changes {
    /// A place behind all others.
    pub fn draw(&self) -> Ticket<'_> {
        let mut inner = self.lock();
        inner.last += 1;
        let number = inner.last;
        inner.waiting.insert(number);
        Ticket { changes: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether a later one waits.
    pub fn is_overtaken(&self) -> bool {
        self.changes.lock().waiting.last().is_some_and(|last| *last > self.number)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.changes.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_change_overtakes_as_long_as_it_waits() {
        let changes = Changes::default();
        let one = changes.draw();
        assert!(!one.is_overtaken());
        let two = changes.draw();
        assert!(one.is_overtaken() && !two.is_overtaken() && two.number() > one.number());
        drop(two);
        assert!(!one.is_overtaken());
    }
}
