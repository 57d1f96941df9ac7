//! `tutti up`: start the application. In front, with its output, until Ctrl-C; or with `-d` behind, until `tutti down`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tutti_supervisor::logs::{Followed, Follower, LogQuery};
use tutti_supervisor::{Event, EventKind, Handle};

use super::behind::Daemon;
use super::board::{BEAT, Board};
use super::logs::{Logs, Printer};
use super::operate::{tell, watched};
use super::{Context, behind, kept, scale};
use crate::control::Client;
use crate::control::wire::{Listening, Outcome, Overview, Reload, UpRequest};
use crate::engine::last_good::Definition;
use crate::engine::upgrade::{Heir, Signals};
use crate::engine::{Ended, Engine, Settings};
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
    /// Replace also what runs and has not changed
    #[arg(long)]
    force_recreate: bool,
    /// Leave what runs as it is, even if the files have changed
    #[arg(long, conflicts_with = "force_recreate")]
    no_recreate: bool,
    /// Do not start what the named services depend on
    #[arg(long)]
    no_deps: bool,
    /// Set how many instances of a service run
    #[arg(long, value_name = "SERVICE=N", value_parser = scale::pair)]
    scale: Vec<(String, u32)>,
    /// Leave it running behind when everything is ready (as -d does)
    #[arg(long)]
    wait: bool,
    /// Longest wait for everything to be ready, in seconds; 0 waits for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait_timeout: u64,
    /// Stop everything when any instance has ended
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    abort_on_container_exit: bool,
    /// Stop everything when this service has ended, and end with its exit code
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    exit_code_from: Option<String>,
    /// If the files cannot be used, start from the last good configuration
    #[arg(long)]
    last_good: bool,
    /// Show the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Do not say which instance printed a line
    #[arg(long)]
    no_log_prefix: bool,
    /// No colour
    #[arg(long)]
    no_color: bool,
    /// Taken as Compose takes it: services that the files do not have any more are always stopped
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Taken as Compose takes it: nothing is pulled
    #[arg(long, hide = true, value_name = "POLICY")]
    pull: Option<String>,
    /// Taken as Compose takes it: nothing is pulled
    #[arg(long, hide = true)]
    quiet_pull: bool,
}

impl Up {
    pub(crate) fn run(&self, context: &mut Context) -> anyhow::Result<i32> {
        if self.no_color {
            context.no_color();
        }
        let context = &*context;
        context.block_on(async {
            let client = context.client()?;
            if client.is_running().await {
                return self.again(context, &client).await;
            }
            // Read here in any case: problems are shown where they are asked for, and nothing has been changed.
            let definition = match self.last_good {
                true => kept::definition(context, &self.services, true)?,
                false => Definition::of(kept::hinting(context, &self.services)?),
            };
            context.show_notices(&definition.loaded)?;
            if self.detach || self.wait {
                let (build, last_good, services) = (self.build, self.last_good, self.services.clone());
                let daemon = Daemon { build, last_good, services, ..Daemon::default() };
                behind::start(context, &client, &daemon).await?;
                return self.ask(context, &client, false).await;
            }
            self.in_front(context, definition).await
        })
    }

    fn request(&self, recreate: bool) -> UpRequest {
        UpRequest {
            services: self.services.clone(),
            no_deps: self.no_deps,
            scale: self.scale.iter().cloned().collect::<BTreeMap<_, _>>(),
            recreate,
            wait_s: self.wait_timeout,
        }
    }

    /// Something runs here: takes changed files into force and starts what is asked for. Without `-d`, shows the output.
    async fn again(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let read = kept::read(context, &self.services);
        if let (true, Err(unusable)) = (self.last_good, &read) {
            unusable.show(context);
            context.say("already running; it goes on with what is in force");
        } else if self.no_recreate {
            context.show_notices(&read.map_err(|unusable| unusable.fail(context))?)?;
            context.say("already running");
        } else {
            context.show_notices(&read.map_err(|unusable| unusable.fail(context))?)?;
            let options = context.load_options_for(&self.services)?;
            let reload: Reload = client.post("/v1/reload", &options).await?;
            context.say(&reload_words(&reload));
            super::plan::lines(&reload.plan, context.err.paint).iter().for_each(|line| context.say(line));
        }
        let code = self.ask(context, client, self.build || self.force_recreate).await?;
        if self.detach || self.wait || context.json || code != 0 {
            return Ok(code);
        }
        context.say("showing its output; Ctrl-C ends the showing, `tutti down` the application");
        let shown = Logs::following(&self.services, self.timestamps, !self.no_log_prefix);
        shown.show_until_interrupted(context, client).await
    }

