//! The data plane end to end: real sockets on loopback, real upstreams made with `tutti-net`, real threads.

// A scenario that meets what it did not expect has failed, in its helpers too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout
)]

mod auth;
mod balance;
mod bodies;
mod carried;
mod content;
mod door;
mod drain;
mod explain;
mod external;
mod faults;
mod frames;
mod grpc;
mod guard;
mod handover;
mod harness;
mod health;
mod hedge;
mod hostile;
mod http2;
mod http3;
mod hygiene;
mod injected;
mod interop;
mod live;
mod logged;
mod metrics;
mod mirror;
mod openapi;
mod overload;
mod passed;
mod policy;
mod proxied;
mod proxied_peers;
mod retries;
mod routing;
mod slow;
mod smuggling;
mod sockets;
mod strict;
mod tls;
mod upgrade;
mod websocket;
