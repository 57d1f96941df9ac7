//! The network: the only crate that names sockets, hyper, quinn and TLS.
//!
//! Floor 1. What it gives the rooms above: streams, listeners, an accept loop that drains, HTTP/1.1 and HTTP/2
//! on both sides and HTTP/3 on the server's behind one request and one body type, and tunnels.
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | [`Stream`] over TCP, a Unix socket or TLS, [`Addr`], dialling, looking at the first bytes |
//! | [`tls`] | TLS on both sides |
//! | [`transport`] | what comes before a connection's first byte of HTTP |
//! | [`carry`] | what comes before that of a connection to a service |
//! | [`proxy_protocol`] | who a connection is for, told by the proxy in front |
//! | [`listen`] | [`Listener`]: sockets made the way a server needs them |
//! | [`link`] | [`Link`]: messages with open descriptors between two processes of ours |
//! | [`server`] | the accept loops: HTTP ([`serve`], [`serve_local`]) and plain bytes ([`server::serve_streams`]) |
//! | [`lodge`] | boxes for futures that are large and soon over; their memory stays with the thread |
//! | [`field`] | values of fields that share their buffer |
//! | `deadline` | [`Deadline`]: a timer that is cheap to move |
//! | [`drain`] | telling every connection to end gracefully, and when to cut |
//! | [`body`] | [`Body`]: every body, in and out, both protocols |
//! | [`upgrade`] | `101 Switching Protocols` and `CONNECT`: from messages to a [`Stream`] |
//! | [`websocket`] | what HTTP/1.1 asks for before a WebSocket, and HTTP/2 does not |
//! | [`tunnel`] | copies bytes between two streams, both ways |
//! | [`h1`] | HTTP/1.1 (RFC 9112), our own codec: strict, it rejects and never repairs (ADR 0002) |
//! | [`h2`] | HTTP/2 (RFC 9113), through hyper |
//! | [`h3`] | HTTP/3 (RFC 9114), our own frames over quinn's QUIC |
//! | [`client`] | one request over a connection of its own: health checks, the command line |
//! | [`fetch`] | a document by its URL |
//! | [`error`] | what can go wrong with a body, a connection, a send |
//!
//! # One form of request
//! A request looks the same on both sides and in both protocols: `uri()` is what stands in an origin-form
//! request line (path and query; `*` for `OPTIONS *`; `host:port` for CONNECT), and the authority is in the `Host` field,
//! of which there is exactly one (HTTP/1.0 may lack it). An absolute-form target is accepted when its authority equals
//! `Host`, and is turned into this form. Over HTTP/2 and HTTP/3, `:authority` becomes `Host`, and back. A WebSocket over HTTP/2
//! (RFC 8441) looks as one over HTTP/1.1 does: a GET with `Upgrade`, answered with 101.
//!
//! # Invariants
//! - A message that is not exactly what its RFC allows is refused; nothing is repaired or guessed.
//! - No buffer or queue is unbounded: each limit is in [`h1::Settings`], [`h2::Settings`] or `core::limits`.
//! - No task is detached: what needs to run beside its caller is owned by the connection or body it serves.
//! - Framing fields (`Connection`, `Keep-Alive`, `Transfer-Encoding`, `Content-Length`) of an outgoing message are ours: they
//!   are made from the body, and the caller's are not sent.

mod accept;
mod allowance;
pub mod body;
pub mod carry;
pub mod client;
mod deadline;
pub mod drain;
pub mod error;
pub mod fetch;
pub mod field;
mod form;
pub mod h1;
pub mod h2;
pub mod h3;
pub mod link;
pub mod listen;
pub mod lodge;
mod pace;
pub mod proxy_protocol;
mod resolve;
mod scratch;
pub mod server;
pub mod stream;
pub mod tls;
pub mod transport;
pub mod tunnel;
pub mod upgrade;
pub mod websocket;

#[cfg(test)]
mod testing;

pub use body::Body;
pub use deadline::Deadline;
pub use drain::{DrainSignal, Drainer};
pub use error::{BodyError, ConnectError, SendCause, SendError, Stage};
pub use link::Link;
pub use listen::{ListenOptions, Listener};
pub use pace::MinRate;
pub use server::{ConnectionInfo, Handler, LocalHandler, Protocol, Refusal, serve, serve_local};
pub use stream::{Addr, Stream};
pub use tls::TlsInfo;
pub use transport::Transport;
pub use upgrade::Reset;