    /// Has the running Tutti start services.
    async fn ask(&self, context: &Context, client: &Client, recreate: bool) -> anyhow::Result<i32> {
        let request = self.request(recreate);
        let outcome = watched(context, client, client.post::<Outcome>("/v1/up", &request)).await?;
        let code = tell(context, &outcome, "ready")?;
        let overview: Overview = client.get("/v1/status").await?;
        addresses(context, &overview.listeners, &outcome);
        kept::tell(context, overview.last_good.as_ref(), overview.not_kept.as_deref());
        Ok(code)
    }

    /// Runs the application in this process, with its output, until Ctrl-C.
    async fn in_front(&self, context: &Context, definition: Definition) -> anyhow::Result<i32> {
        let settings = Settings {
            data_dir: context.data_dir()?,
            command: "tutti up".to_owned(),
            rebuild: self.build,
            options: context.load_options_for(&self.services)?,
            stays: true,
            keeps: self.watches().then_some(WATCHES),
            one_off: false,
        };
        let engine = Engine::start(definition, settings, None).await?;
        let mut show = Show::new(self, context, engine.supervisor(), engine.started_at_us()).await;
        let request = self.request(false);
        let started = tokio::select! {
            outcome = engine.up(&request) => Some(outcome),
            () = show.run() => None,
            () = engine.shutdown_asked() => None,
        };
        let mut code = Ok(0);
        if let Some(outcome) = started {
            show.finish();
            code = outcome.and_then(|outcome| {
                let code = tell(context, &outcome, "ready")?;
                addresses(context, &engine.listeners(), &outcome);
                let keeper = engine.keeper();
                kept::tell(context, keeper.resumed().as_ref(), keeper.not_kept().as_deref());
                Ok(code)
            });
            if code.is_ok() {
                context.say(&context.err.paint.on(Style::Dim, "Ctrl-C stops it"));
                show.until(&engine).await;
            }
        }
        show.finish();
        if let Some(heir) = engine.heir() {
            drop(show);
            return self.stay(context, engine, heir).await;
        }
        context.say("stopping (Ctrl-C again kills)");
        let asked = show.exit.take();
        show.watch_for_end();
        let mut ending = std::pin::pin!(engine.end());
        let ended = tokio::select! {
            ended = &mut ending => ended,
            // What is said while stopping is shown until there is nothing more to say.
            () = show.run() => ending.await,
        };
        if ended? == Ended::Killed {
            context.say("killed");
            return Ok(exit::INTERRUPTED);
        }
        match asked {
            Some(asked) => Ok(if self.exit_code_from.is_some() { asked } else { 0 }),
            None => code,
        }
    }
}

/// Why there is no upgrade while services are watched for their end.
const WATCHES: &str = "the running `tutti up` watches for the end of services itself (--abort-on-container-exit, \
                       --exit-code-from), which another process could not do for it";

impl Up {
    fn watches(&self) -> bool {
        self.abort_on_container_exit || self.exit_code_from.is_some()
    }

    /// Another process has taken over. This one finishes its connections, and then only stays: whoever waits for it sees the output
    /// as before, and its end when everything ends.
    async fn stay(&self, context: &Context, engine: Engine, heir: Arc<Heir>) -> anyhow::Result<i32> {
        let Heir { pid, version, .. } = &*heir;
        context.say(&format!("tutti {version} (process {pid}) has taken over; Ctrl-C stops it"));
        let client = context.client()?;
        let shown = Logs::following(&self.services, self.timestamps, !self.no_log_prefix);
        let mut signals = Signals::new()?;
        let mut show = std::pin::pin!(shown.show_until_gone(context, &client));
        let mut end = std::pin::pin!(engine.end());
        let (mut showing, mut ending) = (true, true);
        let code = loop {
            tokio::select! {
                code = heir.ended() => break code,
                _ = &mut show, if showing => showing = false,
                ended = &mut end, if ending => {
                    ending = false;
                    if let Err(error) = ended {
                        context.say(&format!("the old process has not ended well: {error:#}"));
                    }
                }
                () = signals.next() => {
                    context.say("stopping (Ctrl-C again kills)");
                    heir.stop().await;
                }
            }
        };
        if ending {
            let _ = end.await;
        }
        // Whoever took over waits for this word.
        drop(heir);
        signals.until_alone().await;
        Ok(code)
    }
}

