//! To come.
pub mod infer;
