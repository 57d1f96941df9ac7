//! Tutti's side of the keeper: starts it, talks to it, and starts it again when it is lost.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::process::Process;
use super::protocol::{self, ExitStatus, FORM, Frames, Report, Request, Spawn, TREE};
use super::{MARKER, sweep};
use crate::metrics::Metrics;
use crate::options::KeeperCommand;
use crate::sys;

/// Requests that wait to be written.
const QUEUE: usize = 256;

/// A keeper that is lost more often than this in [`LOSS_WINDOW`] is given up.
const LOSSES: usize = 5;
const LOSS_WINDOW: Duration = Duration::from_secs(60);

/// Starts and signals processes through the keeper. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper {
    run: Arc<str>,
    requests: mpsc::Sender<Outgoing>,
    children: Arc<Children>,
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnFailure {
    /// The system refused.
    Errno(i32),
    /// There is no keeper.
    Lost,
}

enum Outgoing {
    Request(Request, Vec<OwnedFd>),
    Close,
    /// Keep still until the verdict: with one, another process has the keeper; without, everything goes on.
    Freeze(oneshot::Sender<Frozen>, oneshot::Receiver<()>),
}

/// A keeper at which nobody writes and from which nobody reads.
pub(crate) struct Frozen {
    pub(crate) socket: OwnedFd,
    pub(crate) legacy: Legacy,
}

/// What the next process has to know of a keeper, besides its socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Legacy {
    /// The form of what is said; see [`FORM`].
    form: u32,
    pid: i32,
    /// The next tag that is free.
    next: u64,
    /// What was read of a message that is not whole.
    unread: Vec<u8>,
    /// Every process that has not ended. Those that are no instances are commands that nobody waits for any more.
    tags: Vec<u64>,
}

#[derive(Default)]
struct Children {
    next: AtomicU64,
    table: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    spawned: Option<oneshot::Sender<Result<i32, SpawnFailure>>>,
    exit: watch::Sender<Option<ExitStatus>>,
}

/// A process that was started.
#[derive(Clone)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) tag: u64,
    exit: watch::Receiver<Option<ExitStatus>>,
    keeper: Keeper,
}

impl Child {
    /// Waits until it and all that it started has ended.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        match self.exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or(ExitStatus::Lost),
            Err(_) => ExitStatus::Lost,
        }
    }

    /// Sends a signal to its group, or to all that descends from it. No error if it is gone.
    pub(crate) async fn signal(&self, signal: i32, tree: bool) {
        let request = Request::Signal { tag: self.tag, signal, tree };
        let _ = self.keeper.requests.send(Outgoing::Request(request, Vec::new())).await;
    }

    /// Kills it and all that descends from it, as soon as the queue allows; for destructors.
    pub(crate) fn kill_now(&self) {
        let request = Request::Signal { tag: self.tag, signal: libc::SIGKILL, tree: TREE };
        let _ = self.keeper.requests.try_send(Outgoing::Request(request, Vec::new()));
    }
}

impl Keeper {
    /// Starts a keeper. The second value must be run for anything to happen.
    pub(crate) fn start(
        command: KeeperCommand,
        run: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, KeeperLoop)> {
        sys::become_subreaper()?;
        let process = Process::start(&command, run)?;
        let (requests, inbox) = mpsc::channel(QUEUE);
        let children = Arc::new(Children::default());
        let keeper = Self { run: Arc::from(run), requests, children: Arc::clone(&children) };
        let run = Arc::clone(&keeper.run);
        let (losses, frames, begin) = (VecDeque::new(), Frames::default(), Begin::default());
        Ok((keeper, KeeperLoop { command, run, process, inbox, children, losses, metrics, frames, begin }))
    }

