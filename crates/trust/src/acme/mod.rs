//! Certificates of an authority that is asked by ACME (RFC 8555).

pub(crate) mod account;
pub(crate) mod ask;
pub(crate) mod board;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod keeper;
pub(crate) mod order;
pub(crate) mod vault;
