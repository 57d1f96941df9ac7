//! To come.
pub mod infer;
pub mod setup;