    /// Starts a process. `spawn.tag` is filled in here; `fds` are standard input if `spawn.stdin`, output and error.
    pub(crate) async fn spawn(&self, mut spawn: Spawn, fds: Vec<OwnedFd>) -> Result<Child, SpawnFailure> {
        let tag = self.children.next.fetch_add(1, Ordering::Relaxed);
        spawn.tag = tag;
        spawn.env.retain(|(key, _)| key != MARKER);
        spawn.env.push((MARKER.to_owned(), format!("{}.{tag}", self.run)));
        let (spawned, answer) = oneshot::channel();
        let (exit, exited) = watch::channel(None);
        self.children.lock().insert(tag, Entry { spawned: Some(spawned), exit });
        let guard = Unclaimed { keeper: self, tag, armed: true };
        let sent = self.requests.send(Outgoing::Request(Request::Spawn(spawn), fds)).await;
        let outcome = match sent {
            Ok(()) => answer.await.unwrap_or(Err(SpawnFailure::Lost)),
            Err(_) => Err(SpawnFailure::Lost),
        };
        guard.disarm();
        match outcome {
            Ok(pid) => Ok(Child { pid, tag, exit: exited, keeper: self.clone() }),
            Err(failure) => {
                self.children.lock().remove(&tag);
                Err(failure)
            }
        }
    }

    /// Takes over the keeper of another process, with the processes of these tags. Nothing is said to it, and nothing heard of it, before
    /// the gate opens; if it never does, the keeper is left alone.
    pub(crate) fn take_over(
        command: KeeperCommand,
        run: &str,
        metrics: Arc<Metrics>,
        (socket, legacy): (OwnedFd, Legacy),
        tags: impl Iterator<Item = u64>,
        gate: watch::Receiver<bool>,
    ) -> io::Result<(Self, KeeperLoop)> {
        if legacy.form != FORM {
            let what = format!("the keeper speaks form {}, and this version form {FORM}", legacy.form);
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        sys::become_subreaper()?;
        let process = Process::adopt(socket, legacy.pid)?;
        let (requests, inbox) = mpsc::channel(QUEUE);
        let children = Arc::new(Children::default());
        children.next.store(legacy.next, Ordering::Relaxed);
        children.lock().extend(tags.map(|tag| (tag, Entry { spawned: None, exit: watch::channel(None).0 })));
        let left = |tag: &u64| !children.lock().contains_key(tag);
        let strays = legacy.tags.into_iter().filter(left).collect();
        let keeper = Self { run: Arc::from(run), requests, children: Arc::clone(&children) };
        let (run, losses) = (Arc::clone(&keeper.run), VecDeque::new());
        let mut frames = Frames::default();
        frames.push(&legacy.unread);
        let begin = Begin { gate: Some(gate), strays };
        Ok((keeper, KeeperLoop { command, run, process, inbox, children, losses, metrics, frames, begin }))
    }

    /// A process that was started by another process of Tutti.
    pub(crate) fn adopt(&self, pid: i32, tag: u64) -> Child {
        let known = self.children.lock().get(&tag).map(|entry| entry.exit.subscribe());
        // Of one that is not known there will be no word: it counts as ended.
        let exit = known.unwrap_or_else(|| watch::channel(Some(ExitStatus::Lost)).1);
        Child { pid, tag, exit, keeper: self.clone() }
    }

    /// Whether a process has not ended, as far as is known.
    pub(crate) fn knows(&self, tag: u64) -> bool {
        self.children.lock().contains_key(&tag)
    }

    /// Says and hears nothing more, so that another process may. The sender lets the keeper go; dropped, it takes it back.
    pub(crate) async fn freeze(&self) -> Option<(Frozen, oneshot::Sender<()>)> {
        let (reply, frozen) = oneshot::channel();
        let (release, verdict) = oneshot::channel();
        self.requests.send(Outgoing::Freeze(reply, verdict)).await.ok()?;
        Some((frozen.await.ok()?, release))
    }

    /// Lets the keeper go; it kills whatever still runs.
    pub(crate) async fn close(&self) {
        let _ = self.requests.send(Outgoing::Close).await;
    }
}

/// A spawn whose caller went away before it learned of the outcome: the process is killed.
struct Unclaimed<'a> {
    keeper: &'a Keeper,
    tag: u64,
    armed: bool,
}

