//! To come.
mod model;
