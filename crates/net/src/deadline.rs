//! A timer that is cheap to move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that moves with every request. Moving it is an assignment; the timer behind it is moved only when it fires too
/// early or is needed sooner. It belongs to the runtime in which it was waited for first.
#[derive(Debug, Default)]
pub struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    at: Option<Instant>,
}

impl Deadline {
    /// Sets the deadline to `after` from now.
    pub fn set(&mut self, after: Duration) {
        self.set_at(Instant::now() + after);
    }

    /// Sets the deadline.
    pub fn set_at(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Sets it unless it is set.
    pub fn ensure(&mut self, after: Duration) {
        if self.at.is_none() {
            self.set(after);
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        self.at = None;
    }

    /// Ready when the deadline has passed.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                self.at = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways_and_fires_once() {
        let began = Instant::now();
        let mut deadline = Deadline::default();
        let passed = |deadline: &mut Deadline, cx: &mut Context<'_>| deadline.poll_passed(cx);
        deadline.set(Duration::from_secs(10));
        std::future::poll_fn(|cx| {
            assert!(passed(&mut deadline, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        deadline.set(Duration::from_secs(3));
        std::future::poll_fn(|cx| passed(&mut deadline, cx)).await;
        assert_eq!(began.elapsed().as_secs(), 3);
        let again = tokio::time::timeout(
            Duration::from_secs(100),
            std::future::poll_fn(|cx| passed(&mut deadline, cx)),
        );
        assert!(again.await.is_err());
        deadline.set(Duration::from_secs(1));
        deadline.set(Duration::from_secs(20));
        deadline.ensure(Duration::from_secs(5));
        std::future::poll_fn(|cx| passed(&mut deadline, cx)).await;
        assert_eq!(began.elapsed().as_secs(), 123);
    }
}
