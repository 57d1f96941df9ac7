//! HTTP/3 (RFC 9114) over QUIC: the transport is quinn's, what is on its streams is read and written here.
//!
//! Server side only. Why the frames and QPACK are our own: [ADR 0007](../../../../docs/adr/0007-own-http3.md).
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | the UDP socket, and the loop that accepts connections |
//! | [`connection`] | one connection: its control streams, its requests, its farewell |
//! | [`control`] | what the client says on streams of one direction |
//! | [`stream`] | one request, from its head to the last octet of its answer |
//! | [`head`] | a request's head from its fields, and what is malformed (section 4.1.2) |
//! | [`body`] | a request's body as it arrives |
//! | [`frame`] | frames on a stream |
//! | [`qpack`] | field sections (RFC 9204), without a dynamic table |
//! | [`varint`] | integers (RFC 9000 section 16) |
//!
//! # What a hostile client can do
//! Nothing is held for it but what flow control lets it send, one field section of a bounded size for each stream, and one
//! handler for each stream. Frames that carry nothing and cancelled streams have an allowance, as over HTTP/2. A
//! source address that has not shown that it is one gets at most three times what it sent (RFC 9000 section 8.1), and while many
//! handshakes are under way, it has to show that first (Retry). There is no early data: what it carries can be replayed.

mod body;
mod connection;
mod control;
pub mod endpoint;
mod frame;
pub mod fuzz;
mod head;
mod qpack;
mod stream;
mod varint;

use std::time::Duration;

use tutti_core::limits;

pub use endpoint::{Endpoint, serve_local};

/// Limits and timeouts of an HTTP/3 connection. Those that it shares with HTTP/2 (streams, windows, field sections) are in
/// [`crate::h2::Settings`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// A packet goes out after so much silence, so that what is between us keeps the way open.
    pub keep_alive: Duration,
    /// After so much silence of the peer it is taken for gone.
    pub silence: Duration,
    /// So many handshakes may be under way with clients whose address has not been validated; a further one is told to
    /// come again with a token. Zero: all are.
    pub unvalidated: usize,
    /// How many handshakes may be under way; a further client is refused.
    pub handshakes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(15),
            silence: Duration::from_secs(60),
            unvalidated: limits::QUIC_UNVALIDATED_HANDSHAKES,
            handshakes: limits::TLS_HANDSHAKES,
        }
    }
}

/// Why a stream or a connection ends (RFC 9114 section 8.1, RFC 9204 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    /// There is nothing to complain of.
    NoError = 0x100,
    /// Our fault.
    Internal = 0x102,
    /// A stream that must not be, or not a second time.
    StreamCreation = 0x103,
    /// A stream ended that must not.
    ClosedCritical = 0x104,
    /// A frame that must not be there.
    FrameUnexpected = 0x105,
    /// A frame that is malformed.
    Frame = 0x106,
    /// Too much of what carries nothing.
    ExcessiveLoad = 0x107,
    /// An identifier that must not be.
    Id = 0x108,
    /// Settings that must not be.
    Settings = 0x109,
    /// No settings came first.
    MissingSettings = 0x10a,
    /// The request was not looked at.
    Rejected = 0x10b,
    /// The answer will not come.
    Cancelled = 0x10c,
    /// The request ended too early.
    Incomplete = 0x10d,
    /// The message is malformed.
    Message = 0x10e,
    /// A field section cannot be read.
    Decompression = 0x200,
    /// The peer's encoder uses a table that there is not.
    EncoderStream = 0x201,
    /// The peer's decoder acknowledges what was not sent.
    DecoderStream = 0x202,
}

impl Code {
    /// As QUIC has it.
    pub(crate) fn wire(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }
}

/// Why reading from a stream ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer cancelled the stream.
    Reset,
    /// The connection is gone.
    Lost,
    /// The stream has to end for this reason.
    Stream(Code, &'static str),
    /// The connection has to.
    Connection(Code, &'static str),
}

impl From<quinn::ReadError> for Broken {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(_) => Broken::Reset,
            _ => Broken::Lost,
        }
    }
}

#[cfg(test)]
mod tests;
