//! The life of one process of an instance: prepare, start, register, obey, and report its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tutti_core::error::chain;
use tutti_core::{InstanceId, ServiceName};
use tutti_model::app::Service;
use tutti_ports::catalog::{CatalogError, Registration, Spec, Standing};

use super::Fact;
use super::elsewhere::{FIRST_LOOK, Found, LAST_PAUSE, look};
use super::shared::{Live, Shared, wall_ms};
use crate::diagnose::{self, StartFailure};
use crate::driver::{Order, Prepared, Process, Start};
use crate::event::EventKind;
use crate::health;
use crate::hints;
use crate::infer::Plan;
use crate::keeper::ExitStatus;
use crate::logs::{self, Captured, Source, Stream, Tap};
use crate::model::InstanceKey;
use crate::status::Exit;

/// How long the last lines of an ended process may take to arrive before its end is told without them.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long what was printed before the end may take to get into the log, for a slow disk's sake.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What the loop tells an instance's task.
pub(crate) enum InstanceOrder {
    Drain { patience: Duration },
    Signal { signal: i32, tree: bool },
}

/// Everything that the task needs.
pub(super) struct Instance {
    pub(super) shared: Arc<Shared>,
    pub(super) service: Service,
    pub(super) plan: Arc<Plan>,
    pub(super) key: InstanceKey,
    pub(super) orders: mpsc::UnboundedReceiver<InstanceOrder>,
    pub(super) facts: mpsc::Sender<Fact>,
    /// It runs already: another process of Tutti has started it.
    pub(super) adopted: Option<Box<Adopted>>,
}

/// An instance that runs already.
pub(super) struct Adopted {
    pub(super) live: Live,
    pub(super) standing: Standing,
}

impl Instance {
    /// Runs from start to end and tells of the end, whatever it is.
    pub(super) async fn run(mut self) {
        let id = self.key.id();
        let captured = self.adopted.as_ref().map_or_else(Captured::default, |one| one.live.captured.clone());
        let outcome = self.live(&id, &captured).await;
        let (status, reason, code, lasting) = match outcome {
            Ok(status) => (Some(status.shell()), self.why(status, &captured), None, false),
            Err(failure) => {
                (None, failure.reason, failure.code.map(|code| code.to_string()), failure.lasting)
            }
        };
        let exit = Exit { status, reason, code, last_lines: captured.last_lines(), at_ms: wall_ms() };
        let _ = self.facts.send(Fact::Exited { key: self.key.clone(), exit, lasting }).await;
    }

    /// How it ended, and what it seems to want if it failed.
    fn why(&self, status: ExitStatus, captured: &Captured) -> String {
        let reason = diagnose::exit_reason(status);
        let failed = status != ExitStatus::Code(0);
        let hint =
            failed.then(|| hints::of(&captured.last_lines(), &self.service, &self.shared.current.get()));
        hint.flatten().map_or(reason.clone(), |hint| format!("{reason}: {hint}"))
    }

    async fn live(&mut self, id: &InstanceId, captured: &Captured) -> Result<ExitStatus, StartFailure> {
        let mut captures = JoinSet::new();
        let (mut prepared, mut process, standing) = match self.adopted.take() {
            Some(adopted) => self.go_on(id, *adopted, &mut captures),
            None => {
                let prepared = self.prepare(id).await?;
                let process = self.start(id, &prepared, captured, &mut captures).await?;
                (prepared, process, None)
            }
        };
        let (pid, known) = (process.pid(), standing.is_some());
        let registered = self.register(id, &prepared, standing).await;
        let status = match registered {
            Ok(()) => {
                if !known {
                    let started = Fact::Started { key: self.key.clone(), pid: pid.unsigned_abs() };
                    let _ = self.facts.send(started).await;
                }
                Ok(self.obey(id, process.as_mut(), &mut prepared).await)
            }
            Err(failure) => {
                process.signal(libc::SIGKILL, true).await;
                process.wait().await;
                Err(failure)
            }
        };
        self.shared.live().remove(id);
        wait_for_all(&mut captures, LAST_WORDS).await;
        let why =
            status.as_ref().map_or_else(|failure| failure.reason.clone(), |s| diagnose::exit_reason(*s));
        self.deregister(id, &with_last_line(why, captured)).await;
        self.shared.stats.forget(id);
        // Somebody who escaped may hold the pipe for ever; what is dropped here is not read any more.
        wait_for_all(&mut captures, LOG_PATIENCE).await;
        status
    }

