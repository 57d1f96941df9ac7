//! Commands beside an instance: in its folder and with its environment.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::diagnose::StartFailure;
use crate::driver::{Driver, Process, Start, Surroundings};
use crate::logs;

/// A command to run.
#[derive(Debug, Default)]
pub struct ExecSpec {
    /// The program and its arguments. For a one-off run of a service: empty means the service's own command.
    pub argv: Vec<String>,
    /// Variables on top of the instance's.
    pub env: Vec<(String, String)>,
    /// Another folder than the instance's.
    pub dir: Option<PathBuf>,
    /// Where its input comes from and its output goes.
    pub streams: Streams,
}

/// What a process beside an instance is given, for a caller that starts it itself, with its own terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The service's own command.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The folder.
    pub dir: PathBuf,
}

/// Where a command's input comes from and its output goes.
#[derive(Debug, Default)]
pub enum Streams {
    /// No input; output is read by [`Running::output`].
    #[default]
    Output,
    /// Input is written by [`Running::input`]; output is read by [`Running::output`].
    Both,
    /// These files, such as those of the operator's terminal. If `terminal`, standard input becomes the command's
    /// controlling terminal; it must be nobody else's.
    Given {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
        /// Whether it becomes the controlling terminal.
        terminal: bool,
    },
}

/// A command that runs. Dropped before its end, it is killed with all that it started.
pub struct Running {
    /// Its standard input, if it was asked for. Drop it to close it.
    pub input: Option<Input>,
    /// Its standard output and error.
    pub output: Outputs,
    process: Box<dyn Process>,
    ended: bool,
    /// Kept for a one-off run of a service: its ports.
    pub(crate) leases: Vec<crate::driver::pool::Lease>,
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Of standard output.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// A command's standard input.
pub struct Input(AsyncFd<OwnedFd>);

impl Input {
    /// Writes all of it. Fails with `BrokenPipe` when the command has closed its input.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.0.writable().await?;
            match guard.try_io(|pipe| Ok(rustix::io::write(pipe.get_ref(), bytes)?)) {
                Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

/// A command's standard output and error.
#[derive(Default)]
pub struct Outputs {
    stdout: Option<AsyncFd<OwnedFd>>,
    stderr: Option<AsyncFd<OwnedFd>>,
}

impl Outputs {
    /// The next piece; `None` when both streams have ended.
    pub async fn next(&mut self) -> Option<Output> {
        let (mut out, mut err) = ([0_u8; 8192], [0_u8; 8192]);
        loop {
            let (count, is_out) = tokio::select! {
                count = read(self.stdout.as_ref(), &mut out), if self.stdout.is_some() => (count, true),
                count = read(self.stderr.as_ref(), &mut err), if self.stderr.is_some() => (count, false),
                else => return None,
            };
            match (count, is_out) {
                (0, true) => self.stdout = None,
                (0, false) => self.stderr = None,
                (count, true) => return Some(Output::Stdout(piece(&out, count))),
                (count, false) => return Some(Output::Stderr(piece(&err, count))),
            }
        }
    }
}

fn piece(buffer: &[u8], count: usize) -> Bytes {
    Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())
}

async fn read(pipe: Option<&AsyncFd<OwnedFd>>, into: &mut [u8]) -> usize {
    match pipe {
        Some(pipe) => logs::read(pipe, into).await.unwrap_or(0),
        None => 0,
    }
}

impl Running {
    /// Starts a command in these surroundings.
    pub(crate) async fn start(
        driver: &dyn Driver,
        mut around: Surroundings,
        spec: ExecSpec,
    ) -> Result<Self, StartFailure> {
        around.env.extend(spec.env);
        if let Some(dir) = spec.dir {
            around.dir = around.dir.join(dir);
        }
        let no_pipe =
            |error: io::Error| StartFailure::passing(None, format!("no pipe could be made: {error}"));
        let mut output = Outputs::default();
        let mut input = None;
        let (stdin, stdout, stderr, terminal) = match spec.streams {
            Streams::Given { stdin, stdout, stderr, terminal } => (Some(stdin), stdout, stderr, terminal),
            other => {
                let (out, stdout) = logs::pipe().map_err(no_pipe)?;
                let (err, stderr) = logs::pipe().map_err(no_pipe)?;
                output = Outputs { stdout: Some(out), stderr: Some(err) };
                let mut stdin = None;
                if matches!(other, Streams::Both) {
                    let (theirs, ours) = input_pipe().map_err(no_pipe)?;
                    (stdin, input) = (Some(theirs), Some(Input(ours)));
                }
                (stdin, stdout, stderr, false)
            }
        };
        let start = Start { argv: &spec.argv, around: &around, stdin, stdout, stderr, terminal };
        let process = driver.launch(start).await?;
        Ok(Self { input, output, process, ended: false, leases: Vec::new() })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.process.pid()).unwrap_or(0)
    }

    /// Sends a signal to its process group.
    pub async fn signal(&self, signal: i32) {
        self.process.signal(signal, false).await;
    }

    /// Waits for its end: the exit status; 128 + n for a death by signal n. Read the output first, or beside it:
    /// a command that nobody reads may wait for ever.
    pub async fn wait(&mut self) -> i32 {
        let status = self.process.wait().await;
        self.ended = true;
        status.shell()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.process.kill_now();
        }
    }
}

fn input_pipe() -> io::Result<(OwnedFd, AsyncFd<OwnedFd>)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    Ok((read, crate::sys::watched(write, Interest::WRITABLE)?))
}
