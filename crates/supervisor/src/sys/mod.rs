//! The system calls for which `rustix` and `std` have no safe form. All `unsafe` of this crate is here.

pub(crate) mod proc;
pub(crate) mod signals;
pub(crate) mod socket;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes this process the one to which orphaned descendants are given. Linux only; elsewhere nothing.
pub(crate) fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: PR_SET_CHILD_SUBREAPER takes one integer and touches no memory of ours.
        #[allow(unsafe_code)]
        let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes ownership of a descriptor that this process was started with. `None` if it is not open.
pub(crate) fn inherited_fd(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a descriptor by number and fails for one that is not open.
    #[allow(unsafe_code)]
    let open = fd > 2 && unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } >= 0;
    // SAFETY: it is open, and the caller names it as the one that was handed down, which nobody else owns.
    #[allow(unsafe_code)]
    open.then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a service process is set apart from the keeper, between fork and exec.
#[derive(Clone, Copy)]
pub(crate) struct Apart {
    /// The keeper's process id.
    pub(crate) keeper: i32,
    /// Standard input becomes the controlling terminal.
    pub(crate) terminal: bool,
}

/// Own session and group, default signals, nothing but the standard streams, and death with the keeper.
pub(crate) fn set_apart(command: &mut Command, apart: Apart) {
    // SAFETY: the closure runs in the forked child of a single-threaded process and calls only
    // async-signal-safe functions; it allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || child_setup(apart));
    }
}

/// Keeps one descriptor open across the exec of a command, and puts the command into its own session.
pub(crate) fn hand_down(command: &mut Command, fd: RawFd) {
    // SAFETY: the closure calls only setsid and fcntl, which are async-signal-safe, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Waits until a process that need not be a child of ours has ended. Blocks.
pub(crate) fn wait_for_end(pid: i32) {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, poll};
        let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
        let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let Ok(process) = opened else { return };
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
    }
    #[cfg(not(target_os = "linux"))]
    while proc::all().iter().any(|process| process.pid == pid && !process.zombie) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn child_setup(apart: Apart) -> io::Result<()> {
    // SAFETY: every call is async-signal-safe; `mask` and `action` are fully initialised before they are read.
    #[allow(unsafe_code)]
    unsafe {
        if libc::setsid() < 0 {
            return Err(io::Error::last_os_error());
        }
        if apart.terminal && libc::ioctl(0, libc::TIOCSCTTY as _, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        for signal in 1..32 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
    }
    die_with(apart.keeper)
}

#[cfg(target_os = "linux")]
fn die_with(keeper: i32) -> io::Result<()> {
    // SAFETY: prctl and close_range take integers only; getppid and _exit take none or one.
    #[allow(unsafe_code)]
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        // The keeper may have died before the line above took effect.
        if libc::getppid() != keeper {
            libc::_exit(127);
        }
        // An old kernel without the flag refuses; then everything is close-on-exec by its own making already.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 4_u32);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_keeper: i32) -> io::Result<()> {
    Ok(())
}

/// Watches a descriptor that was set to non-blocking.
pub(crate) fn watched(
    fd: OwnedFd,
    interest: tokio::io::Interest,
) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives, and it lives in the `AsyncFd`.
    #[allow(unsafe_code)]
    unsafe {
        Ok(tokio::io::unix::AsyncFd::register_with_interest(fd, interest)?)
    }
}
