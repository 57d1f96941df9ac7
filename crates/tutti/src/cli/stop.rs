//! `tutti stop`: stop services; the rest, and Tutti itself, goes on.

use super::{Context, operate};
use crate::control::wire::Services;

/// Stop services; the rest goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The services; all if none is named
    services: Vec<String>,
    /// Seconds until what does not stop is killed [default: its stop_grace_period]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl Stop {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let request = Services { services: self.services.clone(), timeout_s: self.timeout };
        operate::run(context, "/v1/stop", &request, "stopped")
    }
}
