//! Ports without the rooms behind them.

mod catalog;
mod traffic;

pub use catalog::{FakeCatalog, Probing};
pub use traffic::{FakeDoor, FakeTraffic};
