//! `cargo xtask bench overload`: five times the load that a service can take, without limits and with them.
//!
//! It is the test of the same name, compiled for speed and run for longer: one program has the service of fixed capacity, the
//! proxy and the clients, and what it prints are shares of the capacity measured in the same run.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell;

/// Options of the benchmark.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds of overload.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The profile to compile with.
    #[arg(long, default_value = "bench")]
    profile: String,
}

/// Runs the benchmark; fails when a bar is missed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut test = shell::cargo();
    test.args(["test", "--quiet", "--profile", &args.profile, "--package", "tutti-proxy", "--test", "it"])
        .args(["overload::an_overload", "--", "--nocapture", "--ignored"])
        .env("TUTTI_OVERLOAD_SECONDS", args.seconds.to_string())
        .env("TUTTI_OVERLOAD_COMPARE", "1");
    Ok(if shell::succeeds(&mut test)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
