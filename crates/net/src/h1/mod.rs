//! HTTP/1.1 (RFC 9112), our own codec.
//!
//! `head`, `chunked`, `request` and `response` are pure: bytes in, values out, no I/O. `server` and [`client`] move
//! the bytes. Nothing malformed is repaired: see ADR 0002.

pub mod client;

mod chunked;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod incoming;
mod io;
mod request;
mod response;
mod sending;
pub(crate) mod server;
mod spare;
mod table;

/// Path and query by RFC 3986, without a fragment; otherwise what is wrong.
pub(crate) fn check_target(text: &[u8]) -> Result<(), &'static str> {
    request::check_path_and_query(text).map_err(head::Fault::reason)
}

pub(crate) use client::ResponseBody;
pub(crate) use incoming::RequestBody;
pub(crate) use request::split_authority;

use std::time::Duration;

use tutti_core::limits;

/// Limits and timeouts of an HTTP/1.1 connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest head: first line and all fields.
    pub head_bytes: usize,
    /// Most fields in a head or trailer section.
    pub fields: usize,
    /// Longest request target.
    pub target_bytes: usize,
    /// Server: from a request's first byte (or the connection's begin) to the end of its head.
    pub head_timeout: Duration,
    /// Server: between two requests.
    pub idle_timeout: Duration,
    /// Longest time in which the peer takes no byte of what we send.
    pub write_timeout: Duration,
    /// Server: whether a client that stops sending still waits for its answer. Otherwise the handler is dropped, as for
    /// one that is gone.
    pub half_close: bool,
    /// Server: whether CONNECT reaches the handler; otherwise it is answered 501.
    pub connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head_bytes: limits::HTTP_HEAD_BYTES,
            fields: limits::HTTP_FIELDS,
            target_bytes: limits::HTTP_TARGET_BYTES,
            head_timeout: limits::HTTP_HEAD_TIMEOUT,
            idle_timeout: limits::HTTP_IDLE_TIMEOUT,
            write_timeout: limits::HTTP_WRITE_TIMEOUT,
            half_close: false,
            connect: false,
        }
    }
}
