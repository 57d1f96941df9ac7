//! Ending connections gracefully: first every connection is told to finish what it does, then what is left is cut.
//!
//! A drain does, in this order: listeners stop accepting; idle connections close; the next response of an
//! HTTP/1.1 connection says `connection: close`; an HTTP/2 connection sends GOAWAY and finishes its streams; after
//! the patience is over, what is left is cut.
//!
//! A drain may be *gentle*: then connections that are idle, or have just been accepted, stay for a while. A client that sends its next
//! request at this very moment gets its answer, with `connection: close`, where it would otherwise find a closed connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Longest patience: as good as none, and no time that a clock cannot tell.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Starts a drain.
#[derive(Debug)]
pub struct Drainer {
    flag: Arc<AtomicBool>,
    times: watch::Sender<Option<Times>>,
}

/// When what ends.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Idle connections.
    idle: Instant,
    /// All of them.
    cut: Instant,
}

/// Hears of a drain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    flag: Arc<AtomicBool>,
    times: watch::Receiver<Option<Times>>,
}

impl Drainer {
    /// A drainer and the signal for those who are to hear it.
    pub fn new() -> (Drainer, DrainSignal) {
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = watch::channel(None);
        (Drainer { flag: Arc::clone(&flag), times: sender }, DrainSignal { flag, times: receiver })
    }

    /// Another receiver of the signal.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal { flag: Arc::clone(&self.flag), times: self.times.subscribe() }
    }

    /// Tells everybody to finish, and to be cut after `patience`. A second call can only bring the cut nearer.
    pub fn drain(&self, patience: Duration) {
        self.drain_gently(Duration::ZERO, patience);
    }

    /// The same, and idle connections wait for one more request for as long as `idle`.
    pub fn drain_gently(&self, idle: Duration, patience: Duration) {
        let (now, patience) = (Instant::now(), patience.min(LONGEST));
        let asked = Times { idle: now + idle.min(patience), cut: now + patience };
        self.flag.store(true, Ordering::Release);
        self.times.send_modify(|times| {
            let old = times.unwrap_or(asked);
            *times = Some(Times { idle: old.idle.min(asked.idle), cut: old.cut.min(asked.cut) });
        });
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
        let mut times = self.times.clone();
        if times.wait_for(Option::is_some).await.is_err() {
            // The drainer is gone without having drained: nobody can start one any more.
            std::future::pending().await
        }
    }

    /// Waits until an idle connection has to go: as soon as a drain begins, or when a gentle one has waited long enough.
    pub async fn idle_over(&self) {
        self.reached(|times| times.idle).await;
    }

    /// Waits until a drain's patience is over.
    pub async fn cut(&self) {
        self.reached(|times| times.cut).await;
    }

    async fn reached(&self, which: fn(Times) -> Instant) {
        let mut times = self.times.clone();
        loop {
            let at = times.borrow_and_update().map(which);
            tokio::select! {
                biased;
                () = wait_until(at) => return,
                // When the drainer is gone, its last word counts.
                changed = times.changed() => if changed.is_err() { return wait_until(at).await },
            }
        }
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        // In a box: there is one for each idle connection, and mostly it is not needed.
        Some(at) => Box::pin(tokio::time::sleep_until(at)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
