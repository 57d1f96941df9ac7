//! The registry: which instances of which services run where, and whether each is fit for work.
//!
//! Floor 2. Offers [`tutti_ports::catalog::Catalog`]; needs a [`tutti_ports::state::Store`], a clock and chance, and for
//! checks that are commands whatever [`tutti_ports::exec::Exec`] an instance is registered with.
//!
//! | module | holds |
//! |---|---|
//! | [`service`] | [`Registry`]: made with its [`Handle`], run by the host |
//! | [`handle`] | [`Handle`], the catalog's face to the other rooms |
//! | `run` | the run loop, and what comes first: the view or the disk |
//! | `model` | the state machines: checks, instances, the schedule, the kept history |
//! | `flights`, `probe` | probes under way; HTTP, TCP, gRPC and commands |
//! | `roster` | the living instances and the view |
//! | `journal`, `recover` | what is written, in which order; the beginning of a run |
//!
//! # Invariants
//! - One task owns all state. Probes are tasks owned by it: they end with their instance, at drain, and with the registry.
//! - The cost of an instance that does not change is one entry in a heap: no task, no timer, no write.
//! - A view is never changed; its generation rises over restarts of the process too.
//! - A failing store stops no health check, and no instance from leaving the rotation.
//! - What was once probed for a registration is never taken for another one with the same name.

pub mod config;
pub mod error;
mod flights;
pub mod handle;
mod journal;
pub mod metrics;
mod model;
mod probe;
mod recover;
mod roster;
mod run;
pub mod service;
#[cfg(test)]
mod tests;
mod text;

pub use config::Options;
pub use error::RegistryError;
pub use handle::Handle;
pub use metrics::Metrics;
pub use service::Registry;
