//! `tutti upgrade`: another version goes on where the running one is.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Context;
use crate::control::wire::{Upgrade as Request, Upgraded};

/// Have another version take over what runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Upgrade {
    /// The program that takes over [default: this one]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Seconds that the old process may take to finish its connections
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain: u64,
    /// Seconds that each step of the hand-over may take; the new version has at most a minute in all
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// What a running Tutti starts for it.
#[derive(Debug, clap::Args)]
pub(crate) struct TakeOver {
    /// The number of the socket to the running Tutti
    socket: i32,
}

impl Upgrade {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let binary = match &self.binary {
            Some(said) => std::path::absolute(said).context("--binary")?,
            None => std::env::current_exe().context("cannot find this program; say --binary")?,
        };
        context.block_on(async {
            let client = context.client()?;
            let request = Request { binary: Some(binary), drain_s: Some(self.drain), timeout_s: self.timeout };
            let done: Upgraded = client.post("/v1/upgrade", &request).await?;
            if context.json {
                context.print_json(&done)?;
            }
            let Upgraded { from, from_pid, to, to_pid } = done;
            context.say(&format!(
                "tutti {to} (process {to_pid}) has taken over from tutti {from} (process {from_pid}); no service was restarted"
            ));
            Ok(0)
        })
    }
}

impl TakeOver {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        // Before a runtime has opened anything that could have the number.
        let socket = tutti_net::link::inherited(self.socket);
        let socket =
            socket.context("this is what `tutti upgrade` has the running Tutti start; nobody else can")?;
        context.block_on(crate::engine::upgrade::take_over(socket))
    }
}
