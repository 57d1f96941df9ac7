//! Why a start failed, in words for a person, each with its stable code and what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tutti_core::{Code, code};

use crate::keeper::{ExitStatus, SpawnFailure};

/// Why a process could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub(crate) reason: String,
    pub(crate) code: Option<Code>,
    /// Trying again cannot help before somebody has changed something.
    pub(crate) lasting: bool,
}

impl StartFailure {
    pub(crate) fn lasting(code: Code, reason: String) -> Self {
        Self { reason, code: Some(code), lasting: true }
    }

    pub(crate) fn passing(code: Option<Code>, reason: String) -> Self {
        Self { reason, code, lasting: false }
    }
}

/// The file that is executed for a program's name, found as the shell finds it.
pub(crate) fn find_program(name: &str, dir: &Path, path: &str) -> Result<PathBuf, StartFailure> {
    if !dir.is_dir() {
        let why = if dir.exists() { "is not a folder" } else { "does not exist" };
        return Err(StartFailure::lasting(
            code::FOLDER_MISSING,
            format!("the folder {} {why}; set `dir:` in tutti.yaml", dir.display()),
        ));
    }
    if name.is_empty() {
        return Err(StartFailure::lasting(code::NO_COMMAND, "its command is empty".to_owned()));
    }
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![dir.join(name)],
        false => {
            path.split(':').filter(|part| !part.is_empty()).map(|part| dir.join(part).join(name)).collect()
        }
    };
    if let Some(found) = candidates.iter().find(|file| is_executable(file)) {
        return Ok(found.clone());
    }
    if let Some(found) = candidates.iter().find(|file| file.exists()) {
        let what = if found.is_dir() { "is a folder" } else { "may not be executed (chmod +x)" };
        return Err(StartFailure::lasting(code::NOT_EXECUTABLE, format!("{} {what}", found.display())));
    }
    let place = match name.contains('/') {
        true => format!("in {}", dir.display()),
        false => format!("on the PATH {path}"),
    };
    Err(StartFailure::lasting(code::PROGRAM_NOT_FOUND, format!("the program {name:?} was not found {place}")))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What the system said when a program that is there could not be started.
pub(crate) fn spawn_failure(program: &Path, failure: SpawnFailure) -> StartFailure {
    let name = program.display();
    let errno = match failure {
        SpawnFailure::Lost => {
            return StartFailure::passing(
                Some(code::KEEPER_FAILED),
                "could not be started: the keeper of the processes was lost".to_owned(),
            );
        }
        SpawnFailure::Errno(errno) => errno,
    };
    match errno {
        libc::ENOENT => StartFailure::lasting(
            code::PROGRAM_NOT_FOUND,
            format!("the interpreter that {name} names in its first line was not found"),
        ),
        libc::EACCES | libc::EPERM => {
            StartFailure::lasting(code::NOT_EXECUTABLE, format!("{name} may not be executed here"))
        }
        libc::ENOEXEC => StartFailure::lasting(
            code::NOT_EXECUTABLE,
            format!("{name} is no program for this machine; a script needs a first line like #!/bin/sh"),
        ),
        libc::E2BIG => StartFailure::lasting(
            code::NOT_EXECUTABLE,
            format!("arguments and environment of {name} are too long"),
        ),
        errno => {
            let why = std::io::Error::from_raw_os_error(errno);
            StartFailure::passing(None, format!("{name} could not be started: {why}"))
        }
    }
}

/// How a process ended, in words.
pub(crate) fn exit_reason(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with status {code}{}", exit_hint(code)),
        ExitStatus::Signal(signal) => format!("killed by {}", signal_name(signal)),
        ExitStatus::Lost => "killed, because the keeper of the processes was lost".to_owned(),
    }
}

/// What shells mean by some statuses.
const fn exit_hint(code: i32) -> &'static str {
    match code {
        126 => " (a command in it may not be executed)",
        127 => " (a command in it was not found)",
        137 => " (a child was killed, maybe for want of memory)",
        _ => "",
    }
}

/// The name of a signal as `kill -l` has it.
pub(crate) fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Who listens at a port of this machine, as `name (pid 7)`, as far as may be seen.
pub fn who_listens(port: u16) -> Option<String> {
    let inodes = crate::sys::proc::listeners().into_iter().filter(|l| l.addr.port() == port).map(|l| l.inode);
    let inodes: std::collections::HashSet<u64> = inodes.collect();
    let pid = crate::sys::proc::owner_of(&inodes)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The shell for `Command::Shell`.
pub(crate) const SHELL: &str = "/bin/sh";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_not_to_start_has_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "x").unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let find = |name: &str| find_program(name, dir.path(), "/bin:/usr/bin").map_err(|f| f.code.unwrap());
        assert_eq!(find("./plain"), Err(code::NOT_EXECUTABLE));
        assert_eq!(find("./bin"), Err(code::NOT_EXECUTABLE));
        assert_eq!(find("./none"), Err(code::PROGRAM_NOT_FOUND));
        assert_eq!(find("no-such-program"), Err(code::PROGRAM_NOT_FOUND));
        assert_eq!(find(""), Err(code::NO_COMMAND));
        assert!(find("sh").is_ok() && find("/bin/sh").is_ok());
        let missing = find_program("sh", &dir.path().join("gone"), "/bin").unwrap_err();
        assert_eq!(missing.code, Some(code::FOLDER_MISSING));
        assert!(missing.reason.contains("gone"), "{}", missing.reason);
    }

    #[test]
    fn the_listener_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let who = who_listens(listener.local_addr().unwrap().port()).unwrap();
        assert!(who.ends_with(&format!("(pid {})", std::process::id())), "{who}");
    }
}
