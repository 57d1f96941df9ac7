//! What a person sees: colour where it is wanted, tables that fit, a live block while things start.
//!
//! A terminal gets colour and movement; a pipe gets plain text, line by line; `--json` gets JSON and nothing else on
//! standard output. All writing goes through [`Out`], which treats a closed pipe as the reader's wish to stop.

mod live;
mod style;
mod table;

use std::io::{self, IsTerminal, Write};

pub(crate) use live::Live;
pub(crate) use style::{Paint, Style};
pub(crate) use table::Table;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// If standard output is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Standard output or standard error, and what it can show.
#[derive(Debug)]
pub(crate) struct Out {
    to: Target,
    /// Whether escape sequences for colour may be written.
    pub(crate) paint: Paint,
    /// Whether lines may be drawn over: a terminal that moves.
    pub(crate) live: bool,
}

#[derive(Debug)]
enum Target {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
}

impl Out {
    /// Standard output.
    pub(crate) fn stdout(choice: ColorChoice) -> Self {
        let out = io::stdout();
        let (paint, live) = ability(choice, out.is_terminal());
        Self { to: Target::Stdout(out), paint, live }
    }

    /// Standard error.
    pub(crate) fn stderr(choice: ColorChoice) -> Self {
        let out = io::stderr();
        let (paint, live) = ability(choice, out.is_terminal());
        Self { to: Target::Stderr(out), paint, live }
    }

    /// Writes text as it is. A closed pipe ends the process quietly, as `head` expects of what it reads.
    pub(crate) fn write(&self, text: &str) {
        let written = match &self.to {
            Target::Stdout(out) => {
                let mut lock = out.lock();
                lock.write_all(text.as_bytes()).and_then(|()| lock.flush())
            }
            Target::Stderr(out) => out.lock().write_all(text.as_bytes()),
        };
        if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            std::process::exit(crate::exit::BROKEN_PIPE);
        }
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// The terminal's width in columns; 100 where there is none.
    pub(crate) fn columns(&self) -> usize {
        match self.size() {
            Some(size) if size.ws_col >= 20 => usize::from(size.ws_col),
            _ => std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(100),
        }
    }

    /// The terminal's height in rows; 24 where there is none.
    pub(crate) fn rows(&self) -> usize {
        self.size().map(|size| usize::from(size.ws_row)).filter(|rows| *rows >= 4).unwrap_or(24)
    }

    fn size(&self) -> Option<rustix::termios::Winsize> {
        match &self.to {
            Target::Stdout(out) => rustix::termios::tcgetwinsize(out).ok(),
            Target::Stderr(out) => rustix::termios::tcgetwinsize(out).ok(),
        }
    }
}

fn ability(choice: ColorChoice, terminal: bool) -> (Paint, bool) {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let paint = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !dumb && !no_color,
    };
    (Paint(paint), terminal && !dumb)
}

/// A duration as people say it: `850ms`, `4.2s`, `3m 05s`, `2h 10m`, `5d 3h`.
pub(crate) fn duration(time: std::time::Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 => format!("{}ms", time.as_millis()),
        1..=59 => format!("{:.1}s", time.as_secs_f64()),
        60..=3_599 => format!("{}m {:02}s", secs / 60, secs % 60),
        3_600..=86_399 => format!("{}h {:02}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// A moment, given in milliseconds since 1970, by the local clock: `2026-11-23 14:03:22.125`.
pub(crate) fn clock(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// A size as people say it, in powers of 1024: `312 B`, `4.0 KiB`, `1.5 GiB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Text of a service, made safe to show: control characters other than tab become visible, so that what a service
/// prints can neither move the cursor nor set the window's title. Colour sequences (SGR) stay if `keep_color`.
pub(crate) fn safe(text: &str, keep_color: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        if let Some(length) = sgr_length(tail) {
            let (sequence, after) = tail.split_at(length);
            if keep_color {
                out.push_str(sequence);
            }
            rest = after;
            continue;
        }
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            out.extend(c.escape_default());
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The length of the colour sequence (ECMA-48 SGR: `ESC [ … m`) that `text` begins with.
fn sgr_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner.find(|c: char| !(c.is_ascii_digit() || matches!(c, ';' | ':')))?;
    inner.as_bytes().get(end).filter(|byte| **byte == b'm').map(|_| end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_millis(850)), "850ms");
        assert_eq!(duration(Duration::from_millis(4_200)), "4.2s");
        assert_eq!(duration(Duration::from_secs(185)), "3m 05s");
        assert_eq!(duration(Duration::from_secs(7_800)), "2h 10m");
        assert_eq!(duration(Duration::from_secs(443_000)), "5d 3h");
        assert_eq!(bytes(312), "312 B");
        assert_eq!(bytes(4_096), "4.0 KiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }

    #[test]
    fn what_a_service_prints_cannot_drive_the_terminal() {
        assert_eq!(safe("plain\ttext é", false), "plain\ttext é");
        assert_eq!(safe("\x1b[31mred\x1b[0m", false), "red");
        assert_eq!(safe("\x1b[31mred\x1b[0m", true), "\x1b[31mred\x1b[0m");
        assert_eq!(safe("\x1b]0;title\x07", true), "\\u{1b}]0;title\\u{7}");
        assert_eq!(safe("a\rb\x1b[2J", true), "a\\rb\\u{1b}[2J");
        assert_eq!(safe("\x1b[", true), "\\u{1b}[");
    }
}
