//! What is said about a task: its policy, its readiness, and how it ended.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

/// What a task fails with.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// What the end of a task means that nobody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// The process cannot do without it: shut down.
    Shutdown,
    /// It may finish; a failure or a panic shuts down.
    MayFinish,
    /// It may finish, fail or panic; that is reported, and the rest goes on.
    Continue,
}

/// Says that a task does now what it is there for. Dropped unused, it says that the task has failed.
#[derive(Debug)]
#[must_use = "a task that is dropped before it is ready has failed"]
pub struct Ready(oneshot::Sender<()>);

impl Ready {
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// The task is ready: whoever was started after it may rely on it.
    pub fn ready(self) {
        // The host may have given up waiting; then it has asked the task to end, too.
        let _ = self.0.send(());
    }
}

/// How a task ended.
#[derive(Clone, Debug)]
pub enum How {
    /// By itself, without an error.
    Finished,
    /// With an error.
    Failed(Arc<dyn Error + Send + Sync>),
    /// By a panic, with its message.
    Panicked(String),
    /// It was stopped before it had finished.
    Aborted,
    /// A thread that did not end by itself; it dies with the process.
    Stuck,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Finished => f.write_str("finished"),
            How::Failed(error) => write!(f, "failed: {error}"),
            How::Panicked(message) => write!(f, "panicked: {message}"),
            How::Aborted => f.write_str("was stopped before it had finished"),
            How::Stuck => f.write_str("did not stop"),
        }
    }
}

/// A task that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// How.
    pub how: How,
}

/// Why the process shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked: a signal, or a [`Trigger`](crate::Trigger).
    Asked,
    /// The task with this name ended.
    Task(String),
    /// The task with this name could not be started.
    Start(String),
}

/// What is left to say at the end.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it ended.
    pub cause: Cause,
    /// Every task, in the order in which they ended.
    pub ended: Vec<Ended>,
}

impl Report {
    /// Whether the end was asked for and every task finished.
    pub fn is_clean(&self) -> bool {
        self.cause == Cause::Asked && self.ended.iter().all(|ended| matches!(ended.how, How::Finished))
    }
}

/// Why a task could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended with an error before it was ready.
    #[error("{name} could not start")]
    Failed {
        /// The task.
        name: String,
        /// Its error.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// It ended, panicked or went on without ever being ready.
    #[error("{name} was never ready: {why}")]
    NeverReady {
        /// The task.
        name: String,
        /// What it did instead.
        why: String,
    },
    /// The shutdown began before it was ready.
    #[error("{name} was not ready yet when the shutdown began")]
    Interrupted {
        /// The task.
        name: String,
    },
    /// The system gave no thread.
    #[error("no thread for {name}")]
    Thread {
        /// The task.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
