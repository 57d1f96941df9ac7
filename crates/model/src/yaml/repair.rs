//! Indents what libyaml accepts and YAML 1.2 does not: lines of a flow collection or quoted scalar that begin no deeper
//! than the key they belong to.
//!
//! ```yaml
//! test: [
//!   "CMD", "true"
//! ]
//! ```
//! The last line would have to be indented. Compose files are full of it, and what they mean is plain: within brackets
//! and quotes the white space at the beginning of a line has no meaning. Used only when a file does not parse otherwise.

use std::collections::BTreeMap;

/// Lines that were indented, by number from 1, with how many spaces were added.
pub(super) type Shifts = BTreeMap<u32, u32>;

/// Most lines that are indented; a file that needs more was not written by hand.
const LINES: usize = 10_000;

/// Where the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between nodes, in block style.
    Block,
    /// In brackets, so many deep.
    Flow(usize),
    /// In quotes, inside of so many brackets.
    Quoted(char, usize),
    /// In a block scalar, whose lines are deeper than this column.
    Literal(usize),
}

/// The text with such lines indented, and which they were. `None`: there are none.
pub(super) fn indent(text: &str) -> Option<(String, Shifts)> {
    let mut out = String::with_capacity(text.len() + 64);
    let mut shifts = Shifts::new();
    let mut state = State::Block;
    // The column below which a line of brackets or quotes lies too far to the left.
    let mut least = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let depth = line.len() - line.trim_start_matches(' ').len();
        let blank = line.trim().is_empty();
        if let State::Literal(parent) = state
            && !blank
            && depth <= parent
        {
            state = State::Block;
        }
        match state {
            State::Flow(_) | State::Quoted(..) if !blank && depth < least => {
                if shifts.len() >= LINES {
                    return None;
                }
                let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
                shifts.insert(number, u32::try_from(least - depth).unwrap_or(0));
                out.push_str(&" ".repeat(least - depth));
            }
            _ => {}
        }
        out.push_str(line);
        state = match state {
            State::Literal(_) => state,
            State::Flow(open) => inside(line, open),
            State::Quoted(quote, open) => match after_quote(line, quote) {
                Some(rest) if open > 0 => inside(rest, open),
                Some(_) => State::Block,
                None => state,
            },
            State::Block => {
                let (column, value) = value_of(line);
                least = column + 1;
                begin(value, column)
            }
        };
    }
    (!shifts.is_empty()).then_some((out, shifts))
}

/// The column at which the last key or item of a block line begins, and what stands for its value.
fn value_of(line: &str) -> (usize, &str) {
    let mut rest = line.trim_start_matches(' ');
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start_matches(' ');
    }
    let column = line.len() - rest.len();
    let after_key = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            rest.get(1..).and_then(|inside| after_quote(inside, quote)).unwrap_or("").trim_start_matches(' ')
        }
        Some('[' | '{' | '#') => return (column, rest),
        _ => rest.find(": ").and_then(|at| rest.get(at..)).unwrap_or(""),
    };
    match after_key.strip_prefix(": ") {
        Some(value) => (column, value.trim_start_matches(' ')),
        None => (column, rest),
    }
}

/// The state behind the beginning of a value.
fn begin(value: &str, column: usize) -> State {
    let mut value = value;
    // Anchors and tags come before it.
    while value.starts_with(['&', '!']) {
        value = value.split_once(' ').map_or("", |(_, rest)| rest).trim_start_matches(' ');
    }
    match value.chars().next() {
        Some('[' | '{') => inside(value, 0),
        Some('|' | '>') => State::Literal(column),
        Some(quote @ ('"' | '\'')) => match value.get(1..).and_then(|inside| after_quote(inside, quote)) {
            Some(_) => State::Block,
            None => State::Quoted(quote, 0),
        },
        _ => State::Block,
    }
}

/// The state at the end of a line that lies inside of `open` brackets.
fn inside(line: &str, open: usize) -> State {
    let mut open = open;
    let mut rest = line;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return State::Block;
                }
            }
            // A quote in the middle of a word is part of it.
            '"' | '\'' if matches!(before, ' ' | '\t' | ',' | '[' | '{' | ':') => {
                match after_quote(rest, c) {
                    Some(after) => rest = after,
                    None => return State::Quoted(c, open),
                }
            }
            '#' if matches!(before, ' ' | '\t') => break,
            _ => {}
        }
        before = c;
    }
    State::Flow(open)
}

/// What follows the closing quote; `None` if it is not in this line.
fn after_quote(text: &str, quote: char) -> Option<&str> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && chars.next_if(|(_, next)| *next == '\'').is_some() {
                continue;
            }
            return text.get(at + 1..);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::indent;

    #[test]
    fn brackets_and_quotes_are_indented_and_nothing_else() {
        let text = "a:\n  b: [\n    1, # ]\n    \"]\n\"\n  ]\n  c: |\n    [\n   x\n  d: {e: 'f\n'}\n  e: x[\n- f: &a [\n]\n";
        let (indented, shifts) = indent(text).unwrap();
        assert_eq!(
            indented,
            "a:\n  b: [\n    1, # ]\n    \"]\n   \"\n   ]\n  c: |\n    [\n   x\n  d: {e: 'f\n   '}\n  e: x[\n- f: &a [\n   ]\n"
        );
        assert_eq!(shifts.into_iter().collect::<Vec<_>>(), [(5, 3), (6, 1), (11, 3), (14, 3)]);
    }

    #[test]
    fn what_needs_nothing_stays() {
        assert!(indent("a: [1,\n  2]\nb: |\n  [\nc: d\n").is_none());
    }
}
