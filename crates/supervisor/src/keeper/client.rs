//! Tutti's side of the keeper: starts it, talks to it, and starts it again when it is lost.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use super::protocol::{self, ExitStatus, Frames, Report, Request, Spawn, TREE};
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
    tag: u64,
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
        Ok((keeper, KeeperLoop { command, run, process, inbox, children, losses: VecDeque::new(), metrics }))
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

/// The keeper's process and our end of the socket.
struct Process {
    socket: AsyncFd<OwnedFd>,
    child: std::process::Child,
}

impl Process {
    fn start(command: &KeeperCommand, run: &str) -> io::Result<Self> {
        let (ours, theirs) = sys::socket::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let mut program = Command::new(&command.program);
        program.args(&command.args).arg(theirs.as_raw_fd().to_string());
        program.env(MARKER, format!("{run}.keeper")).current_dir("/");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::hand_down(&mut program, theirs.as_raw_fd());
        let child = program.spawn()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self { socket: crate::sys::watched(ours, interest)?, child })
    }

    /// Closes the socket and waits until the keeper has killed what there was and ended.
    fn close(self) {
        let Self { socket, mut child } = self;
        drop(socket);
        let _ = child.wait();
    }

    fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
}

impl KeeperLoop {
    /// Runs until [`Keeper::close`], or until a keeper can be kept no longer. What runs then is killed.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        while let End::Lost(error) = self.pump().await {
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
        }
        let process = self.process;
        let closed = tokio::task::spawn_blocking(move || process.close()).await;
        self.children.lose_all();
        closed.map_err(io::Error::other)
    }

    async fn pump(&mut self) -> End {
        let mut frames = Frames::default();
        let mut outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)> = VecDeque::new();
        loop {
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
                request = self.inbox.recv(), if outgoing.len() < QUEUE => match request {
                    Some(Outgoing::Request(request, fds)) => self.enqueue(&request, fds, &mut outgoing),
                    Some(Outgoing::Close) | None => return End::Closed,
                },
            }
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
