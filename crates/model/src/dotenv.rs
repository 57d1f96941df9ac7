//! Files of environment variables, `.env` and `env_file`, by Compose's rules.
//!
//! `KEY=value` or `KEY: value`, one to a line; `export` before a key; `#` begins a comment at the beginning of a line
//! and, after a space, behind an unquoted value; `'…'` is taken as it is, `"…"` knows `\n`, `\t`, `\$` and the like;
//! both may go over several lines. Unquoted and double-quoted values are interpolated. A key alone is taken from the
//! environment.

use std::collections::BTreeMap;

use crate::interpolate::{Fault, FaultKind, interpolate};

/// Why a file could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DotenvError {
    /// The line from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// Looks a variable up outside the file.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads `text` into `out`, in which later keys replace earlier ones. Variables come from `lookup`, else from `out`.
/// The values have at most `limit` bytes in all.
pub fn parse(
    text: &str,
    lookup: Lookup<'_>,
    out: &mut BTreeMap<String, String>,
    limit: usize,
) -> Result<(), DotenvError> {
    let mut reader = Reader { rest: text, line: 1, lookup, left: limit };
    while reader.skip_blank() {
        reader.statement(out)?;
    }
    Ok(())
}

/// Reads the `raw` format: `KEY=value` to the end of the line, nothing is quoted and nothing interpolated.
pub fn parse_raw(
    text: &str,
    lookup: Lookup<'_>,
    out: &mut BTreeMap<String, String>,
) -> Result<(), DotenvError> {
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line, lookup(line.trim_end())),
        };
        if key.trim_end().is_empty() || key.contains(char::is_whitespace) {
            let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
            return Err(DotenvError { line, message: format!("`{key}` is not the name of a variable") });
        }
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
    lookup: Lookup<'a>,
    left: usize,
}

/// White space within a line.
fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

impl<'a> Reader<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, DotenvError> {
        Err(DotenvError { line: self.line, message: message.into() })
    }

    /// Takes `length` bytes off the rest and counts the lines in them.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        taken
    }

    /// Goes to the next statement; `false` at the end.
    fn skip_blank(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let comment = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(comment);
        }
    }

    fn statement(&mut self, out: &mut BTreeMap<String, String>) -> Result<(), DotenvError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.rest = after.trim_start_matches(is_blank);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let key = self.rest.get(..end).unwrap_or("").trim_end();
        let allowed =
            |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']') || is_blank(c);
        if let Some(bad) = key.chars().find(|c| !allowed(*c)) {
            return self.error(format!("{bad:?} may not stand in the name of a variable"));
        }
        if key.contains(char::is_whitespace) {
            return self.error(format!("the name `{key}` contains a space"));
        }
        let assigned = self.rest.get(end..).is_some_and(|rest| rest.starts_with(['=', ':']));
        if key.is_empty() {
            return self.error("the name of the variable is missing");
        }
        if !assigned {
            self.take(end);
            if let Some(value) = (self.lookup)(key) {
                out.insert(key.to_owned(), value);
            }
            return Ok(());
        }
        self.take(end + 1);
        let blank = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
        self.take(blank);
        let value = self.value(out)?;
        match self.left.checked_sub(value.len()) {
            Some(left) => self.left = left,
            None => return self.error("the values are larger than Tutti reads"),
        }
        out.insert(key.to_owned(), value);
        Ok(())
    }

    fn value(&mut self, out: &BTreeMap<String, String>) -> Result<String, DotenvError> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return self.quoted(quote, out);
        }
        let line = self.line;
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = self.take(end);
        let text = text.split(" #").next().unwrap_or("").trim_end();
        self.fill(text, line, out)
    }

    fn quoted(&mut self, quote: char, out: &BTreeMap<String, String>) -> Result<String, DotenvError> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.take(at + 1);
                return if quote == '"' { self.fill(&unescape(&text), line, out) } else { Ok(text) };
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, next)) if next == quote => text.push(next),
                Some((_, next)) => text.extend(['\\', next]),
                None => break,
            }
        }
        self.error(format!("the quote {quote} is not closed"))
    }

    fn fill(&self, text: &str, line: u32, out: &BTreeMap<String, String>) -> Result<String, DotenvError> {
        let lookup = |name: &str| (self.lookup)(name).or_else(|| out.get(name).cloned());
        interpolate(text, &lookup, &mut |_| {}, self.left).map_err(|fault| {
            let Fault { piece, kind } = fault;
            let message = match kind {
                FaultKind::Required { name, message } => {
                    format!("the variable `{name}` has to be set: {message}")
                }
                FaultKind::Large | FaultKind::Deep => "the values are larger than Tutti reads".to_owned(),
                FaultKind::Open | FaultKind::Form => {
                    format!("`{piece}` is not a variable; write `$$` for a dollar")
                }
            };
            DotenvError { line, message }
        })
    }
}

