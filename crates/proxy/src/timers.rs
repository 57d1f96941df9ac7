//! Timers for tries. One that was used is lent again, and moved only if it is needed sooner: to set one up and take it down for each
//! request costs more than all that a request does with it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use tutti_net::Deadline;

/// Most timers that are kept.
const KEPT: usize = 64;

/// Timers of one worker.
#[derive(Default)]
pub struct Timers(RefCell<Vec<Deadline>>);

impl Timers {
    /// A timer that is not set.
    pub fn lend(&self) -> Lent<'_> {
        let timer = self.0.borrow_mut().pop().unwrap_or_default();
        Lent { timers: self, timer }
    }
}

/// A timer until it is dropped.
pub struct Lent<'a> {
    timers: &'a Timers,
    timer: Deadline,
}

impl Deref for Lent<'_> {
    type Target = Deadline;

    fn deref(&self) -> &Deadline {
        &self.timer
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Deadline {
        &mut self.timer
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut timer = std::mem::take(&mut self.timer);
        timer.clear();
        let mut kept = self.timers.0.borrow_mut();
        if kept.len() < KEPT {
            kept.push(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_used_waits_as_long_as_a_new_one() {
        let timers = Timers::default();
        let began = Instant::now();
        let wait = async |seconds: u64| {
            let mut timer = timers.lend();
            timer.set(Duration::from_secs(seconds));
            let passed = poll_fn(|cx| timer.poll_passed(cx));
            tokio::time::timeout(Duration::from_secs(5), passed).await.is_ok()
        };
        // Given up, then sooner, then later than what it was set to.
        assert!(!wait(60).await);
        assert!(wait(2).await);
        assert!(wait(3).await);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert!(!wait(100).await);
        assert_eq!(timers.0.borrow().len(), 1);
    }
}
