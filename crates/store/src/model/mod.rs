//! The rules of the store without I/O and without a clock: time comes in as a value.

pub mod history;
pub mod leases;
pub mod rules;
