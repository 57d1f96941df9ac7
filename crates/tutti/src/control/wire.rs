//! What goes over the control socket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tutti_supervisor::{Reloaded, Status};

/// `GET /v1/status`: everything that runs here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Overview {
    /// The project.
    pub(crate) project: String,
    /// Its folder.
    pub(crate) folder: String,
    /// The process that answers.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// When it started: milliseconds since 1970.
    pub(crate) started_at_ms: u64,
    /// Where it listens for the outside.
    pub(crate) listeners: Vec<Listening>,
    /// The generation of what the data plane serves: listeners, routes, doors, endpoints and certificates.
    #[serde(default)]
    pub(crate) edge_generation: u64,
    /// The files could not be used, and what was in force before runs instead.
    #[serde(default)]
    pub(crate) last_good: Option<LastGood>,
    /// Why what is in force could not be kept for a start without the files.
    #[serde(default)]
    pub(crate) not_kept: Option<String>,
    /// Services and instances.
    #[serde(flatten)]
    pub(crate) status: Status,
}

/// What was in force last, and is again because the files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastGood {
    /// Which: it grows with each configuration that is put into force.
    pub(crate) generation: u64,
    /// When it was kept: milliseconds since 1970.
    pub(crate) kept_at_ms: u64,
    /// What is wrong with the files.
    pub(crate) why: String,
}

/// A listener of the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listening {
    /// Its name: `gateway`, or the service and port.
    pub(crate) name: String,
    /// What to type into a browser or client: `http://127.0.0.1:8080`.
    pub(crate) address: String,
    /// The services behind it.
    pub(crate) serves: Vec<String>,
}

/// `POST /v1/up`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpRequest {
    /// None named: all.
    pub(crate) services: Vec<String>,
    /// Leave what they depend on alone.
    pub(crate) no_deps: bool,
    /// How many instances.
    pub(crate) scale: BTreeMap<String, u32>,
    /// Replace what runs already, one by one.
    pub(crate) recreate: bool,
    /// Seconds to wait for the outcome; 0: for ever.
    pub(crate) wait_s: u64,
}

/// `POST /v1/stop`, `/v1/start`, `/v1/restart`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Services {
    /// None named: all.
    pub(crate) services: Vec<String>,
    /// Seconds that processes may take to stop before they are killed; not said: their `stop_grace_period`.
    pub(crate) timeout_s: Option<u64>,
}

/// `POST /v1/down`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Down {
    /// As in [`Services`].
    pub(crate) timeout_s: Option<u64>,
}

/// `POST /v1/upgrade`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Upgrade {
    /// The program that is to take over; not said: the one that runs.
    pub(crate) binary: Option<PathBuf>,
    /// How many seconds the old process may take to finish its connections; not said: 600.
    pub(crate) drain_s: Option<u64>,
    /// How many seconds each step of the hand-over may take at most; not said, or more: as long as it may take anyway.
    pub(crate) timeout_s: Option<u64>,
}

/// Its answer: who ran, and who runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    /// The old version.
    pub(crate) from: String,
    /// The old process.
    pub(crate) from_pid: u32,
    /// The new version.
    pub(crate) to: String,
    /// The new process.
    pub(crate) to_pid: u32,
}

/// `POST /v1/scale`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// How many instances of each.
    pub(crate) services: BTreeMap<String, u32>,
}

/// How an operation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Services that are as they were wanted.
    pub(crate) good: Vec<String>,
    /// Services that are not, each with its reason.
    pub(crate) bad: BTreeMap<String, String>,
}

/// What would change, or has: `POST /v1/diff`, and a part of the answer of `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What becomes of services.
    pub(crate) services: Vec<ServiceChange>,
    /// Listeners, by name.
    pub(crate) listeners: Vec<Change>,
    /// Routes, as `listener route`.
    pub(crate) routes: Vec<Change>,
    /// How services are called, by service.
    pub(crate) policies: Vec<Change>,
    /// Which certificates are wanted.
    pub(crate) certificates: Vec<Change>,
}

impl Plan {
    /// Whether nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// What becomes of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceChange {
    /// Which.
    pub(crate) service: String,
    /// `start`, `stop` or `restart`; else what has to be done by hand.
    pub(crate) action: String,
    /// What of its definition differs.
    pub(crate) why: Vec<String>,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// What.
    pub(crate) name: String,
    /// `added`, `removed` or `changed`.
    pub(crate) action: String,
    /// The fields that differ, if it is changed.
    pub(crate) fields: Vec<FieldChange>,
}

/// A field that differs. What may be a secret is `***`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FieldChange {
    /// Its path.
    pub(crate) field: String,
    /// As it is in force.
    pub(crate) from: String,
    /// As the files have it.
    pub(crate) to: String,
}

/// The answer of `POST /v1/reload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reload {
    /// Services.
    #[serde(flatten)]
    pub(crate) services: Reloaded,
    /// Everything.
    pub(crate) plan: Plan,
    /// The generation that every worker of the data plane serves now.
    pub(crate) edge_generation: u64,
}

/// A transition of an instance's health, in `GET /v1/history?service=`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transition {
    /// The instance.
    pub(crate) instance: String,
    /// When: milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Before; `None`: it was not there.
    pub(crate) from: Option<String>,
    /// After; `None`: it is gone.
    pub(crate) to: Option<String>,
    /// Why.
    pub(crate) reason: String,
}

/// Every answer with a status of 400 or more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// What went wrong.
    pub(crate) error: ProblemBody,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    /// `not_found`, `invalid`, … (`core::Kind`).
    pub(crate) kind: String,
    /// In words.
    pub(crate) message: String,
    /// The stable code, if there is one.
    pub(crate) code: Option<String>,
}
