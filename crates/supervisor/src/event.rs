//! What happens, as it happens: for the live progress of the command line and for the console.

use serde::{Deserialize, Serialize};
use tutti_core::{InstanceId, ServiceName};

use crate::rewrite::Rewrite;
use crate::status::Exit;

/// Something that happened to a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When: milliseconds since 1970.
    pub at_ms: u64,
    /// To which service.
    pub service: ServiceName,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum EventKind {
    /// A setup step began.
    SetupStarted {
        /// The step, as shown to people.
        step: String,
    },
    /// A setup step ended.
    SetupFinished {
        /// The step.
        step: String,
        /// It was left out because nothing that it reads has changed.
        cached: bool,
        /// How long it took.
        took_ms: u64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// It waits for another service.
    Waiting {
        /// For what, and how that is.
        reason: String,
    },
    /// An instance's process is being started.
    Starting {
        /// The instance.
        instance: InstanceId,
        /// 0 at first, then one more each time.
        attempt: u32,
    },
    /// An instance's process runs.
    Started {
        /// The instance.
        instance: InstanceId,
        /// Its process.
        pid: u32,
    },
    /// An instance passes its checks.
    Ready {
        /// The instance.
        instance: InstanceId,
        /// How long it took from the start of its process.
        took_ms: u64,
    },
    /// An instance that passed its checks does not any more.
    Unhealthy {
        /// The instance.
        instance: InstanceId,
        /// What its checks say.
        reason: String,
    },
    /// An instance's process ended, or could not be started.
    Exited {
        /// The instance.
        instance: InstanceId,
        /// How.
        exit: Exit,
    },
    /// An instance will be started again.
    Restarting {
        /// The instance.
        instance: InstanceId,
        /// After this pause.
        pause_ms: u64,
        /// Failures in a row.
        failures: u32,
    },
    /// An instance exits again and again. Told once; it is still started again, with long pauses.
    CrashLoop {
        /// The instance.
        instance: InstanceId,
        /// How it ended last.
        reason: String,
    },
    /// An instance gets no new requests.
    Draining {
        /// The instance.
        instance: InstanceId,
    },
    /// An instance was asked to stop.
    Stopping {
        /// The instance.
        instance: InstanceId,
        /// Requests that were still under way when patience ended.
        cut_off: u64,
    },
    /// An instance did not stop in its grace period and is killed.
    Killing {
        /// The instance.
        instance: InstanceId,
    },
    /// An instance has stopped as it was asked to.
    Stopped {
        /// The instance.
        instance: InstanceId,
    },
    /// A one-off service has ended with status 0.
    Completed,
    /// It cannot be run, and nothing more is tried.
    Failed {
        /// Why.
        reason: String,
        /// The stable code of the reason, if it has one.
        code: Option<String>,
    },
    /// A rolling restart begins.
    RolloutStarted,
    /// All its instances are new.
    RolloutFinished,
    /// A new instance was not fit; the old ones stay.
    RolloutAborted {
        /// Why.
        reason: String,
    },
    /// An address in its environment or command was changed so that it reaches the peer.
    Rewritten {
        /// What was changed.
        rewrite: Rewrite,
    },
    /// What was found out about how to run it.
    Hint {
        /// In words, with how to say otherwise.
        text: String,
    },
    /// Something that deserves a look, and stops nothing.
    Notice {
        /// In words.
        text: String,
    },
}
