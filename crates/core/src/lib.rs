//! The words that every room of Tutti shares: names, error kinds, limits, clocks, chance and metrics.
//!
//! Floor 0. No I/O, no async, no dependency on another crate of the workspace. What is here is
//! small on purpose: a type belongs in `core` only when two rooms that must not know each other
//! have to agree on it.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] | validated names of projects, services and instances |
//! | [`error`] | kind, origin and retry safety of a failure, and how they map to HTTP and gRPC |
//! | [`code`] | the stable `TUT…` codes an operator may meet; each has a page in `docs/errors/` |
//! | [`limits`] | every bound that is not in the configuration, with its name and reason |
//! | [`time`] | the clock as a trait, so that state machines are stepped by tests |
//! | [`random`] | the source of chance as a trait, seeded in tests |
//! | [`metrics`] | counters, gauges and histograms, and their Prometheus text form |
//! | [`octets`] | looking at eight octets at a time |

pub mod code;
pub mod error;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod octets;
pub mod random;
pub mod time;

pub use code::Code;
pub use error::{Classify, Kind, Origin, Retry};
pub use id::{InstanceId, ProjectName, ServiceName};
