//! The data plane end to end: real sockets on loopback, real upstreams made with `tutti-net`, real threads.

mod bodies;
mod door;
mod drain;
mod faults;
mod harness;
mod http2;
mod hygiene;
mod retries;
mod routing;
mod smuggling;
mod upgrade;
