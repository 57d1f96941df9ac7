//! HTTP/2 (RFC 9113) with prior knowledge, through hyper.

pub mod client;
mod drive;
mod flood;
mod frames;
mod io;
pub(crate) mod server;
pub(crate) mod streams;
#[cfg(test)]
mod testing;
pub(crate) mod websocket;

use std::time::Duration;

use tutti_core::limits;

/// Limits and timeouts of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most streams at a time on one connection.
    pub streams: u32,
    /// Largest header list, counted as RFC 9113 section 6.5.2 does.
    pub header_list_bytes: u32,
    /// Flow-control window of a stream.
    pub stream_window: u32,
    /// Flow-control window of a connection.
    pub connection_window: u32,
    /// A ping after so much silence; a peer that does not answer it within `ping_timeout` is gone.
    pub ping_interval: Duration,
    /// See `ping_interval`.
    pub ping_timeout: Duration,
    /// Server: how long a connection without a stream stays open.
    pub idle_timeout: Duration,
    /// Server: longest time in which the peer takes nothing of a stream's next data.
    pub write_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: limits::HTTP2_STREAMS,
            header_list_bytes: limits::HTTP_HEAD_BYTES as u32,
            stream_window: limits::HTTP2_STREAM_WINDOW,
            connection_window: limits::HTTP2_CONNECTION_WINDOW,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            idle_timeout: limits::HTTP_IDLE_TIMEOUT,
            write_timeout: limits::HTTP_WRITE_TIMEOUT,
        }
    }
}
