//! Problems in the files of a user: all of them at once, each with its place and a hint.
//!
//! A [`Problem`] knows its file, line and column; [`Problems`] sorts them, bounds their number and shows them as
//! text ([`Problems::render`]) or JSON ([`Problems::to_json`]). Nothing here ever fails.

mod render;
pub mod suggest;

use tutti_core::code::{self, Code};
use tutti_core::limits::MODEL_PROBLEMS;
use tutti_core::{Classify, Kind, Origin, Retry};

use crate::source::{Sources, Span};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The application cannot be loaded.
    Error,
    /// It can be loaded, and is probably not what was meant.
    Warning,
    /// Something that is said in the file and that Tutti does not do.
    Notice,
}

impl Severity {
    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The stable code, with a page.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` when no file is to blame.
    pub span: Option<Span>,
    /// Other places that belong to it, each with a few words.
    pub related: Vec<(Span, String)>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), span: None, related: Vec::new(), hint: None }
    }

    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A notice.
    pub fn notice(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, code, message)
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what to do, if anything is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }
}

/// A bounded collection of problems with the text they speak of.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    omitted: usize,
    sources: Sources,
}

impl Problems {
    /// None yet.
    pub fn new(sources: Sources) -> Self {
        Self { list: Vec::new(), omitted: 0, sources }
    }

    /// Adds one, unless it is there already or [`MODEL_PROBLEMS`] are; what is left out is counted.
    pub fn push(&mut self, problem: Problem) {
        if self.list.len() >= MODEL_PROBLEMS {
            self.omitted += 1;
        } else if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// The problems in the order of files, lines and columns; those without a place come first.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many were found, shown or not.
    pub fn len(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// None were found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are not kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The files that they speak of.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort_by(|a, b| (a.span, a.severity, &a.message).cmp(&(b.span, b.severity, &b.message)));
    }

    /// The text for people, ending with a newline; `colour` adds ANSI colours.
    pub fn render(&self, colour: bool) -> String {
        render::text(self, colour)
    }

    /// The problems as a JSON list, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        render::json(self)
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}

impl Classify for Problems {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn origin(&self) -> Origin {
        Origin::Client
    }

    fn retry(&self) -> Retry {
        Retry::Safe
    }

    fn code(&self) -> Option<Code> {
        match self.list.as_slice() {
            [only] => Some(only.code),
            _ => Some(code::BAD_MODEL),
        }
    }
}

/// Collects problems while files are read: errors apart from what does not stop the load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The files.
    pub sources: Sources,
    errors: Vec<Problem>,
    advice: Vec<Problem>,
    omitted: usize,
}

impl Report {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Adds a problem.
    pub(crate) fn add(&mut self, problem: Problem) {
        let list = if problem.severity == Severity::Error { &mut self.errors } else { &mut self.advice };
        if list.len() >= MODEL_PROBLEMS {
            // No longer compared with what is there: a hostile file has many.
            self.omitted += 1;
        } else if !list.contains(&problem) {
            list.push(problem);
        }
    }

    /// Whether further errors are only counted: no trouble need be taken with their wording.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= MODEL_PROBLEMS
    }

    /// An error at a place; returns nothing, so that it can end a match arm.
    pub(crate) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.add(Problem::error(code, message).at(span));
    }

    /// Whether the load has failed.
    pub(crate) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// Whether a file could not be read to its end, so that what is not known may stand there.
    pub(crate) fn is_partial(&self) -> bool {
        self.errors.iter().any(|error| matches!(error.code, code::BAD_YAML | code::UNREADABLE_FILE))
    }

    /// Everything, when the load has failed.
    pub(crate) fn into_problems(self) -> Problems {
        let mut problems = Problems::new(self.sources);
        problems.list = self.errors;
        problems.omitted = self.omitted;
        problems.sort();
        problems
    }

    /// Warnings and notices, when the load has succeeded.
    pub(crate) fn into_notices(self) -> Problems {
        let mut problems = Problems::new(self.sources);
        problems.list = self.advice;
        problems.omitted = self.omitted;
        problems.sort();
        problems
    }
}

#[cfg(test)]
mod tests;
