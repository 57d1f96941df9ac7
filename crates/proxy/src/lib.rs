//! The data plane: listeners → phases → endpoint, for the edge and for the doors between services.
//!
//! Floor 2. Offers [`tutti_ports::door::Door`] and [`tutti_ports::traffic::Traffic`] through [`Handle`]; uses
//! [`tutti_ports::catalog::Catalog`] and [`tutti_ports::certificates::Certificates`]. All sockets and protocols are `tutti-net`'s.
//!
//! | module | holds |
//! |---|---|
//! | [`phase`] | the life of a request, one file for each phase, in order: read it top to bottom |
//! | [`model`] | the rules: routing, paths, headers, balancing, retries; no I/O, no async, no clock |
//! | [`resilience`] | what a route does when things go wrong |
//! | [`transport`] | what carries a listener, compiled: TLS with its certificates |
//! | [`snapshot`] | what the data plane knows, compiled, immutable, shared by all workers |
//! | [`openapi`] | what OpenAPI descriptions say of requests and answers |
//! | [`guard`] | who may ask and how often: a route's guard, compiled, and the counts of its limits |
//! | [`upstream`] | endpoints with their requests under way, and each worker's connections |
//! | [`engine`] | starts the threads, makes snapshots of routes and catalog |
//! | [`worker`] | a thread with its runtime, sockets and connections |
//! | [`watched`] | what is made of files, and made anew when they change |
//! | `timers` | timers of tries, lent and used again |
//! | `changes`, `check` | taking a configuration into force, and only looking whether it could be |
//! | [`handover`] | sockets from one process to the next |
//! | [`handle`] | new routes, doors, draining, looking |
//! | [`explain`] | what is remembered of requests, and what became of one and why |
//! | [`page`], [`error`] | faults, and how clients see them |
//! | [`access_log`], [`metrics`], [`config`] | what they say |
//!
//! # Invariants
//! - A configuration that does not compile or bind changes nothing. A snapshot is adopted whole, and never an older one.
//! - When the catalog is gone, the last view stays in force.
//! - An instance is counted as busy before its choice is visible, and until the last byte of its last response has been
//!   handed on; once every worker has adopted a snapshot without it, it is never chosen again.
//! - Nothing is sent a second time that may have been carried out and is not idempotent.
//! - No request, body or log line waits in an unbounded queue; bodies are pulled, never pushed.
//! - Threads are owned by [`Proxy`] and joined.

pub mod access_log;
mod changes;
mod check;
pub mod clients;
pub mod config;
mod content;
mod control;
pub mod engine;
pub mod error;
pub mod explain;
mod grpc;
pub mod guard;
pub mod handle;
pub mod handover;
pub mod metrics;
pub mod model;
mod openapi;
pub mod page;
pub mod phase;
pub mod resilience;
pub mod snapshot;
mod sockets;
mod timers;
pub mod transport;
pub mod upstream;
pub mod watched;
pub mod worker;

pub use changes::RouteEdit;
pub use check::check;
pub use config::{AccessLogOptions, Balance, LogFormat, Options, Patience};
pub use engine::Proxy;
pub use error::{ApplyError, Fault};
pub use handle::{Description, Handle};
pub use openapi::document::{Texts, texts};
