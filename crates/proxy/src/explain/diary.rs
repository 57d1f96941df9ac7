//! One worker's memory of requests: three rings of bounded size, so that what went wrong is remembered for longer than what
//! went well, and nobody from outside can push it out.
//!
//! The lock is that worker's own; somebody else takes it only while a person asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tutti_core::limits;

use super::record::{Record, Shelf, Trouble};

/// A request that is remembered.
#[derive(Debug)]
pub struct Kept {
    /// The facts.
    pub record: Record,
    /// What else there is to say of a failure.
    pub trouble: Option<Box<Trouble>>,
}

/// A ring: the newest take the place of the oldest.
#[derive(Debug)]
struct Ring {
    kept: Vec<Kept>,
    most: usize,
    next: usize,
}

impl Ring {
    fn of(most: usize) -> Self {
        Self { kept: Vec::new(), most: most.max(1), next: 0 }
    }

    fn add(&mut self, one: Kept) {
        if self.kept.len() < self.most {
            self.kept.push(one);
            return;
        }
        if let Some(oldest) = self.kept.get_mut(self.next) {
            *oldest = one;
        }
        self.next = (self.next + 1) % self.most;
    }
}

/// The memory of one worker.
#[derive(Debug)]
pub struct Diary {
    rings: Mutex<[Ring; 3]>,
}

impl Diary {
    /// An empty one: one worker's part of what all of them may keep.
    pub fn among(workers: usize) -> Self {
        let part = |all: usize| Ring::of(all / workers.max(1));
        let rings = [limits::EXPLAIN_RECENT, limits::EXPLAIN_TROUBLED, limits::EXPLAIN_REFUSED].map(part);
        Self { rings: Mutex::new(rings) }
    }

    /// Remembers a request.
    pub fn add(&self, record: Record, trouble: Option<Box<Trouble>>) {
        let [recent, troubled, refused] = &mut *self.lock();
        let ring = match record.shelf() {
            Shelf::Recent => recent,
            Shelf::Troubled => troubled,
            Shelf::Refused => refused,
        };
        ring.add(Kept { record, trouble });
    }

    /// Shows every request that is remembered, in no order.
    pub fn each(&self, mut see: impl FnMut(&Kept)) {
        self.lock().iter().flat_map(|ring| &ring.kept).for_each(&mut see);
    }

    fn lock(&self) -> MutexGuard<'_, [Ring; 3]> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
