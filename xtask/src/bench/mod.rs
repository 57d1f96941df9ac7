//! Benchmarks: each prints ratios against named peers that ran in the same minutes on the same machine, never a bare
//! number.

mod footprint;
mod overload;
mod proxy;
mod routes;

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
    /// Five times the load that a service can take, without limits and with them.
    Overload(overload::Args),
    /// A thousand changes of routes a second, and the memory of 5,000 routes.
    Routes(routes::Args),
    /// Time to ready, memory and size, for ten services.
    Footprint(footprint::Args),
}

/// Runs the benchmark.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Proxy(args) => proxy::run(args),
        What::Overload(args) => overload::run(args),
        What::Routes(args) => routes::run(args),
        What::Footprint(args) => footprint::run(args),
    }
}
