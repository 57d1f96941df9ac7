//! A program that is to become the new process, and may still be given up. It may be none of ours.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::time::sleep;
use tutti_net::Link;

/// How often, and how far apart, the end of a program is looked for that does not talk to us any more.
const LAST_LOOKS: usize = 20;
const LAST_LOOK: Duration = Duration::from_millis(10);
/// As much of what a program said that did not become the new process is shown.
const SAID_BYTES: usize = 2_000;
/// As much of a reason is shown: problems with files may be many.
const WHY_CHARS: usize = 20_000;

/// The new process while it may still be given up.
pub(super) struct Candidate(Option<Child>);

impl Candidate {
    /// Starts it with one end of a link, in a session of its own.
    pub(super) fn start(binary: &Path) -> Result<(Self, Link), String> {
        let failed = |error: std::io::Error| {
            format!("{} cannot be started: {error}", readable(&binary.display().to_string()))
        };
        let (link, theirs) = Link::pair().map_err(failed)?;
        let mut command = Command::new(binary);
        command.arg("take-over").arg(theirs.as_raw_fd().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        tutti_net::link::hand_down(&mut command, &theirs);
        let child = command.spawn().map_err(failed)?;
        Ok((Self(Some(child)), link))
    }

    /// What a program said that did not take over, or how it ended: it may be none of ours.
    pub(super) async fn last_words(&mut self) -> String {
        let Some(child) = &mut self.0 else { return String::new() };
        let mut ended = None;
        for _ in 0..LAST_LOOKS {
            ended = child.try_wait().ok().flatten();
            if ended.is_some() {
                break;
            }
            sleep(LAST_LOOK).await;
        }
        let mut said = Vec::new();
        if let Some(pipe) = child.stderr.take()
            && rustix::io::ioctl_fionbio(&pipe, true).is_ok()
        {
            // What it has started may still hold the pipe: nothing is waited for.
            let _ = pipe.take(SAID_BYTES as u64).read_to_end(&mut said);
        }
        let said = readable(String::from_utf8_lossy(&said).trim()).replace('\n', " ");
        if said.is_empty() { ended.map(|status| status.to_string()).unwrap_or_default() } else { said }
    }

    /// It is on its own now: whoever is its parent when it ends collects it. Gives its id.
    pub(super) fn let_go(&mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let Some(child) = &mut self.0 else { return };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // With what it has started, as a script does that stands before the program. Its id is nobody else's before it is waited for.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // Killed it ends at once; one that has ended already does no harm.
        let _ = child.kill();
        let _ = child.wait();
        // What it has started is ours now, as we take in what loses its parent.
        while let Some(group) = group
            && let Ok(Some(_)) = waitpgid(group, WaitOptions::empty())
        {}
    }
}

/// What somebody else says, for a terminal and a log: nothing in it is a command, and it has an end.
pub(super) fn readable(said: &str) -> String {
    let shown = said.chars().take(WHY_CHARS);
    shown.map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_says_commands_no_terminal_and_has_an_end() {
        assert_eq!(readable("a\nb\x1b[31m\tc\u{9b}"), "a\nb [31m c ");
        assert_eq!(readable(&"é".repeat(WHY_CHARS + 1)), "é".repeat(WHY_CHARS));
    }
}
