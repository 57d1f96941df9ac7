//! The keeper: a small single-threaded process, one for each Tutti, that is the parent of every service process.
//!
//! Why a process of its own, see docs/adr/0003-keeper.md. What it promises:
//! - When the socket to Tutti closes, which it does even on kill -9, everything that descends from the keeper is
//!   killed, also what left its process group or session, and then the keeper ends.
//! - When the keeper itself is killed, the kernel kills its direct children, and Tutti the rest.
//! - A process that was started by tag is reported as exited when nothing that it started is left.
//!
//! A keeper may outlive the Tutti that has started it: an upgrade hands its socket to the next one.
//!
//! [`main`] must be called before the program starts a thread.

mod client;
mod kept;
mod process;
mod protocol;
pub(crate) mod sweep;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use client::{Child, Frozen, Keeper, KeeperLoop, Legacy, SpawnFailure};
pub(crate) use protocol::{ExitStatus, Spawn};

use crate::sys;
use kept::Kept;
use protocol::{Frames, Report, Request};

/// The variable that marks every process of a run, so that what two crashes at once leave behind can be found.
pub const MARKER: &str = "TUTTI_RUN";

/// Time between two looks at processes that were killed and are not gone yet.
const LOOK_AGAIN_MS: i64 = 20;

/// Runs the keeper on the socket with this number until Tutti is gone. For `tutti keeper <fd>`.
pub fn main(fd: i32) -> ExitCode {
    let Some(socket) = sys::inherited_fd(fd) else { return ExitCode::from(2) };
    let mut kept = Kept::new();
    let result = serve(&socket, &mut kept);
    drop(socket);
    kept.kill_everything();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(socket: &OwnedFd, kept: &mut Kept) -> io::Result<()> {
    sys::become_subreaper()?;
    let (woken, _wake) = sys::signals::child_pipe()?;
    let mut frames = Frames::default();
    let mut fds = VecDeque::new();
    loop {
        let mut ready = [PollFd::new(socket, PollFlags::IN), PollFd::new(&woken, PollFlags::IN)];
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_AGAIN_MS * 1_000_000 };
        match poll(&mut ready, kept.impatient().then_some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [from_tutti, from_children] = &ready;
        let (asked, ended) = (!from_tutti.revents().is_empty(), !from_children.revents().is_empty());
        if ended {
            drain(&woken);
        }
        if asked && !receive(socket, &mut frames, &mut fds)? {
            return Ok(());
        }
        while let Some(request) = frames.next::<Request>()? {
            if let Some(report) = kept.carry_out(request, &mut fds) {
                tell(socket, &report)?;
            }
        }
        for report in kept.reap() {
            tell(socket, &report)?;
        }
    }
}

/// Reads what is there. `false`: Tutti is gone.
fn receive(socket: &OwnedFd, frames: &mut Frames, fds: &mut VecDeque<OwnedFd>) -> io::Result<bool> {
    let mut buffer = [0_u8; 16 << 10];
    match sys::socket::receive(socket, &mut buffer, fds) {
        Ok(0) => Ok(false),
        Ok(count) => {
            frames.push(buffer.get(..count).unwrap_or_default());
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

fn tell(socket: &OwnedFd, report: &Report) -> io::Result<()> {
    let bytes = protocol::frame(report)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match sys::socket::send(socket, rest, &[]) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn drain(pipe: &OwnedFd) {
    let mut buffer = [0_u8; 256];
    while rustix::io::read(pipe, &mut buffer).is_ok_and(|count| count > 0) {}
}
