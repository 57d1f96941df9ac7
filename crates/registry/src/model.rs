//! The state machines of the registry: no I/O, no async, no clock. Stepped by the service and by tests.

pub(crate) mod check;
pub(crate) mod history;
pub(crate) mod instance;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;
