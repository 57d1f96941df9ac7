//! The state machines and rules of the data plane: no I/O, no async, no clock; stepped by tests.

pub mod adaptive;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod condition;
pub mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gate;
pub mod headers;
pub mod hints;
pub mod host;
pub mod names;
pub mod outlier;
pub mod path;
pub mod quantile;
pub mod rate;
pub mod retry;
pub mod rewrite;
pub mod router;
pub mod shared;
pub mod sni;
pub mod trace;
