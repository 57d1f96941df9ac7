//! `tutti start`: start services that were stopped.

use super::{Context, operate};
use crate::control::wire::Services;

/// Start stopped services.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The services; all if none is named
    services: Vec<String>,
    /// Taken as Compose takes it: `start` always waits
    #[arg(long, hide = true)]
    wait: bool,
}

impl Start {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        operate::run(
            context,
            "/v1/start",
            &Services { services: self.services.clone(), timeout_s: None },
            "ready",
        )
    }
}
