//! A limit on handshakes under way: when it is reached, the one that has been going on for the longest is cut.
//!
//! A handshake costs memory before anybody is known, so clients that begin many and end none must not keep others
//! out. Those that mean it take milliseconds; whoever is the oldest among a thousand does not mean it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Counts handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// Oldest first, so numbers ascend.
    under_way: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    gate: &'a Gate,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Gate {
    /// With room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), inside: Mutex::default() }
    }

    /// Begins a handshake; cuts the oldest one if there are too many.
    pub(super) fn enter(&self) -> Ticket<'_> {
        let (end, cut) = oneshot::channel();
        let mut inside = self.lock();
        inside.next += 1;
        let number = inside.next;
        inside.under_way.push_back((number, end));
        if inside.under_way.len() > self.most
            && let Some((_, oldest)) = inside.under_way.pop_front()
        {
            let _ = oldest.send(());
        }
        Ticket { gate: self, number, cut }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Waits until this one is cut.
    pub(super) async fn cut(&mut self) {
        if (&mut self.cut).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        if let Ok(at) = inside.under_way.binary_search_by_key(&self.number, |(number, _)| *number) {
            inside.under_way.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_like::now;

    mod futures_like {
        use std::future::Future;
        use std::pin::pin;
        use std::task::{Context, Waker};

        /// Whether a future is ready now.
        pub fn now(future: impl Future) -> bool {
            pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let gate = Gate::new(2);
        let mut first = gate.enter();
        let mut second = gate.enter();
        assert!(!now(first.cut()) && !now(second.cut()));
        let mut third = gate.enter();
        assert!(now(first.cut()) && !now(second.cut()));
        drop(second);
        let mut fourth = gate.enter();
        assert!(!now(third.cut()) && !now(fourth.cut()));
        drop((first, third));
        assert_eq!(gate.lock().under_way.len(), 1);
        drop(fourth);
        assert!(gate.lock().under_way.is_empty());
    }
}
