//! What is decided without I/O, async or a clock: which certificate is for whom, when it is renewed, and what a client may bring up.

pub(crate) mod gate;
pub(crate) mod names;
pub(crate) mod renewal;
