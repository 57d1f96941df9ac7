//! `tutti down`: stop everything, and Tutti itself.

use super::Context;
use super::operate::{tell, watched};
use crate::control::wire::{Down as Request, Outcome, Services};
use crate::control::{Client, ControlError};

/// Stop everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// Stop only these services; the rest goes on
    services: Vec<String>,
    /// Remove volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Seconds until what does not stop is killed [default: its stop_grace_period]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Taken as Compose takes it: nothing is left behind in any case
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Taken as Compose takes it: there are no images
    #[arg(long, hide = true, value_name = "WHICH")]
    rmi: Option<String>,
}

impl Down {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        anyhow::ensure!(
            !self.volumes || self.services.is_empty(),
            "--volumes removes the volumes of the whole application: name no services with it"
        );
        context.block_on(async {
            let client = context.client()?;
            if !self.services.is_empty() {
                return self.some(context, &client).await;
            }
            let request = Request { timeout_s: self.timeout };
            let outcome = match watched(context, &client, client.post::<Outcome>("/v1/down", &request)).await
            {
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

    async fn some(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let request = Services { services: self.services.clone(), timeout_s: self.timeout };
        match watched(context, client, client.post::<Outcome>("/v1/stop", &request)).await {
            Err(ControlError::NotRunning { .. }) => {
                context.say("nothing runs here");
                Ok(0)
            }
            outcome => tell(context, &outcome?, "stopped"),
        }
    }
}
