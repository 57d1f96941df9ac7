//! The way to the instances: endpoints, and each worker's connections to them.

pub mod endpoint;
pub mod pool;
