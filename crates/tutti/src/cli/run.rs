//! `tutti run SERVICE [COMMAND]`: a one-off command in a service's surroundings: migrations, shells, scripts.

use super::Context;
use super::exec::execute;
use crate::control::wire::{Outcome, UpRequest};
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
    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Taken for compatibility: nothing of a one-off is kept anyway
    #[arg(long)]
    rm: bool,
}

impl Run {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let place: Place = context.block_on(async {
            let client = context.client()?;
            if !self.no_deps {
                let loaded = context.load()?;
                let needed =
                    loaded.application.services.get(self.service.as_str()).map(|service| &service.depends_on);
                let services: Vec<String> =
                    needed.into_iter().flat_map(|on| on.keys()).map(ToString::to_string).collect();
                if !services.is_empty() {
                    let request = UpRequest { services, ..UpRequest::default() };
                    let outcome: Outcome = client.post("/v1/up", &request).await?;
                    anyhow::ensure!(
                        outcome.bad.is_empty(),
                        "what {} depends on is not ready: {:?}",
                        self.service,
                        outcome.bad
                    );
                }
            }
            let mut query = Query::default();
            query.push("once", &self.service);
            Ok(client.get(&format!("/v1/surroundings?{query}")).await?)
        })?;
        let command = if self.command.is_empty() { place.argv.clone() } else { self.command.clone() };
        execute(&place, &command, &self.env, self.workdir.as_deref())
    }
}
