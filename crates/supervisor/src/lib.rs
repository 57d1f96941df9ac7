//! Runs the services of an application: starts, watches, restarts, scales and stops them, and keeps what they say.
//!
//! Floor 2. Uses the ports [`Catalog`](tutti_ports::catalog::Catalog) (registers and drains instances),
//! [`Door`](tutti_ports::door::Door) (the addresses of peers) and [`Traffic`](tutti_ports::traffic::Traffic)
//! (when an instance is idle), and offers [`Exec`](tutti_ports::exec::Exec).
//!
//! # Promises
//! - No process of the application outlives Tutti, however Tutti ends: see [`keeper`].
//! - What is wanted and what is there are two things; commands change the first, and a pure state machine
//!   ([`model`]) says what to do about the difference. So any command works at any moment.
//! - Every address in a service's environment that was changed is recorded: see [`rewrite`].
//! - A service never waits for the disk because its log is full: lines are dropped, counted and reported.
//! - No task is detached; [`Supervisor::run`] returns when everything it started has ended.
//!
//! # Map
//! | module | holds |
//! |---|---|
//! | [`model`] | the state machine: no I/O, no async, no clock |
//! | [`service`] | the loop that feeds the machine and carries out what it says |
//! | [`handle`] | what the rest of Tutti holds |
//! | [`keeper`] | the small process that owns every service process |
//! | [`driver`] | where an instance runs: a trait, and *ports mode* as its first implementation |
//! | [`rewrite`], [`environment`] | addresses of peers and the standard environment |
//! | [`infer`], [`setup`] | how a service is run and built |
//! | [`logs`], [`stats`] | what services print and what they use |

mod diagnose;
mod driver;
pub mod environment;
pub mod error;
pub mod event;
pub mod exec;
pub mod handle;
mod health;
mod hints;
pub mod infer;
pub mod keeper;
pub mod logs;
pub mod metrics;
mod model;
pub mod options;
mod plans;
pub mod rewrite;
pub mod service;
pub mod setup;
pub mod stats;
pub mod status;
mod sys;

pub use diagnose::who_listens;
pub use error::SupervisorError;
pub use event::{Event, EventKind};
pub use exec::{ExecSpec, Output, Running, Streams};
pub use handle::Handle;
pub use metrics::Metrics;
pub use options::{Deps, Options};
pub use service::{Estate, Handed, Reloaded, Supervisor};
pub use status::{InstanceStatus, Phase, ServiceState, ServiceStatus, Status};