/// The escapes of double quotes. `\$` becomes `$$`, which interpolation turns into a dollar.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some('0') => {
                let mut digits = String::new();
                while let Some(digit) = chars.next_if(|c| digits.len() < 3 && c.is_ascii_digit()) {
                    digits.push(digit);
                }
                match u32::from_str_radix(&digits, 8)
                    .ok()
                    .filter(|_| digits.len() == 3)
                    .and_then(char::from_u32)
                {
                    Some(c) if u32::from(c) < 256 => out.push(c),
                    _ => {
                        out.push_str("\\0");
                        out.push_str(&digits);
                    }
                }
            }
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, DotenvError> {
        let mut out = BTreeMap::new();
        let lookup = |name: &str| (name == "HOME").then(|| "/h".to_owned());
        parse(text, &lookup, &mut out, 1 << 16)?;
        Ok(out.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn composes_rules() {
        for (text, expected) in [
            ("A=1\nB=2", "A=1|B=2"),
            ("A = 1 # one\n# B=2\n\n  C=3", "A=1|C=3"),
            ("A=a#b", "A=a#b"),
            ("export A=1\nexport\tB=2", "A=1|B=2"),
            ("A: 1", "A=1"),
            ("A='$HOME # x'\nB=\"$HOME # x\"", "A=$HOME # x|B=/h # x"),
            ("A=\"a\\nb\\$c\\t\\\"\"", "A=a\nb$c\t\""),
            ("A='it\\'s'\nB='a\\nb'", "A=it's|B=a\\nb"),
            ("A=\"one\ntwo\"\nB=2", "A=one\ntwo|B=2"),
            ("A=1\nB=${A}2\nC=${D:-$B}", "A=1|B=12|C=12"),
            ("HOME\nNOPE\nA=1", "A=1|HOME=/h"),
            ("HOME", "HOME=/h"),
            ("A=\r\nB=2\r\n", "A=|B=2"),
            ("A=$$x", "A=$x"),
            ("A.b-c[0]=1", "A.b-c[0]=1"),
            ("A=\"x\" # comment\nB=2", "A=x|B=2"),
            ("A=", "A="),
            ("A=\"\\0101\"", "A=A"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("A=1\nB C=2", 2),
            ("A=1\n\nB=\"x\ny", 3),
            ("A=${", 1),
            ("A!=1", 1),
            ("=1", 1),
            ("A=1\nB=${X:?no}", 2),
        ] {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn doubling_is_bounded() {
        let mut text = "A0=xxxxxxxxxx\n".to_owned();
        for n in 1..40 {
            text.push_str(&format!("A{n}=$A{0}$A{0}\n", n - 1));
        }
        assert!(read(&text).is_err());
    }

    #[test]
    fn raw_is_raw() {
        let mut out = BTreeMap::new();
        parse_raw("# c\nA='$B' # x\n\nC", &|_| None, &mut out).unwrap();
        assert_eq!(out.into_iter().collect::<Vec<_>>(), [("A".to_owned(), "'$B' # x".to_owned())]);
        assert!(parse_raw("A B=1", &|_| None, &mut BTreeMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[A-C=: #'\"\\\\$\\{\\}\n\r\\PC]*") {
            let _ = read(&text);
        }
    }
}
