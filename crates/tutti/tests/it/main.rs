//! The whole of Tutti, as its users have it: the real program, real processes, real signals.
//!
//! Every test has a project folder of its own ([`app::App`]); services run `examples/fixture.rs`, which is as badly
//! behaved as it is told to be. When a test ends, so does its application, and nothing of it may be left.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod app;
mod change;
mod client;
mod control;
mod crash;
mod daemon;
mod doctor;
mod failing;
mod files;
mod gateway;
mod interop;
mod last_good;
mod logs;
mod long;
mod operate;
mod rolling;
mod start;
mod trust;
mod upgrade;
