//! What can be set about the data plane.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tutti_core::{ServiceName, limits};
use tutti_ports::rate::RateStore;
pub use tutti_ports::routing::LogFormat;

pub use crate::model::balance::Balance;
pub use crate::model::budget::Allowance;
pub use crate::upstream::sticky::Key;

/// The data plane's settings. The defaults are those of `tutti up`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that serve traffic, each with its own runtime, listeners and pools. At least 1.
    pub workers: usize,
    /// How instances share requests, unless [`Options::balance_of`] says otherwise.
    pub balance: Balance,
    /// The same for single services.
    pub balance_of: BTreeMap<ServiceName, Balance>,
    /// The zone that this process is in, for services that prefer theirs.
    pub zone: Option<String>,
    /// What sticky cookies are made with.
    pub sticky_key: Key,
    /// Longest time for a connection to an instance to be accepted. Instances are near.
    pub connect_timeout: Duration,
    /// From a request's head to the response's head, all tries together. Zero: no limit.
    pub request_timeout: Duration,
    /// One try, to the response's head. Zero: no limit of its own.
    pub per_try_timeout: Duration,
    /// Longest silence in the middle of a body, either way. Zero: no limit.
    pub idle_timeout: Duration,
    /// Longest silence of an upgraded connection (WebSocket) or TCP tunnel, both ways. Zero: no limit.
    pub tunnel_idle_timeout: Duration,
    /// How long a request waits for an instance that is starting or being replaced. Zero: not at all.
    pub ready_wait: Duration,
    /// Tries of one request, the first included; at most [`limits::TRIES`].
    pub tries: u32,
    /// How many retries a service gets.
    pub retries: Allowance,
    /// For how long an instance that refused a connection is passed over while others are ready.
    pub cool_off: Duration,
    /// Connections that one worker holds at once for one listener; what comes after waits in the backlog.
    pub connections: usize,
    /// Who counts requests against limits of rate; `None` for this process alone.
    pub rates: Option<Arc<dyn RateStore>>,
    /// Where requests are recorded when the routes say nothing of it; `None` for nowhere.
    pub access_log: Option<AccessLogOptions>,
    /// How often files of certificates are looked at.
    pub certificate_look: Duration,
    /// How long [`crate::Proxy::shutdown`] waits for requests under way.
    pub drain_patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            balance: Balance::default(),
            balance_of: BTreeMap::new(),
            zone: None,
            sticky_key: Key::process(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(60),
            per_try_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(3600),
            ready_wait: Duration::from_secs(2),
            tries: limits::TRIES,
            retries: Allowance::default(),
            cool_off: Duration::from_secs(1),
            connections: limits::CONNECTIONS,
            rates: None,
            access_log: None,
            certificate_look: Duration::from_secs(2),
            drain_patience: Duration::from_secs(10),
        }
    }
}

/// How long connections may go on when the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Those that are idle, in case that their client is just about to ask for something.
    pub idle: Duration,
    /// Those that carry something.
    pub busy: Duration,
    /// Those of HTTP/3.
    pub http3: Duration,
}

impl Patience {
    /// So long for what carries something, and no time for what is idle.
    pub fn of(busy: Duration) -> Self {
        Self { idle: Duration::ZERO, busy, http3: busy }
    }
}

impl Options {
    /// How a service's instances share its requests.
    pub fn balance(&self, service: &ServiceName) -> Balance {
        self.balance_of.get(service).copied().unwrap_or(self.balance)
    }
}

/// How requests are recorded.
#[derive(Clone, Debug)]
pub struct AccessLogOptions {
    /// The file; it is appended to, and made with its folder if it does not exist.
    pub path: PathBuf,
    /// How a line looks.
    pub format: LogFormat,
    /// Size at which the file is renamed to `<path>.1` and a new one begun.
    pub rotate_bytes: u64,
    /// How many renamed files are kept.
    pub keep: u32,
}

impl AccessLogOptions {
    /// JSON lines at `path`, rotated at 64 MiB, four old files kept.
    pub fn json(path: PathBuf) -> Self {
        Self { path, format: LogFormat::Json, rotate_bytes: 64 << 20, keep: 4 }
    }
}
