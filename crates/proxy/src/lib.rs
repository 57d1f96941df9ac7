//! The data plane.

pub mod model;
