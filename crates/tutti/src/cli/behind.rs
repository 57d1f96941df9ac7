//! Starting Tutti behind: this program once more, in a session of its own.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::{Context, kept};
use crate::control::Client;
use crate::engine::last_good::Definition;
use crate::engine::{Engine, Settings};

/// The process behind `up -d`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Daemon {
    /// Run every build step again
    #[arg(long)]
    pub(super) build: bool,
    /// Start from the last good configuration if the files cannot be used
    #[arg(long)]
    pub(super) last_good: bool,
    /// It is started for one command: what is in force then is not kept for later
    #[arg(long)]
    pub(super) one_off: bool,
    /// Services whose profiles are active
    pub(super) services: Vec<String>,
}

impl Daemon {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        // A session of its own: the terminal's Ctrl-C and hang-up are not meant for it.
        rustix::process::setsid().context("cannot leave the terminal")?;
        context.block_on(async {
            let settings = Settings {
                data_dir: context.data_dir()?,
                command: "tutti up -d".to_owned(),
                rebuild: self.build,
                options: context.load_options_for(&self.services)?,
                stays: false,
                keeps: None,
                one_off: self.one_off,
            };
            let definition = match self.last_good {
                true => kept::definition(context, &self.services, false)?,
                false => Definition::of(context.load_for(&self.services)?),
            };
            let engine = Engine::start(definition, settings, None).await?;
            engine.shutdown_asked().await;
            engine.end().await?;
            Ok(0)
        })
    }
}

/// The process behind has ended before it answered.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Ended {
    said: String,
    /// Its exit code.
    pub(crate) code: Option<i32>,
}

/// Starts Tutti behind, and returns when it answers at its socket.
pub(crate) async fn start(context: &Context, client: &Client, started: &Daemon) -> anyhow::Result<()> {
    let mut child = spawn(context, started)?;
    wait_for_answer(client, &mut child).await
}

fn spawn(context: &Context, started: &Daemon) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(context.global.to_args()).arg("daemon");
    command.args(started.build.then_some("--build"));
    command.args(started.last_good.then_some("--last-good"));
    command.args(started.one_off.then_some("--one-off"));
    command.args(&started.services);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("cannot start Tutti behind")
}

/// Waits until the process behind answers. If it ends before, what it said is the error.
async fn wait_for_answer(client: &Client, child: &mut Child) -> anyhow::Result<()> {
    loop {
        if client.is_running().await {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            if let Some(mut pipe) = child.stderr.take() {
                pipe.read_to_string(&mut said)?;
            }
            let said = said.trim().trim_start_matches("error: ");
            let ended = || format!("Tutti ended at once ({status})");
            let said = if said.is_empty() { ended() } else { said.to_owned() };
            return Err(Ended { said, code: status.code() }.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
