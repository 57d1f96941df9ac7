//! The keeper's process, as Tutti has it: a child, or one that another process of Tutti has started.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::MARKER;
use crate::options::KeeperCommand;
use crate::sys;

/// The keeper's process and our end of the socket.
pub(super) struct Process {
    pub(super) socket: AsyncFd<OwnedFd>,
    owned: Owned,
}

/// Whose child the keeper is.
enum Owned {
    Ours(std::process::Child),
    /// Another process of Tutti has started it.
    Adopted(i32),
}

impl Process {
    /// Starts a keeper.
    pub(super) fn start(command: &KeeperCommand, run: &str) -> io::Result<Self> {
        let (ours, theirs) = sys::socket::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let mut program = Command::new(&command.program);
        program.args(&command.args).arg(theirs.as_raw_fd().to_string());
        program.env(MARKER, format!("{run}.keeper")).current_dir("/");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::hand_down(&mut program, theirs.as_raw_fd());
        let child = program.spawn()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self { socket: sys::watched(ours, interest)?, owned: Owned::Ours(child) })
    }

    /// Takes over one that another process of Tutti has started.
    pub(super) fn adopt(socket: OwnedFd, pid: i32) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self { socket: sys::watched(socket, interest)?, owned: Owned::Adopted(pid) })
    }

    /// Its id.
    pub(super) fn pid(&self) -> i32 {
        match &self.owned {
            Owned::Ours(child) => i32::try_from(child.id()).unwrap_or(0),
            Owned::Adopted(pid) => *pid,
        }
    }

    /// Closes the socket and waits until the keeper has killed what there was and ended.
    pub(super) fn close(self) {
        let Self { socket, owned } = self;
        drop(socket);
        match owned {
            Owned::Ours(mut child) => drop(child.wait()),
            Owned::Adopted(pid) => sys::wait_for_end(pid),
        }
    }

    /// Kills it and waits for its end.
    pub(super) fn kill(self) {
        match self.owned {
            Owned::Ours(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Owned::Adopted(pid) => {
                sys::proc::signal(pid, libc::SIGKILL);
                sys::wait_for_end(pid);
            }
        }
    }
}
