//! What tests of several rooms share: fakes that keep the promises of the ports, and clocks that tests can turn.
//!
//! For tests only; no room depends on it outside its `dev-dependencies`.
//!
//! | module | holds |
//! |---|---|
//! | [`fake`] | catalog, doors and traffic for the supervisor: they probe by themselves, or say what a test tells them |
//! | [`state`] | [`state::MemoryStore`]: the store in memory, with faults on demand |
//! | [`time`] | [`time::TokioClock`]: a clock that follows tokio's paused time |

pub mod fake;
pub mod state;
pub mod time;
