//! The validated application: what the rooms work from.
//!
//! Everything here is resolved: interpolated, merged, extended, with absolute paths, defaults filled in and
//! references checked. Durations are durations and sizes are bytes. Nothing here says what a YAML file looked like.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use tutti_core::{ProjectName, ServiceName};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::Routing;

/// A whole application.
#[derive(Clone, Debug)]
pub struct Application {
    /// The project's name (Compose Specification, "Name": `-p`, `COMPOSE_PROJECT_NAME`, `name:`, the folder's name).
    pub name: ProjectName,
    /// The project's folder, absolute: relative paths begin here.
    pub folder: PathBuf,
    /// Every file that was read, absolute, for watching and for hashing.
    pub files: Vec<PathBuf>,
    /// The enabled services (by profile), in the order of the file.
    pub services: IndexMap<ServiceName, Service>,
    /// The listeners and routes of the edge: from `routes:`, or what the published ports say.
    pub routing: Routing,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The image, if one is named.
    pub image: Option<String>,
    /// How its image would be built: also the folder where its source is.
    pub build: Option<Build>,
    /// The command in process mode, from the overlay: `run:`.
    pub run: Option<Command>,
    /// Build steps in process mode, from the overlay: `setup:`. `None`: not said, to be inferred.
    pub setup: Option<Vec<Command>>,
    /// Folder of `run:` and `setup:`, absolute, from the overlay: `dir:`. Default: the build context, else the project's.
    pub dir: Option<PathBuf>,
    /// The port it listens at in process mode when it cannot be told by `PORT`: `port:` of the overlay.
    pub fixed_port: Option<u16>,
    /// Compose's `entrypoint`; `Some(empty)` resets the image's.
    pub entrypoint: Option<Command>,
    /// Compose's `command`; `Some(empty)` resets the image's.
    pub command: Option<Command>,
    /// The environment, all sources merged (`env_file` below `environment` below the overlay's `env`).
    pub environment: IndexMap<String, String>,
    /// Working folder inside the container, as written. In process mode it is a hint only.
    pub working_dir: Option<String>,
    /// The ports it listens at, as its peers know them: from `expose`, `ports` targets, and the overlay.
    pub listens: Vec<Listen>,
    /// Ports published on this machine (Compose's `ports`).
    pub published: Vec<Published>,
    /// What must be there before it starts.
    pub depends_on: IndexMap<ServiceName, Dependency>,
    /// The peers it may name in addresses: `depends_on`, `links` (with their aliases), `uses`, and shared networks.
    pub peers: Vec<Peer>,
    /// How to find out whether it is well; `None`: not said.
    pub health: Option<Healthcheck>,
    /// What to do when it exits.
    pub restart: Restart,
    /// Copies (`deploy.replicas`, `scale`). 0 is allowed.
    pub replicas: u32,
    /// The signal that asks it to stop; SIGTERM if not said. A signal's number on this platform.
    pub stop_signal: i32,
    /// How long it may take to stop before it is killed; Compose's default is 10 s.
    pub stop_grace_period: Duration,
    /// Volumes and mounts, in order.
    pub mounts: Vec<Mount>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Largest memory in bytes (`mem_limit`, `deploy.resources.limits.memory`).
    pub memory_limit: Option<u64>,
    /// Most CPUs (`cpus`, `deploy.resources.limits.cpus`).
    pub cpu_limit: Option<f64>,
    /// The version, from the image's tag or a label, or from the overlay.
    pub version: Option<String>,
    /// The failure domain of its instances, from the overlay.
    pub zone: Option<String>,
    /// Tags of its instances, from the overlay.
    pub tags: Vec<String>,
    /// The share of each instance beside others of the service, from the overlay; 0: none.
    pub weight: u32,
    /// From the overlay: `skip: true`. It is not started; the reason is shown.
    pub skip: bool,
    /// From the overlay: `external:`. It runs elsewhere already: addresses by port as its peers know it.
    pub external: Vec<(u16, String)>,
}

