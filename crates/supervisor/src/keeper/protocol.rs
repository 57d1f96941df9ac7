//! What Tutti and the keeper say to each other: a length of four bytes, then JSON. Both are the same program when the keeper is started, but
//! a keeper stays when Tutti is upgraded: so the form has a number, which goes with the keeper from one Tutti to the next.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form of what is said. It grows with every change that an older keeper would not understand, or a newer Tutti not in it.
pub(crate) const FORM: u32 = 1;

/// Largest message: what the kernel takes as arguments and environment, in JSON.
const MESSAGE_BYTES: usize = 16 << 20;

/// A process to start. Two or three descriptors come with it: standard input if `stdin`, output, and error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spawn {
    /// Chosen by Tutti, never used twice.
    pub(crate) tag: u64,
    /// The file to execute, absolute.
    pub(crate) program: String,
    /// The arguments; the first is the name the program sees as its own.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its folder.
    pub(crate) dir: String,
    /// Whether a descriptor for standard input comes with it; otherwise it is empty.
    pub(crate) stdin: bool,
    /// Standard input is a terminal and becomes the controlling one.
    pub(crate) terminal: bool,
}

/// Flag of [`Request::Signal`]: everything that the process started, not only its group.
pub(crate) const TREE: bool = true;

/// Tutti to the keeper.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start a process.
    Spawn(Spawn),
    /// Send a signal to the process's group, or to all that descends from it.
    Signal { tag: u64, signal: i32, tree: bool },
}

/// The keeper to Tutti.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It runs.
    Spawned { tag: u64, pid: i32 },
    /// It could not be started.
    Failed { tag: u64, errno: i32 },
    /// It has ended, and nothing of it is left.
    Exited { tag: u64, status: ExitStatus },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExitStatus {
    /// It exited with this status.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// The keeper was lost, and with it how the process ended.
    Lost,
}

impl ExitStatus {
    /// As shells have it: 128 + n for signal n.
    pub(crate) const fn shell(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
            ExitStatus::Lost => 128 + libc::SIGKILL,
        }
    }
}

/// A message as bytes.
pub(crate) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= MESSAGE_BYTES);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::ArgumentListTooLong))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Adds bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What has come of a message that is not whole.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// The next whole message.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MESSAGE_BYTES {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let Some(json) = self.buffer.get(4..4 + length) else { return Ok(None) };
        let message = serde_json::from_slice(json)?;
        self.buffer.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let sent = [
            Report::Spawned { tag: 1, pid: 9 },
            Report::Exited { tag: 1, status: ExitStatus::Signal(9) },
            Report::Failed { tag: u64::MAX, errno: 2 },
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(|report| frame(report).unwrap()).collect();
        for cut in 0..bytes.len() {
            let mut frames = Frames::default();
            let mut got: Vec<Report> = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                frames.push(part);
                while let Some(report) = frames.next().unwrap() {
                    got.push(report);
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_length_beyond_reason_is_refused() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(frames.next::<Report>().is_err());
    }
}