    /// Prepares, unless it is told to stop first.
    async fn prepare(&mut self, id: &InstanceId) -> Result<Prepared, StartFailure> {
        let order = Order { service: &self.service, launch: &self.plan.launch, id, command: None };
        let prepared = tokio::select! {
            prepared = self.shared.driver.prepare(order) => prepared?,
            () = told_to_stop(&mut self.orders) => return Err(not_started()),
        };
        self.shared.note_rewrites(&self.key.service, prepared.rewrites.clone());
        for text in &prepared.notices {
            self.shared.tell(&self.key.service, EventKind::Notice { text: text.clone() });
        }
        Ok(prepared)
    }

    /// Takes over an instance that runs.
    fn go_on(
        &mut self,
        id: &InstanceId,
        Adopted { live, standing }: Adopted,
        captures: &mut JoinSet<()>,
    ) -> (Prepared, Box<dyn Process>, Option<Standing>) {
        let process = self.shared.driver.adopt(live.pid, live.tag);
        let prepared = Prepared {
            argv: Vec::new(),
            around: (*live.around).clone(),
            endpoints: live.endpoints.clone(),
            rewrites: Vec::new(),
            notices: Vec::new(),
            leases: self.shared.driver.resume(&live.endpoints),
        };
        self.listen(&live, captures);
        self.shared.live().insert(id.clone(), live);
        (prepared, process, Some(standing))
    }

    /// Reads what it prints.
    fn listen(&self, live: &Live, captures: &mut JoinSet<()>) {
        for (tap, stream) in live.taps.iter().zip([Stream::Stdout, Stream::Stderr]) {
            let source = source(&self.key.service, self.key.ordinal, stream);
            let (logs, captured) = (Arc::clone(&self.shared.logs), live.captured.clone());
            captures.spawn(logs::capture(tap.clone(), source, logs, captured));
        }
    }

    async fn start(
        &mut self,
        id: &InstanceId,
        prepared: &Prepared,
        captured: &Captured,
        captures: &mut JoinSet<()>,
    ) -> Result<Box<dyn Process>, StartFailure> {
        let no_pipe =
            |error: std::io::Error| StartFailure::passing(None, format!("no pipe could be made: {error}"));
        let (out, stdout) = logs::pipe().map_err(no_pipe)?;
        let (err, stderr) = logs::pipe().map_err(no_pipe)?;
        let start = Start {
            argv: &prepared.argv,
            around: &prepared.around,
            stdin: None,
            stdout,
            stderr,
            terminal: false,
        };
        let process = self.shared.driver.launch(start).await?;
        let live = Live {
            pid: process.pid(),
            started_at_ms: wall_ms(),
            around: Arc::new(prepared.around.clone()),
            endpoints: prepared.endpoints.clone(),
            tag: process.tag(),
            taps: [Tap::new(out), Tap::new(err)],
            captured: captured.clone(),
        };
        self.listen(&live, captures);
        let instance = EventKind::Started { instance: id.clone(), pid: live.pid.unsigned_abs() };
        self.shared.live().insert(id.clone(), live);
        self.shared.tell(&self.key.service, instance);
        Ok(process)
    }

    async fn register(
        &self,
        id: &InstanceId,
        prepared: &Prepared,
        standing: Option<Standing>,
    ) -> Result<(), StartFailure> {
        let spec = Spec {
            id: id.clone(),
            service: self.key.service.clone(),
            endpoints: prepared.endpoints.clone(),
            version: self.service.version.clone(),
            zone: self.service.zone.clone(),
            weight: self.service.weight,
            tags: self.service.tags.clone(),
            meta: self.service.labels.clone(),
        };
        let registration = || Registration {
            spec: spec.clone(),
            checks: health::checks(
                &self.service,
                &self.plan.launch,
                &prepared.endpoints,
                &prepared.around.targets,
            ),
            exec: Arc::clone(&self.shared) as _,
            standing: standing.clone(),
        };
        let catalog = &self.shared.deps.catalog;
        let result = match catalog.register(registration()).await {
            // Left over from a life that ended without a word.
            Err(CatalogError::Exists(_)) => {
                self.deregister(id, "its process is gone").await;
                catalog.register(registration()).await
            }
            other => other,
        };
        result.map_err(|error| {
            StartFailure::passing(None, format!("could not be registered: {}", chain(&error)))
        })
    }

