//! Ends what is left of a run whose keeper is gone: the second line of defence.
//!
//! Everything that a run starts carries `TUTTI_RUN=<run>.<tag>` in its environment, where `<run>` stands for the
//! data directory. The directory is locked by its owner, so whoever carries the mark and is not ours is a leftover.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use super::MARKER;
use crate::sys::proc;

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the runs of a data directory.
pub(crate) fn run_name(data_dir: &Path) -> String {
    let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
    hash.chars().take(16).collect()
}

/// Kills every process of the run and all that descends from one, and waits until they are gone. Answers
/// how many there were, or those that do not go. Blocks for some milliseconds at least; at most 5 s.
pub(crate) fn sweep(run: &str) -> Result<usize, Vec<i32>> {
    let mark = format!("{MARKER}={run}.").into_bytes();
    let begun = Instant::now();
    let mut killed = HashSet::new();
    loop {
        let left = marked(&mark);
        if left.is_empty() {
            return Ok(killed.len());
        }
        for pid in &left {
            proc::signal(*pid, libc::SIGKILL);
            reap(*pid);
        }
        killed.extend(left.iter().copied());
        if begun.elapsed() > PATIENCE {
            return Err(left);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn marked(mark: &[u8]) -> Vec<i32> {
    let processes = proc::all();
    let spared = ancestry(&processes);
    let alive = processes.iter().filter(|process| !process.zombie).map(|process| process.pid);
    let adopted = adopted(&processes);
    let is_root = |pid: &i32| !spared.contains(pid) && proc::has_variable(*pid, mark, false);
    let roots: Vec<i32> = alive.filter(is_root).chain(adopted).collect();
    let mut found = proc::trees(&processes, roots);
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    found.retain(|pid| {
        let zombie = processes.iter().find(|process| process.pid == *pid).is_some_and(|process| {
            if process.zombie && process.parent == me {
                reap(process.pid);
            }
            process.zombie
        });
        !zombie && !spared.contains(pid)
    });
    found.into_iter().collect()
}

/// Daemons that cleared their environment and came to this process, a subreaper, when their keeper was lost: children
/// in a session of their own. What this process starts itself is in its own session, or is a keeper and carries a mark.
fn adopted(processes: &[proc::Process]) -> Vec<i32> {
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    let Some(own) = processes.iter().find(|process| process.pid == me) else { return Vec::new() };
    let mark = format!("{MARKER}=").into_bytes();
    let strange = |process: &&proc::Process| {
        process.parent == me
            && process.session != own.session
            && !process.zombie
            && !proc::has_variable(process.pid, &mark, false)
    };
    processes.iter().filter(strange).map(|process| process.pid).collect()
}

/// This process and those it descends from.
fn ancestry(processes: &[proc::Process]) -> HashSet<i32> {
    let mut pid = i32::try_from(std::process::id()).unwrap_or(0);
    let mut line = HashSet::new();
    while pid > 0 && line.insert(pid) {
        pid = processes.iter().find(|process| process.pid == pid).map_or(0, |process| process.parent);
    }
    line
}

/// Collects the process if it is ours and has ended.
fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
}
