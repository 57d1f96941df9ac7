//! `tutti down`: stop everything, and Tutti itself.

use super::Context;
use crate::control::ControlError;
use crate::control::wire::Outcome;

/// Stop everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// Remove named volumes too
    #[arg(short, long)]
    volumes: bool,
}

impl Down {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        context.block_on(async {
            let client = context.client()?;
            let progress = super::operate::Progress::watch(context, &client).await;
            let done = client.post::<Outcome>("/v1/down", &serde_json::json!({})).await;
            progress.end().await;
            let outcome = match done {
                Ok(outcome) => outcome,
                // The process may be gone before its answer is read: then it has done what it was asked to.
                Err(ControlError::Broken(_)) => Outcome::default(),
                Err(ControlError::NotRunning { .. }) => {
                    context.say("nothing runs here");
                    Outcome::default()
                }
                Err(error) => return Err(error.into()),
            };
            context.wait_until_gone(&client).await?;
            if self.volumes {
                let volumes = context.data_dir()?.join("volumes");
                if volumes.exists() {
                    std::fs::remove_dir_all(&volumes)?;
                    context.say("removed the volumes");
                }
            }
            if context.json {
                context.print_json(&outcome)?;
            }
            Ok(0)
        })
    }
}
