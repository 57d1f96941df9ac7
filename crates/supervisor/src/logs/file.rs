//! The form of a log file: one line of text for each line, `<microseconds> <number> <ordinal> <stream><flags> <text>`.
//!
//! Readable with `less`. A line that does not parse, as a crash may leave one, is left out.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tutti_core::ServiceName;

use super::{LogLine, Stream};

/// Enough for the longest line and its head.
const TAIL_BYTES: u64 = 256 << 10;

pub(super) fn encode(line: &LogLine, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let stream = match line.stream {
        Stream::Stdout => 'o',
        Stream::Stderr => 'e',
        Stream::Setup => 's',
        Stream::Tutti => 't',
    };
    let cut = if line.cut { "c" } else { "" };
    let partial = if line.partial { "p" } else { "" };
    // Writing to memory does not fail.
    let _ = write!(out, "{} {} {} {stream}{cut}{partial} ", line.at_us, line.seq, line.ordinal);
    out.extend(line.text.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
    out.push(b'\n');
}

pub(super) fn decode(service: &ServiceName, line: &str) -> Option<LogLine> {
    let mut parts = line.splitn(5, ' ');
    let (at_us, seq, ordinal) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let mut kind = parts.next()?.chars();
    let stream = match kind.next()? {
        'o' => Stream::Stdout,
        'e' => Stream::Stderr,
        's' => Stream::Setup,
        't' => Stream::Tutti,
        _ => return None,
    };
    let flags = kind.as_str();
    let text = parts.next()?.to_owned();
    let (cut, partial) = (flags.contains('c'), flags.contains('p'));
    Some(LogLine { at_us, seq, service: service.clone(), ordinal, stream, cut, partial, text })
}

/// The files of a service with their numbers, oldest first.
pub(super) fn files(folder: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort();
    files
}

/// The number of the last whole line in the newest file that has one; 0 if there is none.
pub(super) fn last_seq(folder: &Path) -> u64 {
    files(folder).iter().rev().find_map(|(_, path)| last_seq_of(path)).unwrap_or(0)
}

fn last_seq_of(path: &Path) -> Option<u64> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail).into_owned();
    let service = ServiceName::new("x").ok()?;
    tail.lines().rev().find_map(|line| decode(&service, line)).map(|line| line.seq)
}
