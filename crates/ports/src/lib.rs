//! The traits and plain types by which rooms talk to each other. One file per port; nothing private to a room.
//!
//! Floor 1. A room holds a port as `Arc<dyn …>` and never learns which room is behind it; only the
//! application (`tutti`) and `testkit` put them together.
//!
//! | port | offered by | used by |
//! |---|---|---|
//! | [`state::Store`] | `store` | every room with durable state |
//! | [`catalog::Catalog`] | `registry` | `supervisor` (registers, marks), `proxy` (reads, suspects), the app |
//! | [`exec::Exec`] | `supervisor` | `registry`, for health checks that are commands |
//! | [`door::Door`] | `proxy` | `supervisor`, to learn the address at which a peer is reached |
//! | [`traffic::Traffic`] | `proxy` | `supervisor`, to stop an instance when its last request is done |
//! | [`certificates::Certificates`] | `trust` | `proxy`, for its listeners |
//! | [`rate::RateStore`] | `proxy` (in this process) | `proxy`, for limits of rate |
//! | [`routing`] | types only | `model` makes them, `proxy` compiles them |

pub mod catalog;
pub mod certificates;
pub mod door;
pub mod exec;
pub mod rate;
pub mod routing;
pub mod state;
pub mod traffic;
