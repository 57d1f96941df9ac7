//! How the instances of a service share its requests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tutti_core::ServiceName;

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Two are drawn by weight, and the one with fewer requests under way for its weight is taken
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
    #[default]
    LeastRequest,
    /// In turn, each as often as its weight says, spread evenly ("smooth weighted round robin", as in nginx).
    RoundRobin,
    /// As chance and the weights have it.
    Random,
    /// Two are drawn, and the one whose answers are expected sooner is taken (Finagle's "peak EWMA").
    PeakEwma,
    /// By the hash of something of the request, on a ring of points (Karger 1997, as libketama has it).
    RingHash,
    /// By the same hash, through a table (Maglev, NSDI 2016, section 3.4).
    Maglev,
}

impl Algorithm {
    /// Whether requests are chosen for by a hash.
    pub const fn hashes(self) -> bool {
        matches!(self, Algorithm::RingHash | Algorithm::Maglev)
    }

    /// The word for it in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::LeastRequest => "least_request",
            Algorithm::RoundRobin => "round_robin",
            Algorithm::Random => "random",
            Algorithm::PeakEwma => "peak_ewma",
            Algorithm::RingHash => "ring_hash",
            Algorithm::Maglev => "maglev",
        }
    }
}

/// What a request is hashed by. A request that lacks it goes to an instance by chance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The client's address.
    #[default]
    Source,
    /// A header field, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The path, without the query.
    Path,
    /// The path and the query.
    Uri,
}

/// How the instances of a service share its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// How an instance is chosen; `None`: the engine's default.
    pub algorithm: Option<Algorithm>,
    /// What is hashed by the algorithms that do.
    pub hash_on: HashOn,
    /// With a hash: an instance takes at most this percentage of the mean load, and what is over goes to the next one
    /// (Mirrokni, Thorup, Zadimoghaddam 2016, "Consistent Hashing with Bounded Loads"). More than 100.
    pub bounded_load: Option<u32>,
    /// A client stays with its instance.
    pub sticky: Option<Sticky>,
    /// New instances get their share bit by bit.
    pub slow_start: Option<SlowStart>,
    /// When a smaller percentage of the instances than this is healthy, health is not looked at. 0: never.
    pub panic_threshold: u32,
    /// Instances in the zone of this process come first.
    pub prefer_zone: bool,
    /// A level keeps all of its traffic as long as so many percent of (its healthy share) reach 100; at least 100.
    pub overprovisioning: u32,
    /// What takes over when instances are missing.
    pub failover: Option<Failover>,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            algorithm: None,
            hash_on: HashOn::default(),
            bounded_load: None,
            sticky: None,
            slow_start: None,
            panic_threshold: 0,
            prefer_zone: false,
            overprovisioning: 140,
            failover: None,
        }
    }
}

/// A cookie that holds a client to its instance. Its value says nothing and cannot be made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// `Max-Age`; `None`: until the browser is closed.
    pub ttl: Option<Duration>,
    /// `Path`.
    pub path: String,
    /// `Secure`.
    pub secure: bool,
    /// `SameSite`.
    pub same_site: SameSite,
}

/// The cookie attribute `SameSite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Sent when a link is followed from elsewhere.
    #[default]
    Lax,
    /// Sent only from the same site.
    Strict,
    /// Sent always; browsers want `Secure` with it.
    None,
}

/// A ramp for new instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStart {
    /// How long it takes to the full share.
    pub window: Duration,
    /// The share in percent that it begins with; at least 1.
    pub minimum: u32,
}

/// Another service that takes what this one cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The service.
    pub service: ServiceName,
    /// Its port; `None`: the same as that of the service it stands in for.
    pub port: Option<u16>,
}

/// The instances of a service that a route means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subset {
    /// Of this version.
    pub version: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// With all of this metadata.
    pub meta: BTreeMap<String, String>,
    /// When there is no such instance: whether any other will do.
    pub or_any: bool,
}
