//! A pipe that becomes readable when a child has ended, for a single-threaded loop.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};

static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_child(_signal: libc::c_int) {
    // SAFETY: write is async-signal-safe, the buffer lives for the call, and errno is put back for the
    // code that was interrupted.
    #[allow(unsafe_code)]
    unsafe {
        let errno = *errno_location();
        libc::write(WAKE.load(Ordering::Relaxed), [1_u8].as_ptr().cast(), 1);
        *errno_location() = errno;
    }
}

extern "C" fn ignore(_signal: libc::c_int) {}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn errno_location() -> *mut libc::c_int {
    // SAFETY: gives the address of this thread's errno, which is always there.
    unsafe { libc::__errno_location() }
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
fn errno_location() -> *mut libc::c_int {
    // SAFETY: gives the address of this thread's errno, which is always there.
    unsafe { libc::__error() }
}

/// Routes SIGCHLD into a pipe, and makes this process deaf to signals that would end it politely: its life
/// ends with its socket. Both ends of the pipe must be kept.
pub(crate) fn child_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    WAKE.store(write.as_raw_fd(), Ordering::Relaxed);
    handle(libc::SIGCHLD, on_child)?;
    // Handlers instead of SIG_IGN, which children would inherit across exec.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, libc::SIGQUIT] {
        handle(signal, ignore)?;
    }
    Ok((read, write))
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: `action` is zeroed, which is a valid sigaction, before its fields are set; the handlers are
    // async-signal-safe and live as long as the program.
    #[allow(unsafe_code)]
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
