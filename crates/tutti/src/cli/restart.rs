//! `tutti restart`: a rolling restart. A new instance takes traffic before the old one gives it up.

use super::{Context, operate};
use crate::control::wire::Services;

/// Replace instances one by one without failing a request.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// The services; all if none is named
    services: Vec<String>,
    /// Seconds until what does not stop is killed [default: its stop_grace_period]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl Restart {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let request = Services { services: self.services.clone(), timeout_s: self.timeout };
        operate::run(context, "/v1/restart", &request, "ready")
    }
}
