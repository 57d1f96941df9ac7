//! `tutti run SERVICE [COMMAND]`: a one-off command in a service's surroundings: migrations, shells, scripts.
//!
//! If nothing runs here yet, Tutti is started behind, with what the service depends on, and goes on running as Compose
//! leaves it; if the service depends on nothing, it is ended with the command.

use super::behind::Daemon;
use super::exec::execute;
use super::operate::watched;
use super::{Context, behind};
use crate::control::Client;
use crate::control::wire::{Down, Outcome, UpRequest};
use crate::query::Query;
use tutti_supervisor::exec::Place;

/// Run a one-off command in a service's surroundings.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The service
    service: String,
    /// The command; the service's own if none is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Set or change a variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Where to run it
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<std::path::PathBuf>,
    /// Run this program, with COMMAND as its arguments
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Taken as Compose takes it: nothing of a one-off is kept anyway
    #[arg(long, hide = true)]
    rm: bool,
    /// Taken as Compose takes it: the command has this terminal if there is one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY", hide = true)]
    no_tty: bool,
    /// Taken as Compose takes it
    #[arg(short, long, hide = true)]
    interactive: bool,
}

impl Run {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let client = context.client()?;
        let (place, alone) = context.block_on(self.place(context, &client))?;
        let mut command = if self.command.is_empty() { place.argv.clone() } else { self.command.clone() };
        if let Some(program) = &self.entrypoint {
            command = [program.clone()].into_iter().chain(self.command.iter().cloned()).collect();
        }
        let code = execute(context, &place, &command, &self.env, self.workdir.as_deref());
        if alone {
            context.block_on(async {
                // Whether it could be ended changes nothing about the command.
                let _ = client.post::<Outcome>("/v1/down", &Down::default()).await;
                context.wait_until_gone(&client).await
            })?;
        }
        code
    }

    /// What the command is given, and whether Tutti was started for it alone.
    async fn place(&self, context: &Context, client: &Client) -> anyhow::Result<(Place, bool)> {
        let named = std::slice::from_ref(&self.service);
        let loaded = context.load_for(named)?;
        let Some(service) = loaded.application.services.get(self.service.as_str()) else {
            let known: Vec<&str> = loaded.application.services.keys().map(|name| name.as_str()).collect();
            anyhow::bail!("there is no service {:?}; the application has {}", self.service, known.join(", "));
        };
        let needed: Vec<String> = match self.no_deps {
            true => Vec::new(),
            false => service.depends_on.keys().map(ToString::to_string).collect(),
        };
        let started = !client.is_running().await;
        if started {
            let daemon = Daemon { services: named.to_vec(), one_off: true, ..Daemon::default() };
            behind::start(context, client, &daemon).await?;
        }
        if !needed.is_empty() {
            let request = UpRequest { services: needed.clone(), ..UpRequest::default() };
            let outcome = watched(context, client, client.post::<Outcome>("/v1/up", &request)).await?;
            if let Some((bad, reason)) = outcome.bad.iter().next() {
                anyhow::bail!("{} needs {bad}, which is not ready: {reason}", self.service);
            }
        }
        let mut query = Query::default();
        query.push("once", &self.service);
        Ok((client.get(&format!("/v1/surroundings?{query}")).await?, started && needed.is_empty()))
    }
}
