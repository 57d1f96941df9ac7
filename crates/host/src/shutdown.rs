//! The shutdown signal: the first time it means "finish what you have begun", the second time "stop now".

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Run,
    Drain,
    Abort,
}

/// Asks for the shutdown. Clones ask for the same one.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<watch::Sender<Phase>>);

/// Awaits the shutdown; cheap to clone, and not tied to a runtime. When every [`Trigger`] is gone, so is whoever
/// owned the task: that means abort.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A signal that nobody has given yet.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Run);
    (Trigger(Arc::new(sender)), Shutdown(receiver))
}

impl Trigger {
    /// Asks once more: the first time to drain, then to abort.
    pub fn signal(&self) {
        self.0.send_modify(|phase| *phase = if *phase == Phase::Run { Phase::Drain } else { Phase::Abort });
    }

    /// Asks to drain; nothing if that has been asked already.
    pub fn drain(&self) {
        self.reach(Phase::Drain);
    }

    /// Asks to stop now.
    pub fn abort(&self) {
        self.reach(Phase::Abort);
    }

    fn reach(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let further = *phase < to;
            *phase = to.max(*phase);
            further
        });
    }

    /// Forwards SIGTERM and SIGINT for as long as it is polled. From the call on the process does not die of them.
    pub fn forward_signals(&self) -> Result<impl Future<Output = ()> + Send + use<>, io::Error> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let trigger = self.clone();
        Ok(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = term.recv() => "SIGTERM",
                    Some(()) = int.recv() => "SIGINT",
                    else => return,
                };
                tracing::info!(signal = name, "asked to shut down");
                trigger.signal();
            }
        })
    }
}

impl Shutdown {
    /// Returns when the task has to finish what it has begun and end; at once if that has been asked.
    pub async fn drain(&self) {
        self.reached(Phase::Drain).await;
    }

    /// Returns when the task has to stop without finishing anything.
    pub async fn abort(&self) {
        self.reached(Phase::Abort).await;
    }

    /// Whether draining, or more, has been asked.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Drain || self.0.has_changed().is_err()
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the sender is gone, which is the last word too.
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_now::now;

    /// Polls once.
    mod futures_now {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        pub fn now<T>(future: impl Future<Output = T>) -> Option<T> {
            match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            }
        }
    }

    #[test]
    fn the_first_signal_drains_and_the_second_aborts() {
        let (trigger, shutdown) = channel();
        assert!(!shutdown.is_draining() && now(shutdown.drain()).is_none());
        trigger.signal();
        assert!(shutdown.is_draining());
        assert_eq!((now(shutdown.drain()), now(shutdown.clone().abort())), (Some(()), None));
        trigger.drain();
        assert_eq!(now(shutdown.abort()), None, "to be asked to drain again is not an abort");
        trigger.clone().signal();
        assert_eq!((now(shutdown.drain()), now(shutdown.abort())), (Some(()), Some(())));
        trigger.drain();
        assert_eq!(now(shutdown.abort()), Some(()), "there is no way back");
    }

    #[test]
    fn a_lost_owner_is_an_abort() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(shutdown.is_draining());
        assert_eq!((now(shutdown.drain()), now(shutdown.abort())), (Some(()), Some(())));
    }
}
