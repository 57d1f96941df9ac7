//! The life of the one process: long-running tasks with names, owners, a start order and an end.
//!
//! Floor 1, and knows no room: the application starts each role here, in the order in which they need one
//! another, and hands over to [`Host::run`].
//!
//! Invariants:
//! - Every task and thread has one owner, the [`Host`], which awaits it. None is detached, save a thread that
//!   does not end by itself after the abort; that one is named in the [`Report`].
//! - A task that is dropped before it called [`Ready::ready`] has failed, and its start with it.
//! - Tasks are stopped in the reverse order of their start, each after the one that may need it has ended.
//! - A task that ends or panics unasked is named, and ends the process unless it was declared otherwise.
//!
//! | module | holds |
//! |---|---|
//! | [`host`](Host) | starts, watches and stops |
//! | [`memory`] | gives back what was freed |
//! | [`shutdown`] | the signal: first drain, then abort |
//! | [`role`] | the roles that a process can have |
//! | [`task`] | policies, readiness, and how a task ended |

mod host;
pub mod memory;
pub mod role;
pub mod shutdown;
pub mod task;

pub use host::{Host, Options};
pub use role::Role;
pub use shutdown::{Shutdown, Trigger};
pub use task::{Cause, Ended, How, OnEnd, Ready, Report, StartError, TaskError};
