//! The catalog: which instances of which services run where, and whether each is fit for work.
//!
//! The registry is the only writer of an instance's state. Everybody else tells it facts
//! (registered, exited, draining, suspected) and reads immutable views.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tutti_core::{Classify, InstanceId, Kind, Retry, ServiceName};

use crate::exec::Exec;

/// Whether an instance is fit for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its checks have not passed yet.
    Starting,
    /// All checks pass.
    Passing,
    /// A check warns; it still gets traffic.
    Warning,
    /// A check fails as often as its threshold says; it gets no traffic.
    Critical,
    /// It is being stopped: no new traffic, what is under way goes on.
    Draining,
}

impl Health {
    /// Whether new requests may be sent there.
    pub const fn takes_traffic(self) -> bool {
        matches!(self, Health::Passing | Health::Warning)
    }

    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Passing => "passing",
            Health::Warning => "warning",
            Health::Critical => "critical",
            Health::Draining => "draining",
        }
    }
}

/// How to find out whether an instance is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A GET; 2xx and 3xx pass, 429 warns, the rest fails (Consul's rule).
    Http {
        /// Where: the address of the port to ask.
        addr: SocketAddr,
        /// The path and query, from `/`.
        path: String,
        /// The Host header; `addr` if none.
        host: Option<String>,
        /// Any answer passes, whatever its status: what `curl` without `--fail` means.
        any_status: bool,
    },
    /// A connection that is accepted passes.
    Tcp {
        /// Where.
        addr: SocketAddr,
    },
    /// `grpc.health.v1.Health/Check`; SERVING passes.
    Grpc {
        /// Where.
        addr: SocketAddr,
        /// The service name asked for; empty asks for the server as a whole.
        service: String,
    },
    /// A command in the instance's own surroundings; exit 0 passes, 1 fails (2 and more too).
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// The instance must report within `ttl`, or it is critical.
    Ttl {
        /// Longest silence.
        ttl: Duration,
    },
}

/// A probe, how often, and how many results make a change. Names and meaning as in Compose's `healthcheck`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A name, unique among the instance's checks.
    pub name: String,
    /// What to do.
    pub probe: Probe,
    /// Time between two probes once started.
    pub interval: Duration,
    /// Longest time for one probe.
    pub timeout: Duration,
    /// While younger than this, failures do not count against the instance.
    pub start_period: Duration,
    /// Time between two probes until the first success.
    pub start_interval: Duration,
    /// So many failures in a row make it critical.
    pub fall: u32,
    /// So many successes in a row make it passing again.
    pub rise: u32,
}

/// The application protocol spoken at a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1, or HTTP/2 with prior knowledge when the client speaks it to us.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge (h2c); gRPC.
    H2c,
    /// Bytes.
    Tcp,
}

/// A port on which an instance listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The port as the service is known by to its peers (the container port of the compose file).
    pub port: u16,
    /// Where it really is.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub protocol: AppProtocol,
}

/// What describes an instance and does not change while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its id, unique among living instances.
    pub id: InstanceId,
    /// The service it is a copy of.
    pub service: ServiceName,
    /// Where it listens; the first is the main one. Empty for a worker.
    pub endpoints: Vec<Endpoint>,
    /// The version that was deployed, if known.
    pub version: Option<String>,
    /// The failure domain, if known.
    pub zone: Option<String>,
    /// Its share of the traffic, relative to its siblings; 1 if nothing else was said. 0 gets none.
    pub weight: u32,
    /// Tags, as in Consul.
    pub tags: Vec<String>,
    /// Metadata, as in Consul and Eureka.
    pub meta: BTreeMap<String, String>,
}

/// One change of an instance's health, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Before; `None` when it was registered.
    pub from: Option<Health>,
    /// After; `None` when it is gone.
    pub to: Option<Health>,
    /// Why, in words for a person: what was probed and what came back.
    pub reason: String,
}

/// An instance as the catalog sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is.
    pub spec: Arc<Spec>,
    /// How it is.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// The whole catalog at one moment. Cheap to share; never changed in place.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Grows with every change. The data plane never goes back to a lower one.
    pub generation: u64,
    /// Instances by service, each list by id.
    pub services: BTreeMap<ServiceName, Vec<Instance>>,
}

impl View {
    /// The instances of a service; none if the service is not known.
    pub fn instances(&self, service: &str) -> &[Instance] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }

    /// One instance.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.services.values().flatten().find(|instance| instance.spec.id == *id)
    }
}

/// A new instance and how to watch it.
pub struct Registration {
    /// What it is.
    pub spec: Spec,
    /// Its checks. With none it is passing at once.
    pub checks: Vec<Check>,
    /// Who runs its command checks.
    pub exec: Arc<dyn Exec>,
    /// How it stands, if it is not new but taken over from another process of Tutti: it goes on from there.
    pub standing: Option<Standing>,
}

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How it is.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// What somebody reports of a TTL check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Well.
    Pass,
    /// Not quite.
    Warn,
    /// Not well.
    Fail,
}

/// Why the catalog refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// An instance with this id lives.
    #[error("instance {0} is already registered")]
    Exists(InstanceId),
    /// No instance has this id.
    #[error("there is no instance {0}")]
    Unknown(InstanceId),
    /// The instance has no such check.
    #[error("instance {0} has no TTL check {1:?}")]
    UnknownCheck(InstanceId, String),
    /// The transition could not be made durable.
    #[error("the catalog's state could not be written")]
    State(#[from] crate::state::StateError),
}

impl Classify for CatalogError {
    fn kind(&self) -> Kind {
        match self {
            CatalogError::Exists(_) => Kind::Conflict,
            CatalogError::Unknown(_) | CatalogError::UnknownCheck(..) => Kind::NotFound,
            CatalogError::State(source) => source.kind(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            CatalogError::State(source) => source.retry(),
            _ => Retry::Safe,
        }
    }
}

/// The catalog. Every call that changes it takes effect in the next view before it returns.
#[async_trait::async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Adds an instance, in state starting, and begins its checks.
    async fn register(&self, registration: Registration) -> Result<(), CatalogError>;

    /// Takes an instance out of rotation; its checks stop. A second call is no error.
    async fn drain(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError>;

    /// Removes an instance, because its process has exited or was taken away. A second call is no error.
    async fn deregister(&self, id: &InstanceId, reason: &str) -> Result<(), CatalogError>;

    /// Reports to a TTL check.
    async fn report(
        &self,
        id: &InstanceId,
        check: &str,
        report: Report,
        note: &str,
    ) -> Result<(), CatalogError>;

    /// Says that a connection to the instance was refused or broke: it is probed at once. Never blocks.
    fn suspect(&self, id: &InstanceId, reason: &str);

    /// The newest view, and a wake-up for each newer one.
    fn watch(&self) -> watch::Receiver<Arc<View>>;

    /// The kept transitions of all instances of a service, also of those that are gone, oldest first.
    async fn history(&self, service: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError>;
}
