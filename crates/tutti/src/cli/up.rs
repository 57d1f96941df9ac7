//! `tutti up`: start the application. In front, with its output, until Ctrl-C; or with `-d` behind, until `tutti down`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tutti_model::Loaded;
use tutti_supervisor::Handle;
use tutti_supervisor::logs::{Followed, LogQuery};

use super::logs::Printer;
use super::operate::{Progress, line_of, tell};
use super::{Context, scale};
use crate::control::Client;
use crate::control::wire::{Listening, Outcome, Overview, UpRequest};
use crate::engine::{Engine, Settings};
use crate::exit;
use crate::term::Style;

/// Start the application.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Up {
    /// The services to start, with what they depend on; all if none is named
    services: Vec<String>,
    /// Leave it running behind
    #[arg(short, long)]
    detach: bool,
    /// Run every build step again
    #[arg(long)]
    build: bool,
    /// Do not start what the named services depend on
    #[arg(long)]
    no_deps: bool,
    /// Set how many instances of a service run
    #[arg(long, value_name = "SERVICE=N", value_parser = scale::pair)]
    scale: Vec<(String, u32)>,
    /// Longest wait for everything to be ready, in seconds; 0 waits for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait_timeout: u64,
    /// Show the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Do not say which instance printed a line
    #[arg(long)]
    no_log_prefix: bool,
}

/// The process behind `up -d`.
#[derive(Debug, clap::Args)]
pub(crate) struct Daemon {
    #[arg(long)]
    build: bool,
    /// Services whose profiles are active
    services: Vec<String>,
}

impl Up {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        context.block_on(async {
            let client = context.client()?;
            if client.is_running().await {
                context.say("it runs already; starting what is asked for");
                return self.ask(context, &client).await;
            }
            let loaded = context.load_for(&self.services)?;
            context.show_notices(&loaded)?;
            if self.detach {
                let mut child = self.spawn(context)?;
                wait_for_answer(&client, &mut child).await?;
                return self.ask(context, &client).await;
            }
            self.in_front(context, loaded).await
        })
    }

    fn request(&self) -> UpRequest {
        UpRequest {
            services: self.services.clone(),
            no_deps: self.no_deps,
            scale: self.scale.iter().cloned().collect::<BTreeMap<_, _>>(),
            wait_s: self.wait_timeout,
        }
    }

    /// Has the running Tutti start services.
    async fn ask(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let progress = Progress::watch(context, client).await;
        let outcome = client.post::<Outcome>("/v1/up", &self.request()).await;
        progress.end().await;
        let code = tell(context, &outcome?, "ready")?;
        let overview: Overview = client.get("/v1/status").await?;
        addresses(context, &overview.listeners);
        Ok(code)
    }

    /// Starts this program once more, behind.
    fn spawn(&self, context: &Context) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(context.global.to_args()).arg("daemon");
        if self.build {
            command.arg("--build");
        }
        command.args(&self.services);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().context("cannot start Tutti behind")
    }

    /// Runs the application in this process, with its output, until Ctrl-C.
    async fn in_front(&self, context: &Context, loaded: Loaded) -> anyhow::Result<i32> {
        let settings = Settings { data_dir: context.data_dir()?, command: "tutti up", rebuild: self.build };
        let engine = Engine::start(loaded, settings).await?;
        let show = self.show(context, engine.supervisor().clone(), engine.started_at_us());
        let up = async {
            let request = self.request();
            let outcome = engine.up(&request).await?;
            let code = tell(context, &outcome, "ready")?;
            addresses(context, engine.listeners());
            anyhow::Ok(code)
        };
        tokio::pin!(show);
        let started = tokio::select! {
            code = up => code,
            () = &mut show => Ok(0),
            () = engine.shutdown_asked() => Ok(exit::INTERRUPTED),
        };
        if !matches!(started, Err(_) | Ok(exit::INTERRUPTED)) {
            tokio::select! {
                () = &mut show => {}
                () = engine.shutdown_asked() => {}
            }
        }
        context.say("stopping (Ctrl-C again kills)");
        let mut ending = std::pin::pin!(engine.end());
        let ended = tokio::select! {
            ended = &mut ending => ended,
            // What is said while stopping is shown until there is nothing more to say.
            () = &mut show => ending.await,
        };
        ended?;
        started.map(|code| if code == exit::INTERRUPTED { 0 } else { code })
    }

    /// Shows events, and what services print, until there are no more.
    async fn show(&self, context: &Context, supervisor: Handle, since_us: u64) {
        let mut events = supervisor.events();
        let query =
            LogQuery { services: self.services.clone(), since_us: Some(since_us), ..LogQuery::default() };
        let mut lines = supervisor.follow(query).await;
        // It holds the senders of what is awaited here: without it the end is seen.
        drop(supervisor);
        let printer = Printer {
            paint: context.out.paint,
            timestamps: self.timestamps,
            prefix: !self.no_log_prefix,
            raw: false,
        };
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => {
                        if let Some(line) = line_of(&event, context.err.paint) {
                            context.say(&line);
                        }
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                line = lines.next() => match line {
                    Some(Followed::Line(line)) if context.json => {
                        context.out.line(&serde_json::to_string(&*line).unwrap_or_default());
                    }
                    Some(Followed::Line(line)) => context.out.line(&printer.line(&line)),
                    Some(Followed::Lost(count)) => context.say(&format!("({count} lines came too fast to be shown)")),
                    None => return,
                },
            }
        }
    }
}

/// Tells where the application is reached.
fn addresses(context: &Context, listeners: &[Listening]) {
    for listening in listeners {
        let address = context.err.paint.on(Style::Link, &listening.address);
        context.say(&format!("{address}  {}", listening.serves.join(", ")));
    }
}

/// Waits until the process behind answers at its socket. If it ends before, what it said is the error.
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
            anyhow::bail!(
                "{}",
                if said.is_empty() { format!("Tutti ended at once ({status})") } else { said.to_owned() }
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Daemon {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        // A session of its own: the terminal's Ctrl-C and hang-up are not meant for it.
        rustix::process::setsid().context("cannot leave the terminal")?;
        context.block_on(async {
            let settings =
                Settings { data_dir: context.data_dir()?, command: "tutti up -d", rebuild: self.build };
            let engine = Engine::start(context.load_for(&self.services)?, settings).await?;
            engine.shutdown_asked().await;
            engine.end().await?;
            Ok(0)
        })
    }
}
