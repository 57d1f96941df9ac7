//! Compose files: from their folders to one merged, canonical tree, and from there to services.
//!
//! The steps and their order are those of the Compose Specification and its reference implementation, so that the
//! same files mean the same: read, interpolate, check, extend, include, merge, canonical form, defaults, paths.

pub(crate) mod canonical;
pub(crate) mod check;
pub(crate) mod consistency;
pub(crate) mod decode;
pub(crate) mod discover;
pub(crate) mod environment;
mod expand;
mod extends;
pub(crate) mod files;
mod include;
mod merge;
pub(crate) mod normalise;
pub(crate) mod notices;
pub(crate) mod paths;
pub(crate) mod project;
pub(crate) mod schema;
mod unique;

pub(crate) use expand::expand;
pub(crate) use merge::take_marks;
