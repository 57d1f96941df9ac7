//! `tutti top`: what each instance uses.

use std::time::Duration;

use super::Context;
use crate::control::Client;
use crate::control::wire::Overview;
use crate::term::{self, Live, Style, Table};

/// Show what each instance uses.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Only these services
    services: Vec<String>,
    /// Show it once, as to a pipe
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        context.block_on(async {
            let client = context.client()?;
            if self.once || context.json || !context.out.live {
                return self.once(context, &client).await;
            }
            self.live(context, &client).await
        })
    }

    async fn once(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let overview: Overview = client.get("/v1/top").await?;
        if context.json {
            context.print_json(&overview)?;
        } else {
            context.out.write(&self.table(&overview).render(&context.out));
        }
        Ok(0)
    }

    /// Draws anew each second until Ctrl-C.
    async fn live(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let mut block = Live::new(&context.out);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                biased;
                _ = &mut interrupted => return Ok(0),
                _ = tick.tick() => {}
            }
            let overview: Overview = client.get("/v1/top").await?;
            let text = self.table(&overview).render(&context.out);
            block.draw(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }

    fn table(&self, overview: &Overview) -> Table {
        let mut table =
            Table::new(&["INSTANCE", "PID", "CPU", "CPU TIME", "MEMORY", "FILES", "THREADS", "PROCESSES"]);
        let services = overview.status.services.iter();
        let chosen = services
            .filter(|s| self.services.is_empty() || self.services.iter().any(|name| name == s.name.as_str()));
        for instance in chosen.flat_map(|service| &service.instances) {
            let mut row = vec![
                (instance.id.to_string(), Some(Style::Bold)),
                (instance.pid.map(|pid| pid.to_string()).unwrap_or_default(), None),
            ];
            if let Some(stats) = instance.stats {
                row.extend([
                    (format!("{:.1}%", stats.cpu_percent), None),
                    (term::duration(Duration::from_millis(stats.cpu_ms)), None),
                    (term::bytes(stats.rss_bytes), None),
                    (stats.open_files.to_string(), None),
                    (stats.threads.to_string(), None),
                    (stats.processes.to_string(), None),
                ]);
            }
            table.row(row);
        }
        table
    }
}