impl Unclaimed<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if self.armed {
            let request = Request::Signal { tag: self.tag, signal: libc::SIGKILL, tree: TREE };
            let _ = self.keeper.requests.try_send(Outgoing::Request(request, Vec::new()));
        }
    }
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a report. Answers the tag of a process that nobody waits for and that has to go.
    fn report(&self, report: Report) -> Option<u64> {
        let mut table = self.lock();
        match report {
            Report::Spawned { tag, pid } => {
                let Some(entry) = table.get_mut(&tag) else { return Some(tag) };
                if let Some(spawned) = entry.spawned.take() {
                    let _ = spawned.send(Ok(pid));
                }
            }
            Report::Failed { tag, errno } => {
                if let Some(spawned) = table.remove(&tag).and_then(|entry| entry.spawned) {
                    let _ = spawned.send(Err(SpawnFailure::Errno(errno)));
                }
            }
            Report::Exited { tag, status } => {
                if let Some(entry) = table.remove(&tag) {
                    entry.exit.send_replace(Some(status));
                }
            }
        }
        None
    }

    fn lose_all(&self) {
        for (_, entry) in self.lock().drain() {
            if let Some(spawned) = entry.spawned {
                let _ = spawned.send(Err(SpawnFailure::Lost));
            }
            entry.exit.send_replace(Some(ExitStatus::Lost));
        }
    }
}

/// Carries requests to the keeper and reports back.
pub(crate) struct KeeperLoop {
    command: KeeperCommand,
    run: Arc<str>,
    process: Process,
    inbox: mpsc::Receiver<Outgoing>,
    children: Arc<Children>,
    losses: VecDeque<Instant>,
    metrics: Arc<Metrics>,
    /// What was read and is not a whole message yet.
    frames: Frames,
    begin: Begin,
}

/// How the loop of a keeper begins that was taken over.
#[derive(Default)]
struct Begin {
    gate: Option<watch::Receiver<bool>>,
    strays: Vec<u64>,
}

