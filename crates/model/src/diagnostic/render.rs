//! Problems as text and as JSON.
//!
//! ```text
//! compose.yaml:3:5: error[TUT0105]: `port` is not a key of a service
//!   3 |     port: 80
//!     |     ^^^^
//!   = hint: did you mean `ports`?
//! ```
//! Control characters of the file are shown escaped: a hostile file cannot drive the reader's terminal.

use std::fmt::Write as _;

use serde_json::json;

use super::{Problem, Problems, Severity};
use crate::source::{Sources, Span};

/// Longest part of a source line that is shown, in characters.
const WIDTH: usize = 120;

struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

pub(super) fn text(problems: &Problems, colour: bool) -> String {
    let paint = Paint { on: colour };
    let mut out = String::new();
    for problem in &problems.list {
        one(&mut out, problem, &problems.sources, &paint);
    }
    if problems.omitted > 0 {
        let _ = writeln!(out, "… and {} more", problems.omitted);
    }
    out
}

fn one(out: &mut String, problem: &Problem, sources: &Sources, paint: &Paint) {
    let colour = match problem.severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Notice => "1;36",
    };
    let label = paint.with(colour, &format!("{}[{}]", problem.severity.as_str(), problem.code));
    let at = problem.span.map_or(String::new(), |span| format!("{}: ", place(span, sources)));
    let _ = writeln!(out, "{at}{label}: {}", paint.with("1", &visible(&problem.message)));
    if let Some(span) = problem.span {
        excerpt(out, span, sources, paint, colour);
    }
    for (span, what) in &problem.related {
        let _ = writeln!(out, "  {}: {}", place(*span, sources), visible(what));
        excerpt(out, *span, sources, paint, "1;34");
    }
    if let Some(hint) = &problem.hint {
        let _ = writeln!(out, "  = {}: {}", paint.with("1;32", "hint"), visible(hint));
    }
}

fn place(span: Span, sources: &Sources) -> String {
    let file = visible(sources.shown(span.file));
    if span.line == 0 { file } else { format!("{file}:{}:{}", span.line, span.column) }
}

fn excerpt(out: &mut String, span: Span, sources: &Sources, paint: &Paint, colour: &str) {
    let Some(line) = sources.line(span.file, span.line) else { return };
    let column = usize::try_from(span.column).unwrap_or(1).max(1);
    let length = usize::try_from(span.length).unwrap_or(1).max(1);
    // A long line is cut to a window around the place.
    let from = if column > WIDTH - 20 { column - WIDTH / 2 } else { 0 };
    let (mut shown, mut before, mut under) = (String::new(), 0, 0);
    for (at, c) in line.chars().enumerate().skip(from).take(WIDTH) {
        let piece = escape(c);
        let width = piece.chars().count();
        if at + 1 < column {
            before += width;
        } else if at + 1 < column + length {
            under += width;
        }
        shown.push_str(&piece);
    }
    let number = span.line.to_string();
    let gap = " ".repeat(number.len());
    let start = if from > 0 { "…" } else { "" };
    let end = if line.chars().nth(from + WIDTH).is_some() { "…" } else { "" };
    let bar = paint.with("1;34", "|");
    let _ = writeln!(out, "  {} {bar} {start}{}{end}", paint.with("1;34", &number), shown.trim_end());
    let caret = paint.with(colour, &"^".repeat(under.max(1)));
    let _ = writeln!(out, "  {gap} {bar} {}{caret}", " ".repeat(before + start.chars().count()));
}

/// One character as it is shown: itself, or escaped when it would move the cursor or hide text.
fn escape(c: char) -> String {
    match c {
        '\t' => " ".to_owned(),
        c if c.is_control() || is_hidden(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

/// Characters that change the direction or the visibility of what is around them.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn visible(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || is_hidden(c)) {
        text.chars().map(|c| if c == '\n' { "\\n".to_owned() } else { escape(c) }).collect()
    } else {
        text.to_owned()
    }
}

pub(super) fn json(problems: &Problems) -> serde_json::Value {
    let spot = |span: &Span| {
        json!({
            "file": problems.sources.path(span.file).display().to_string(),
            "line": span.line, "column": span.column, "length": span.length,
        })
    };
    let list: Vec<_> = problems
        .list
        .iter()
        .map(|problem| {
            json!({
                "severity": problem.severity.as_str(),
                "code": problem.code.to_string(),
                "message": problem.message,
                "at": problem.span.as_ref().map(spot),
                "related": problem.related.iter().map(|(span, what)| json!({"at": spot(span), "message": what}))
                    .collect::<Vec<_>>(),
                "hint": problem.hint,
            })
        })
        .collect();
    json!({ "problems": list, "omitted": problems.omitted })
}
