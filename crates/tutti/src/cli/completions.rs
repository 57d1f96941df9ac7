//! `tutti completions SHELL`.

use clap::CommandFactory as _;

use super::Context;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "tutti", &mut script);
        context.out.write(&String::from_utf8(script)?);
        Ok(0)
    }
}
