//! `tutti`: a whole microservice architecture in one program.
//!
//! Floor 3, the only composition point: the command line ([`cli`]), the process behind it ([`engine`]), the control
//! socket between the two ([`control`]). No other crate names a room.

mod cli;
mod control;
mod doctor;
mod engine;
mod exit;
mod failure;
mod query;
mod term;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The keeper is this program again. It must stay single-threaded, so nothing else has been started yet.
    if let Some(socket) = engine::keeper_socket() {
        return tutti_supervisor::keeper::main(socket);
    }
    let cli = cli::Cli::parse();
    let context = cli::Context::new(cli.global.clone());
    let code = cli.run().unwrap_or_else(|error| context.report(&error));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
