//! Durable state on one machine: the data directory, and [`Store`](tutti_ports::state::Store) on SQLite.
//!
//! Floor 1. Rooms hold `Arc<dyn Store>`; only the application names this crate.
//!
//! | module | holds |
//! |---|---|
//! | [`dir`] | [`DataDir`]: one owner at a time, a format version, files that are whole or absent |
//! | [`sqlite`] | [`SqliteStore`]: one writer thread with group commit, readers beside it |
//! | [`config`] | [`Options`]: how much of the change feed is kept, how many readers |
//! | [`metrics`] | what the store counts |
//! | `model` | leases, retained history and the rules of a transaction, without I/O and stepped by tests |
//!
//! Invariants:
//! - Nothing is acknowledged, and [`head`](tutti_ports::state::Store::head) does not move, before the commit is synced.
//! - A failed sync ends all writing until the store is opened again: the kernel may have dropped the pages.
//! - The lock of the data directory outlives the store that was opened in it.
//! - Lease deadlines and ages of history are monotonic times in memory: jumps of the wall clock do not matter.

pub mod config;
pub mod dir;
pub mod metrics;
mod model;
pub mod sqlite;

pub use config::Options;
pub use dir::DataDir;
pub use sqlite::SqliteStore;
