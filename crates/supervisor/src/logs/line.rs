//! Cuts a stream of bytes into lines.

use serde::{Deserialize, Serialize};
use tutti_core::limits::LOG_LINE_BYTES;

/// A line as it was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) text: String,
    /// Its end is missing, because it is longer than the limit.
    pub(crate) cut: bool,
    /// It has not ended yet.
    pub(crate) partial: bool,
}

/// Holds the line that has not ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Splitter {
    open: Vec<u8>,
    /// The rest of the line is thrown away.
    skipping: bool,
}

impl Splitter {
    /// Adds bytes and takes out the lines that ended.
    pub(crate) fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<Cut>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.extend(line);
            bytes = rest.get(1..).unwrap_or_default();
            self.end(lines);
        }
        self.extend(bytes);
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty() && !self.skipping
    }

    /// Takes out what there is of the open line; what comes later continues it.
    pub(crate) fn flush(&mut self, lines: &mut Vec<Cut>) {
        // A character that has not come whole waits for its rest, unless it never can.
        let whole = match std::str::from_utf8(&self.open) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
            _ => self.open.len(),
        };
        if self.is_open() {
            let rest = self.open.split_off(whole);
            lines.push(Cut { text: text(&self.open), cut: false, partial: true });
            self.open = rest;
        }
    }

    /// Takes out what is left at the end of the stream.
    pub(crate) fn finish(&mut self, lines: &mut Vec<Cut>) {
        if !self.open.is_empty() {
            self.end(lines);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LOG_LINE_BYTES.saturating_sub(self.open.len());
        match bytes.get(..room) {
            // The limit itself may be followed by a line end that comes later.
            Some(fits) if bytes.len() > room => {
                self.open.extend_from_slice(fits);
                self.skipping = true;
            }
            _ => self.open.extend_from_slice(bytes),
        }
    }

    fn end(&mut self, lines: &mut Vec<Cut>) {
        lines.push(Cut { text: text(&self.open), cut: self.skipping, partial: false });
        self.open.clear();
        self.skipping = false;
    }
}

/// A carriage return begins the line anew, as on a terminal: what was last to be seen is kept.
fn text(bytes: &[u8]) -> String {
    let mut end = bytes.len();
    while end > 0 && bytes.get(end - 1) == Some(&b'\r') {
        end -= 1;
    }
    let line = bytes.get(..end).unwrap_or_default();
    let begin = line.iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
    String::from_utf8_lossy(line.get(begin..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(parts: &[&[u8]]) -> Vec<Cut> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for part in parts {
            splitter.push(part, &mut lines);
        }
        splitter.finish(&mut lines);
        lines
    }

    fn texts(lines: &[Cut]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn line_ends_of_both_kinds_and_none() {
        assert_eq!(texts(&split(&[b"a\r\nb\n\nc"])), ["a", "b", "", "c"]);
        assert!(split(&[b""]).is_empty());
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        assert_eq!(texts(&split(&[b"10%\r20%\r100%\n"])), ["100%"]);
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_one_more_is_cut() {
        let exact = vec![b'x'; LOG_LINE_BYTES];
        let lines = split(&[&exact, b"\n"]);
        assert_eq!((lines.len(), lines[0].cut, lines[0].text.len()), (1, false, LOG_LINE_BYTES));
        let lines = split(&[&exact, b"y\nz\n"]);
        assert_eq!((lines.len(), lines[0].cut, lines[0].text.len()), (2, true, LOG_LINE_BYTES));
        assert_eq!(lines[1].text, "z");
    }

    #[test]
    fn a_flush_does_not_tear_a_character() {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        splitter.push("né".as_bytes().get(..2).unwrap(), &mut lines);
        splitter.flush(&mut lines);
        splitter.push(&"né".as_bytes()[2..], &mut lines);
        splitter.push(b"\n", &mut lines);
        assert_eq!(texts(&lines), ["n", "é"]);
        assert!(lines[0].partial && !lines[1].partial);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_input_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            at in 0_usize..200,
        ) {
            let at = at.min(bytes.len());
            prop_assert_eq!(split(&[&bytes]), split(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
