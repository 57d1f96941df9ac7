//! Ending connections gracefully: first every connection is told to finish what it does, then what is left is cut.
//!
//! A drain does, in this order: listeners stop accepting; idle connections close; the next response of an
//! HTTP/1.1 connection says `connection: close`; an HTTP/2 connection sends GOAWAY and finishes its streams; after
//! the patience is over, what is left is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Starts a drain.
#[derive(Debug)]
pub struct Drainer {
    flag: Arc<AtomicBool>,
    deadline: watch::Sender<Option<Instant>>,
}

/// Hears of a drain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    flag: Arc<AtomicBool>,
    deadline: watch::Receiver<Option<Instant>>,
}

impl Drainer {
    /// A drainer and the signal for those who are to hear it.
    pub fn new() -> (Drainer, DrainSignal) {
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = watch::channel(None);
        (Drainer { flag: Arc::clone(&flag), deadline: sender }, DrainSignal { flag, deadline: receiver })
    }

    /// Another receiver of the signal.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal { flag: Arc::clone(&self.flag), deadline: self.deadline.subscribe() }
    }

    /// Tells everybody to finish, and to be cut after `patience`. A second call can only bring the cut nearer.
    pub fn drain(&self, patience: Duration) {
        let at = Instant::now() + patience;
        self.flag.store(true, Ordering::Release);
        self.deadline.send_modify(|deadline| *deadline = Some(deadline.map_or(at, |old| old.min(at))));
    }
}

impl DrainSignal {
    /// A signal that never comes.
    pub fn never() -> DrainSignal {
        Drainer::new().1
    }

    /// Whether a drain has begun. One atomic load.
    pub fn is_draining(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Waits for a drain to begin.
    pub async fn draining(&self) {
        let mut deadline = self.deadline.clone();
        if deadline.wait_for(Option::is_some).await.is_err() {
            // The drainer is gone without having drained: nobody can start one any more.
            std::future::pending().await
        }
    }

    /// Waits until a drain's patience is over.
    pub async fn cut(&self) {
        let mut deadline = self.deadline.clone();
        loop {
            let at = *deadline.borrow_and_update();
            let over = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = deadline.changed() => if changed.is_err() { return self.cut_at_last(at).await },
            }
        }
    }

    /// The drainer is gone: its last word counts.
    async fn cut_at_last(&self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