impl Service {
    /// A service with Compose's defaults and nothing said.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            image: None,
            build: None,
            run: None,
            setup: None,
            dir: None,
            fixed_port: None,
            entrypoint: None,
            command: None,
            environment: IndexMap::new(),
            working_dir: None,
            listens: Vec::new(),
            published: Vec::new(),
            depends_on: IndexMap::new(),
            peers: Vec::new(),
            health: None,
            restart: Restart::No,
            replicas: 1,
            stop_signal: SIGTERM,
            stop_grace_period: Duration::from_secs(10),
            mounts: Vec::new(),
            labels: BTreeMap::new(),
            memory_limit: None,
            cpu_limit: None,
            version: None,
            zone: None,
            tags: Vec::new(),
            weight: 1,
            skip: false,
            external: Vec::new(),
        }
    }
}

/// The signal's number on every Unix (POSIX fixes it, see kill(1)).
const SIGTERM: i32 = 15;

/// Where a service's source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The build context, absolute.
    pub context: PathBuf,
    /// The Dockerfile, absolute; `None` when it is given inline.
    pub dockerfile: Option<PathBuf>,
    /// The inline Dockerfile.
    pub dockerfile_inline: Option<String>,
    /// The target stage.
    pub target: Option<String>,
    /// Build arguments; `None`: taken from the environment, where it is not set.
    pub args: IndexMap<String, Option<String>>,
}

/// A command, as a list or as a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments. Compose splits its string form into this, as a shell would.
    Args(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// A port at which a service listens, as its peers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The port.
    pub port: u16,
    /// What is spoken there, as far as the files say (`app_protocol`, well-known ports); HTTP otherwise.
    pub protocol: AppProtocol,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// A port published on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where to listen on this machine; Compose's default is every address.
    pub host_ip: Option<IpAddr>,
    /// The port on this machine; `None`: any free one.
    pub host_port: Option<u16>,
    /// The service's port.
    pub target: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// What must hold of a service before another one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The condition.
    pub condition: Condition,
    /// Restart the dependent when this one is restarted.
    pub restart: bool,
    /// `false`: go on, with a warning, when it is not there or fails.
    pub required: bool,
}

/// Compose's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has been started.
    Started,
    /// It is healthy.
    Healthy,
    /// It has ended with status 0.
    CompletedSuccessfully,
}

/// A name by which a service reaches another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The host name that stands in its addresses: the service's name, an alias, a link, a container name.
    pub host: String,
    /// The service that is meant.
    pub service: ServiceName,
}

/// How to find out whether a service is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to do.
    pub test: Test,
    /// Time between probes; Compose's default is 30 s.
    pub interval: Duration,
    /// Longest time for one probe; 30 s.
    pub timeout: Duration,
    /// Failures in a row before it is unhealthy; 3.
    pub retries: u32,
    /// Failures while younger than this do not count; 0 s.
    pub start_period: Duration,
    /// Time between probes during the start period; 5 s. `None`: not said, and Tutti probes often.
    pub start_interval: Option<Duration>,
}

/// What a health check does. Ports are those that peers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Switched off: `disable: true` or `NONE`.
    None,
    /// A command beside the instance: `CMD`, `CMD-SHELL`.
    Command(Command),
    /// A GET, from the overlay or understood from a `curl` or `wget` command.
    Http {
        /// The port.
        port: u16,
        /// The path and query.
        path: String,
        /// Any answer passes, whatever its status: what `curl` without `--fail` means.
        any_status: bool,
    },
    /// A connection, from the overlay or understood from an `nc` command.
    Tcp {
        /// The port.
        port: u16,
    },
    /// `grpc.health.v1`, from the overlay or understood from a `grpc_health_probe` command.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked for; empty: the server.
        service: String,
    },
}

/// What to do when an instance exits (Compose's `restart` and `deploy.restart_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    No,
    /// Start it again, whatever its status.
    Always,
    /// Start it again if it failed, at most so many times in a row.
    OnFailure(Option<u32>),
    /// Like `Always`, but not after the operator stopped it.
    UnlessStopped,
}

/// A volume or mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// The path inside the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file or folder of this machine, absolute.
    Bind(PathBuf),
    /// A named volume.
    Volume(String),
    /// A volume without a name.
    Anonymous,
    /// Memory.
    Tmpfs,
}
