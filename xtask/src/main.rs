//! Commands of development: `cargo xtask tidy | test | interop | fuzz | demo | bench | chaos`. One file for each.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod chaos;
mod demo;
mod fuzz;
mod interop;
mod oracle;
mod shell;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

/// Commands of development.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold the house rules: floors, sizes, licences, docs, format, lints.
    Tidy(tidy::Args),
    /// Run every test and count.
    Test(test::Args),
    /// Try the data plane with programs of others.
    Interop(interop::Args),
    /// Let the parsers read what nobody would send.
    Fuzz(fuzz::Args),
    /// Build Tutti, start the example shop behind its gateway, and print the address.
    Demo(demo::Args),
    /// Compare with others, as ratios.
    Bench(bench::Args),
    /// What people see of the example shop while its services fail.
    Chaos(chaos::Args),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Tidy(args) => tidy::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Interop(args) => interop::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Chaos(args) => chaos::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
