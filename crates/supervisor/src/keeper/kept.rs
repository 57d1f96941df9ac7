//! The processes that the keeper keeps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use super::MARKER;
use super::protocol::{ExitStatus, Report, Request, Spawn};
use crate::sys::{self, proc};

/// A process that was started by tag: the leader of its own session and group.
struct Leader {
    pid: i32,
    /// `TUTTI_RUN=…`, which all its descendants carry unless they cleared their environment.
    marker: Vec<u8>,
    /// The pipes that it was given as output; a daemon that left everything else behind may still hold them.
    pipes: HashSet<u64>,
    /// Descendants seen when it was last signalled: finds those that left both session and environment.
    seen: HashSet<(i32, u64)>,
    /// How it ended; what it started may still be there.
    ended: Option<ExitStatus>,
}

/// All of them.
pub(super) struct Kept {
    leaders: HashMap<u64, Leader>,
    tags: HashMap<i32, u64>,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { leaders: HashMap::new(), tags: HashMap::new() }
    }

    /// Whether something was killed and is not gone yet, so that another look is due soon.
    pub(super) fn impatient(&self) -> bool {
        self.leaders.values().any(|leader| leader.ended.is_some())
    }

    pub(super) fn carry_out(&mut self, request: Request, fds: &mut VecDeque<OwnedFd>) -> Option<Report> {
        match request {
            Request::Spawn(spawn) => Some(self.spawn(spawn, fds)),
            Request::Signal { tag, signal, tree } => {
                self.signal(tag, signal, tree);
                None
            }
        }
    }

    fn spawn(&mut self, spawn: Spawn, fds: &mut VecDeque<OwnedFd>) -> Report {
        let tag = spawn.tag;
        let given = if spawn.stdin { 1..3 } else { 0..2 };
        let pipes = fds.iter().take(given.end).skip(given.start).filter_map(pipe_inode).collect();
        let mut stream = |wanted: bool| match wanted {
            true => fds.pop_front().map_or_else(Stdio::null, Stdio::from),
            false => Stdio::null(),
        };
        let (stdin, stdout, stderr) = (stream(spawn.stdin), stream(true), stream(true));
        let mut command = Command::new(&spawn.program);
        if let Some(name) = spawn.argv.first() {
            command.arg0(name);
        }
        command.args(spawn.argv.iter().skip(1)).env_clear().envs(spawn.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(&spawn.dir).stdin(stdin).stdout(stdout).stderr(stderr);
        let keeper = i32::try_from(std::process::id()).unwrap_or(0);
        sys::set_apart(&mut command, sys::Apart { keeper, terminal: spawn.terminal });
        match command.spawn() {
            Ok(child) => {
                let pid = i32::try_from(child.id()).unwrap_or(0);
                let marker = spawn.env.iter().find(|(key, _)| key == MARKER);
                let marker =
                    marker.map(|(key, value)| format!("{key}={value}").into_bytes()).unwrap_or_default();
                self.tags.insert(pid, tag);
                self.leaders.insert(tag, Leader { pid, marker, pipes, seen: HashSet::new(), ended: None });
                Report::Spawned { tag, pid }
            }
            Err(error) => Report::Failed { tag, errno: error.raw_os_error().unwrap_or(0) },
        }
    }

    fn signal(&mut self, tag: u64, signal: i32, tree: bool) {
        let Some(leader) = self.leaders.get_mut(&tag) else { return };
        let processes = proc::all();
        let members = leader.members(&processes);
        leader.seen.extend(processes.iter().filter(|p| members.contains(&p.pid)).map(|p| (p.pid, p.started)));
        if leader.ended.is_none() {
            proc::signal_group(leader.pid, signal);
        }
        if tree {
            for pid in members {
                proc::signal(pid, signal);
            }
        }
    }

    /// Collects what has ended, kills what it left behind, and tells of those of which nothing is left.
    pub(super) fn reap(&mut self) -> Vec<Report> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(leader) =
                self.tags.remove(&pid.as_raw_nonzero().get()).and_then(|tag| self.leaders.get_mut(&tag))
            {
                leader.ended = Some(exit_status(status));
            }
        }
        if !self.impatient() {
            return Vec::new();
        }
        // What an ended leader left has become the keeper's own child: without such a child there is nothing to do.
        let orphans = proc::own_children().iter().any(|pid| !self.tags.contains_key(pid));
        let processes = if orphans { proc::all() } else { Vec::new() };
        let mut reports = Vec::new();
        self.leaders.retain(|tag, leader| {
            let Some(status) = leader.ended else { return true };
            let left = leader.members(&processes);
            for pid in &left {
                proc::signal(*pid, libc::SIGKILL);
            }
            if left.is_empty() {
                reports.push(Report::Exited { tag: *tag, status });
            }
            !left.is_empty()
        });
        reports
    }

    /// Kills everything that descends from this process and waits until nothing is left.
    pub(super) fn kill_everything(&self) {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        loop {
            for pid in self.tags.keys() {
                proc::signal_group(*pid, libc::SIGKILL);
            }
            for pid in proc::trees(&proc::all(), [me]) {
                if pid != me {
                    proc::signal(pid, libc::SIGKILL);
                }
            }
            // What a killed process leaves becomes a child of this one, so the end of children is the end of all.
            match waitpid(None::<Pid>, WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Leader {
    /// What belongs to it: its session, what carries its marker, what was seen below it, and all below those.
    fn members(&self, processes: &[proc::Process]) -> HashSet<i32> {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let roots = processes.iter().filter(|process| {
            process.session == self.pid
                || (self.ended.is_none() && process.pid == self.pid)
                || self.seen.contains(&(process.pid, process.started))
                || (process.parent == me
                    && !self.marker.is_empty()
                    && (proc::has_variable(process.pid, &self.marker, true)
                        || proc::holds_pipe(process.pid, &self.pipes)))
        });
        let mut members = proc::trees(processes, roots.map(|process| process.pid));
        members.remove(&me);
        members.retain(|pid| processes.iter().any(|process| process.pid == *pid && !process.zombie));
        members
    }
}

/// The inode of a pipe; `None` for anything else, such as the operator's terminal, which others hold too.
fn pipe_inode(fd: &OwnedFd) -> Option<u64> {
    let stat = rustix::fs::fstat(fd).ok()?;
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo().then_some(stat.st_ino)
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Lost,
    }
}