    async fn deregister(&self, id: &InstanceId, reason: &str) {
        if let Err(error) = self.shared.deps.catalog.deregister(id, reason).await {
            tracing::warn!(instance = %id, error = %chain(&error), "an instance could not be removed from the catalog");
        }
    }

    /// Does what it is told until the process has ended.
    async fn obey(
        &mut self,
        id: &InstanceId,
        process: &mut dyn Process,
        prepared: &mut Prepared,
    ) -> ExitStatus {
        let mut draining = JoinSet::new();
        let mut pause = FIRST_LOOK;
        let mut next_look = Instant::now() + pause;
        loop {
            // `Process::wait` may be dropped and called again.
            let order = tokio::select! {
                status = process.wait() => return status,
                Some(cut_off) = draining.join_next() => {
                    let cut_off = cut_off.unwrap_or(0);
                    let _ = self.facts.send(Fact::Drained { key: self.key.clone(), cut_off }).await;
                    continue;
                }
                () = tokio::time::sleep_until(next_look), if pause < LAST_PAUSE && draining.is_empty() => {
                    pause = match self.look(id, process.pid(), prepared).await {
                        true => pause * 2,
                        false => LAST_PAUSE,
                    };
                    next_look = Instant::now() + pause;
                    continue;
                }
                order = self.orders.recv() => order,
            };
            match order {
                Some(InstanceOrder::Drain { patience }) => {
                    draining.spawn(drain(Arc::clone(&self.shared), id.clone(), patience));
                }
                Some(InstanceOrder::Signal { signal, tree }) => process.signal(signal, tree).await,
                // The loop is gone, which it is only in a panic: nothing may be left running.
                None => {
                    process.signal(libc::SIGKILL, true).await;
                    return process.wait().await;
                }
            }
        }
    }
}

impl Instance {
    /// Looks where an instance listens that is not well. Answers whether to look again.
    async fn look(&self, id: &InstanceId, pid: i32, prepared: &mut Prepared) -> bool {
        let told = prepared.endpoints.first().map_or(0, |main| main.addr.port());
        let (text, alone) = match look(&self.shared, id, pid, &prepared.endpoints).await {
            Found::Nothing => return false,
            Found::NotYet => return true,
            Found::AtKnownPort(addr) => {
                let port = addr.port();
                if let Some(main) = prepared.endpoints.first_mut() {
                    main.addr = addr;
                }
                self.deregister(id, "it listens at another port than it was told").await;
                if let Err(failure) = self.register(id, prepared, None).await {
                    tracing::warn!(instance = %id, reason = failure.reason, "could not be registered anew");
                }
                if let Some(live) = self.shared.live().get_mut(id) {
                    live.endpoints.clone_from(&prepared.endpoints);
                }
                let text = format!(
                    "{id} listens at {port} though PORT told it {told}; it is reached there, and so can run only \
                     once (to make that explicit, say `port: {port}` in tutti.yaml)"
                );
                (text, true)
            }
            Found::Elsewhere(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                let text = format!(
                    "{id} listens at {} and not at {told}, which PORT told it; make it listen at $PORT, or say \
                     `port:` in tutti.yaml",
                    ports.join(", ")
                );
                (text, false)
            }
        };
        let _ = self.facts.send(Fact::Elsewhere { key: self.key.clone(), text, alone }).await;
        false
    }
}

async fn drain(shared: Arc<Shared>, id: InstanceId, patience: Duration) -> u64 {
    if let Err(error) = shared.deps.catalog.drain(&id, "it is being stopped").await {
        tracing::warn!(instance = %id, error = %chain(&error), "an instance could not be drained");
    }
    shared.deps.traffic.drained(&id, patience).await
}

async fn told_to_stop(orders: &mut mpsc::UnboundedReceiver<InstanceOrder>) {
    while let Some(order) = orders.recv().await {
        if matches!(order, InstanceOrder::Signal { .. }) {
            return;
        }
    }
}

async fn wait_for_all(tasks: &mut JoinSet<()>, patience: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(patience, all).await;
}

fn not_started() -> StartFailure {
    StartFailure::passing(None, "was stopped before it was started".to_owned())
}

fn source(service: &ServiceName, ordinal: u32, stream: Stream) -> Source {
    Source { service: service.clone(), ordinal, stream }
}

fn with_last_line(reason: String, captured: &Captured) -> String {
    match captured.last_lines().last() {
        Some(line) => format!("{reason}; its last line: {line}"),
        None => reason,
    }
}