/// What another definition changed, in words.
fn reload_words(reload: &Reload) -> String {
    if reload.plan.is_empty() {
        return "already running, and the files say the same as before".to_owned();
    }
    format!("already running; the files have changed, in force as generation {}", reload.edge_generation)
}

/// Events, and what services print, of the application in this process.
struct Show<'a> {
    up: &'a Up,
    board: Board<'a>,
    context: &'a Context,
    status: Option<tokio::sync::watch::Receiver<Arc<tutti_supervisor::Status>>>,
    events: Receiver<Arc<Event>>,
    lines: Follower,
    printer: Printer,
    /// The exit code of the instance whose end was waited for.
    exit: Option<i32>,
    ending: bool,
}

impl<'a> Show<'a> {
    async fn new(up: &'a Up, context: &'a Context, supervisor: &Handle, since_us: u64) -> Self {
        let query =
            LogQuery { services: up.services.clone(), since_us: Some(since_us), ..LogQuery::default() };
        let printer = Printer {
            paint: context.out.paint,
            timestamps: up.timestamps,
            prefix: !up.no_log_prefix,
            raw: false,
        };
        Self {
            up,
            board: Board::new(context),
            context,
            status: Some(supervisor.watch()),
            events: supervisor.events(),
            lines: supervisor.follow(query).await,
            printer,
            exit: None,
            ending: false,
        }
    }

    /// Shows what comes until the end is asked for, or has been waited for.
    async fn until(&mut self, engine: &Engine) {
        if self.exit.is_some() {
            return;
        }
        tokio::select! {
            () = self.run() => {}
            () = engine.shutdown_asked() => {}
        }
    }

    /// The application is there: from now on there are only lines.
    fn finish(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.board.event(&event);
            self.ends(&event);
        }
        self.look();
        self.board.finish();
        self.status = None;
    }

    /// Everything is being stopped, so that an end says nothing any more.
    fn watch_for_end(&mut self) {
        self.ending = true;
    }

    fn look(&mut self) {
        if let Some(status) = &mut self.status {
            let now = Arc::clone(&status.borrow_and_update());
            self.board.status(&now);
        }
    }

    /// Shows what comes until nothing more comes, or an instance ends whose end was waited for.
    async fn run(&mut self) {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => {
                        self.board.event(&event);
                        if self.ends(&event) {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                line = self.lines.next() => match line {
                    Some(line) => self.line(line),
                    None => return,
                },
                _ = beat.tick(), if self.status.is_some() => {
                    self.look();
                    self.board.tick();
                }
            }
        }
    }

    fn line(&mut self, line: Followed) {
        match line {
            Followed::Line(line) if self.context.json => {
                self.context.out.line(&serde_json::to_string(&*line).unwrap_or_default());
            }
            Followed::Line(line) => self.board.print(&self.printer.line(&line)),
            Followed::Lost(count) => {
                self.board.say(&format!("({count} lines came too fast to be shown; `tutti logs` has them)"));
            }
        }
    }

    /// Whether this is the end that was waited for.
    fn ends(&mut self, event: &Event) -> bool {
        let EventKind::Exited { exit, .. } = &event.kind else { return false };
        let named = self.up.exit_code_from.as_deref().map(|name| name == event.service.as_str());
        if self.ending || !named.unwrap_or(self.up.abort_on_container_exit) {
            return false;
        }
        self.exit = Some(exit.status.unwrap_or(exit::FAILED));
        true
    }
}

/// Tells where the application is reached; not where nobody would answer.
fn addresses(context: &Context, listeners: &[Listening], outcome: &Outcome) {
    let answers = |listening: &&Listening| {
        let serves = &listening.serves;
        serves.is_empty() || serves.iter().any(|service| !outcome.bad.contains_key(service.as_str()))
    };
    for listening in listeners.iter().filter(answers) {
        let address = context.err.paint.on(Style::Link, &listening.address);
        context.say(&format!("{address}  {}", listening.serves.join(", ")));
    }
}
