//! `tutti stop`: stop services; the rest, and Tutti itself, goes on.

use super::{Context, operate};
use crate::control::wire::Services;

/// Stop services; the rest goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The services; all if none is named
    services: Vec<String>,
}

impl Stop {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        operate::run(context, "/v1/stop", &Services { services: self.services.clone() }, "stopped")
    }
}
