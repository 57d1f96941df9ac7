//! `tutti restart`: a rolling restart. A new instance takes traffic before the old one gives it up.

use super::{Context, operate};
use crate::control::wire::Services;

/// Replace instances one by one without failing a request.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// The services; all if none is named
    services: Vec<String>,
}

impl Restart {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        operate::run(context, "/v1/restart", &Services { services: self.services.clone() }, "ready")
    }
}