impl KeeperLoop {
    /// Runs until [`Keeper::close`], or until a keeper can be kept no longer: what runs then is killed. Or until another process has the
    /// keeper.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        if let Some(mut gate) = self.begin.gate.take()
            && gate.wait_for(|open| *open).await.is_err()
        {
            return Ok(());
        }
        loop {
            let error = match self.pump().await {
                End::Lost(error) => error,
                End::Closed => break,
                End::LetGo => return Ok(()),
            };
            tracing::warn!(%error, "the keeper was lost; every process of the application is started anew");
            let run = Arc::clone(&self.run);
            let (command, old) = (self.command.clone(), self.process);
            let next = tokio::task::spawn_blocking(move || {
                old.kill();
                if let Err(left) = sweep::sweep(&run) {
                    tracing::error!(?left, "processes do not end");
                }
                run
            });
            let run = next.await.map_err(io::Error::other)?;
            self.children.lose_all();
            self.metrics.keeper_losses.inc();
            self.losses.push_back(Instant::now());
            while self.losses.front().is_some_and(|at| at.elapsed() > LOSS_WINDOW) {
                self.losses.pop_front();
            }
            if self.losses.len() > LOSSES {
                return Err(io::Error::other("the keeper was lost again and again"));
            }
            self.process = Process::start(&command, &run)?;
            self.frames = Frames::default();
        }
        let process = self.process;
        let closed = tokio::task::spawn_blocking(move || process.close()).await;
        self.children.lose_all();
        closed.map_err(io::Error::other)
    }

    async fn pump(&mut self) -> End {
        let mut frames = std::mem::take(&mut self.frames);
        let mut outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)> = VecDeque::new();
        if let Err(error) = self.note(&mut frames, &mut outgoing) {
            return End::Lost(error);
        }
        for tag in std::mem::take(&mut self.begin.strays) {
            let kill = Request::Signal { tag, signal: libc::SIGKILL, tree: TREE };
            self.enqueue(&kill, Vec::new(), &mut outgoing);
        }
        let mut freeze = None;
        loop {
            if outgoing.is_empty()
                && let Some((reply, verdict)) = freeze.take()
                && self.frozen(&frames, reply, verdict).await
            {
                return End::LetGo;
            }
            tokio::select! {
                ready = self.process.socket.readable() => {
                    let outcome = match ready {
                        Ok(mut guard) => guard.try_io(|socket| read(socket.get_ref(), &mut frames)),
                        Err(error) => Ok(Err(error)),
                    };
                    if let Ok(Err(error)) = outcome {
                        return End::Lost(error);
                    }
                    if let Err(error) = self.note(&mut frames, &mut outgoing) {
                        return End::Lost(error);
                    }
                }
                ready = self.process.socket.writable(), if !outgoing.is_empty() => {
                    let outcome = match ready {
                        Ok(mut guard) => guard.try_io(|socket| write(socket.get_ref(), &mut outgoing)),
                        Err(error) => Ok(Err(error)),
                    };
                    if let Ok(Err(error)) = outcome {
                        return End::Lost(error);
                    }
                }
                request = self.inbox.recv(), if outgoing.len() < QUEUE && freeze.is_none() => match request {
                    Some(Outgoing::Request(request, fds)) => self.enqueue(&request, fds, &mut outgoing),
                    Some(Outgoing::Freeze(reply, verdict)) => freeze = Some((reply, verdict)),
                    Some(Outgoing::Close) | None => return End::Closed,
                },
            }
        }
    }

    /// Keeps still until it is known who has the keeper. Whether somebody else has.
    async fn frozen(
        &self,
        frames: &Frames,
        reply: oneshot::Sender<Frozen>,
        verdict: oneshot::Receiver<()>,
    ) -> bool {
        let legacy = Legacy {
            form: FORM,
            pid: self.process.pid(),
            next: self.children.next.load(Ordering::Relaxed),
            unread: frames.rest().to_vec(),
            tags: self.children.lock().keys().copied().collect(),
        };
        match self.process.socket.get_ref().try_clone() {
            Ok(socket) => reply.send(Frozen { socket, legacy }).is_ok() && verdict.await.is_ok(),
            // Whoever asked learns it from the reply that never comes.
            Err(_) => false,
        }
    }

    fn note(&self, frames: &mut Frames, outgoing: &mut VecDeque<(Vec<u8>, Vec<OwnedFd>)>) -> io::Result<()> {
        while let Some(report) = frames.next()? {
            if let Some(tag) = self.children.report(report) {
                let kill = Request::Signal { tag, signal: libc::SIGKILL, tree: TREE };
                self.enqueue(&kill, Vec::new(), outgoing);
            }
        }
        Ok(())
    }

    fn enqueue(&self, request: &Request, fds: Vec<OwnedFd>, to: &mut VecDeque<(Vec<u8>, Vec<OwnedFd>)>) {
        match (protocol::frame(request), request) {
            (Ok(bytes), _) => to.push_back((bytes, fds)),
            (Err(_), Request::Spawn(spawn)) => {
                self.children.report(Report::Failed { tag: spawn.tag, errno: libc::E2BIG });
            }
            (Err(_), Request::Signal { .. }) => {}
        }
    }
}

enum End {
    Closed,
    LetGo,
    Lost(io::Error),
}

fn read(socket: &OwnedFd, frames: &mut Frames) -> io::Result<()> {
    let mut buffer = [0_u8; 4096];
    let mut no_fds: Vec<OwnedFd> = Vec::new();
    match sys::socket::receive(socket, &mut buffer, &mut no_fds)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        count => {
            frames.push(buffer.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

fn write(socket: &OwnedFd, outgoing: &mut VecDeque<(Vec<u8>, Vec<OwnedFd>)>) -> io::Result<()> {
    while let Some((bytes, fds)) = outgoing.front_mut() {
        let sent = sys::socket::send(socket, bytes, fds)?;
        fds.clear();
        bytes.drain(..sent.min(bytes.len()));
        if bytes.is_empty() {
            outgoing.pop_front();
        }
    }
    Ok(())
}
