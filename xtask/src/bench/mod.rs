//! Benchmarks: each prints ratios against named peers that ran in the same minutes on the same machine, never a bare
//! number.

mod footprint;
mod proxy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

/// Compare with others, as ratios.
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU for each proxied request and p99, against nginx, HAProxy and Envoy.
    Proxy(proxy::Args),
    /// Time to ready, memory and size, for ten services.
    Footprint(footprint::Args),
}

/// Runs the benchmark.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Proxy(args) => proxy::run(args),
        What::Footprint(args) => footprint::run(args),
    }
}
