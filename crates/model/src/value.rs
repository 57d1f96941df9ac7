//! Small notations of the Compose Specification: durations, byte sizes, ports, volumes, command lines, signals.

pub(crate) mod bytes;
pub(crate) mod duration;
pub(crate) mod ports;
pub(crate) mod signal;
pub(crate) mod volume;
pub(crate) mod words;
