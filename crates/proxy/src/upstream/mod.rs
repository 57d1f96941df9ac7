//! The way to the instances: endpoints, the choice among them, and each worker's connections to them.

pub mod carrier;
pub mod endpoint;
pub mod guard;
pub mod passive;
pub mod place;
pub mod pool;
pub mod select;
pub mod sticky;
