//! From the events of the YAML parser to a tree: iterative, bounded, with every duplicate and bad key reported.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use tutti_core::code;
use tutti_core::limits::{MODEL_DEPTH, MODEL_PROBLEMS};

use super::repair::{self, Shifts};
use super::{Entry, Map, Mark, Node, Value, resolve};
use crate::budget::{self, Budget};
use crate::diagnostic::{Problem, Report};
use crate::source::{FileId, Span};

/// Parses all documents of a file. Problems are reported; what could not be understood is left out. `None` when the
/// text is no YAML at all or too large when unfolded.
pub(crate) fn parse(text: &str, file: FileId, budget: &mut Budget, report: &mut Report) -> Option<Vec<Node>> {
    if let Some(problem) = unprintable(text, file) {
        report.add(problem);
        return None;
    }
    let mut builder = Builder::new(file, budget);
    let mut result = builder.run(text);
    if matches!(&result, Err(problem) if problem.message.contains("invalid indentation"))
        && let Some((indented, shifts)) = repair::indent(text)
    {
        let spent = builder.left();
        let mut again = Builder { shifts, ..Builder::new(file, spent) };
        match again.run(&indented) {
            Ok(()) => result = Ok(()),
            // What was wrong at first is what the reader sees in the file; a limit is a limit either way.
            Err(problem) if problem.code == code::MODEL_LIMIT => result = Err(problem),
            Err(_) => {}
        }
        builder = again;
    }
    builder.found.into_iter().for_each(|problem| report.add(problem));
    match result {
        Ok(()) => Some(builder.documents),
        Err(problem) => {
            report.add(problem);
            None
        }
    }
}

/// YAML 1.2 section 5.1: characters that may not stand in a stream at all.
fn unprintable(text: &str, file: FileId) -> Option<Problem> {
    let bad = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{feff}')
    };
    let (at, c) = text.char_indices().find(|(_, c)| bad(*c))?;
    let before = text.get(..at)?;
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    let span = Span { file, line: small(line), column: small(column), length: 1 };
    let message = format!("the character U+{:04X} may not stand in a YAML file", u32::from(c));
    Some(Problem::error(code::BAD_YAML, message).at(span))
}

fn broken(error: &ScanError, file: FileId) -> Problem {
    let mark = error.marker();
    let span = Span { file, line: small(mark.line()), column: small(mark.col() + 1), length: 1 };
    let info = error.info();
    if info.contains("recursion limit") {
        // The scanner reads ahead of the tree; its own limit lies above ours.
        return Problem::error(code::MODEL_LIMIT, format!("nested deeper than {MODEL_DEPTH} levels"))
            .at(span);
    }
    let hint = if info.contains("tab") || info.contains("indentation") {
        Some("indent with spaces, and every entry of a mapping equally far".to_owned())
    } else if info.contains("mapping values are not allowed") || info.contains("':'") {
        Some("a value that contains `: ` has to be quoted".to_owned())
    } else if info.contains("anchor") {
        Some("an alias `*name` needs an anchor `&name` before it, in the same document".to_owned())
    } else {
        None
    };
    Problem::error(code::BAD_YAML, format!("this is not valid YAML: {info}")).at(span).maybe_hint(hint)
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A collection that is being read.
struct Frame {
    span: Span,
    mark: Mark,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { map: Map, key: Option<Key>, merges: Vec<Node> },
}

enum Key {
    /// An entry's name and place.
    Name(String, Span),
    /// `<<`.
    Merge,
    /// Reported; its value is read and forgotten.
    Bad,
}

struct Builder<'a> {
    file: FileId,
    budget: &'a mut Budget,
    /// What is wrong without making the rest useless.
    found: Vec<Problem>,
    /// Lines of the text that are not where they are in the file.
    shifts: Shifts,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    documents: Vec<Node>,
}

type Step = Result<(), Problem>;

impl<'a> Builder<'a> {
    fn new(file: FileId, budget: &'a mut Budget) -> Self {
        Self {
            file,
            budget,
            found: Vec::new(),
            shifts: Shifts::new(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: Vec::new(),
        }
    }

    /// The budget, for whoever reads the text again.
    fn left(self) -> &'a mut Budget {
        self.budget
    }

    fn run(&mut self, text: &str) -> Step {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => return Err(broken(&error, self.file)),
            }
        }
        Ok(())
    }

    /// Keeps a problem, if it is among the first.
    fn report(&mut self, problem: Problem) {
        if self.found.len() < MODEL_PROBLEMS * 2 {
            self.found.push(problem);
        }
    }

    fn event(&mut self, event: Event<'_>, at: saphyr_parser::Span) -> Step {
        let one_line = at.start.line() == at.end.line();
        let length = if one_line { at.end.col().saturating_sub(at.start.col()) } else { 0 };
        let line = small(at.start.line());
        let shift = self.shifts.get(&line).copied().unwrap_or(0);
        let span = Span {
            file: self.file,
            line,
            column: small(at.start.col() + 1).saturating_sub(shift).max(1),
            length: small(length),
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), span),
            Event::SequenceStart(anchor, tag) => {
                self.open(Kind::List(Vec::new()), anchor, tag.as_deref(), span)
            }
            Event::MappingStart(anchor, tag) => {
                let kind = Kind::Map { map: Map::new(), key: None, merges: Vec::new() };
                self.open(kind, anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn spend(&mut self, nodes: usize, bytes: usize, span: Span) -> Step {
        self.budget
            .take(nodes, bytes)
            .map_err(|_| Problem::error(code::MODEL_LIMIT, budget::message()).at(span))
    }

    fn open(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, span: Span) -> Step {
        self.spend(1, 0, span)?;
        if self.stack.len() >= MODEL_DEPTH {
            let message = format!("nested deeper than {MODEL_DEPTH} levels");
            return Err(Problem::error(code::MODEL_LIMIT, message).at(span));
        }
        let span = Span { length: 0, ..span };
        let mark = self.mark(tag, span);
        self.stack.push(Frame { span, mark, anchor, kind });
        Ok(())
    }

    fn close(&mut self) -> Step {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.kind {
            Kind::List(list) => Value::List(list),
            Kind::Map { mut map, merges, .. } => {
                for source in merges {
                    self.merge(&mut map, source)?;
                }
                Value::Map(map)
            }
        };
        self.finish(Node { span: frame.span, value, mark: frame.mark }, frame.anchor)
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Step {
        self.spend(1, text.len(), span)?;
        let plain = style == ScalarStyle::Plain;
        if self.wants_key() {
            self.key(&text, plain && tag.is_none(), span);
            if anchor != 0 {
                self.anchors.insert(anchor, Node::text(span, text.into_owned()));
            }
            return Ok(());
        }
        let mark = self.mark(tag, span);
        let value = match tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str()) {
            Some("str") => Value::String(text.into_owned()),
            Some("null") => Value::Null,
            Some("int" | "float" | "bool") => resolve(&text),
            _ if plain => resolve(&text),
            _ => Value::String(text.into_owned()),
        };
        self.finish(Node { span, value, mark }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step {
        let Some(node) = self.anchors.get(&anchor) else {
            let message = "an alias may not stand inside of what it repeats";
            return Err(Problem::error(code::CYCLE, message).at(span));
        };
        let (nodes, bytes) = budget::weight(node);
        let node = node.clone();
        self.spend(nodes, bytes, span)?;
        if self.wants_key() {
            match node.value {
                Value::String(text) => self.key(&text, false, span),
                _ => self.bad_key(span, node.kind()),
            }
            return Ok(());
        }
        // The copy may lie deeper than the original.
        if self.stack.len() + depth(&node) > MODEL_DEPTH {
            let message = format!("nested deeper than {MODEL_DEPTH} levels");
            return Err(Problem::error(code::MODEL_LIMIT, message).at(span));
        }
        self.finish(node, 0)
    }

    /// Whether the next node is a key.
    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: Kind::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, text: &str, plain: bool, span: Span) {
        let Some(Frame { kind: Kind::Map { map, key, .. }, .. }) = self.stack.last_mut() else { return };
        if plain && text == "<<" {
            *key = Some(Key::Merge);
            return;
        }
        let kind = if plain { resolve(text) } else { Value::String(String::new()) };
        if !matches!(kind, Value::String(_)) {
            let kind = Node::new(span, kind).kind();
            return self.bad_key(span, kind);
        }
        if let Some(first) = map.get(text) {
            let problem = Problem::error(code::CONFLICT, format!("the key `{text}` is there twice"))
                .at(span)
                .also(first.key, "it is here first");
            *key = Some(Key::Bad);
            return self.report(problem);
        }
        *key = Some(Key::Name(text.to_owned(), span));
    }

    fn bad_key(&mut self, span: Span, kind: &str) {
        if let Some(Frame { kind: Kind::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::Bad);
        }
        self.report(
            Problem::error(code::BAD_YAML, format!("a key has to be a string, and this is {kind}"))
                .at(span)
                .hint("put the key into quotes"),
        );
    }

    /// Hands a finished node to what surrounds it.
    fn finish(&mut self, node: Node, anchor: usize) -> Step {
        if anchor != 0 {
            let (nodes, bytes) = budget::weight(&node);
            self.spend(nodes, bytes, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut frame.kind {
            Kind::List(list) => list.push(node),
            Kind::Map { map, key, merges } => match key.take() {
                Some(Key::Name(name, span)) => {
                    map.insert(name, Entry { key: span, node });
                }
                Some(Key::Merge) => merges.push(node),
                Some(Key::Bad) => {}
                None => self.bad_key(node.span, node.kind()),
            },
        }
        Ok(())
    }

    /// `<<`: adds the entries of a mapping, or of each of a list, that are not there yet.
    fn merge(&mut self, map: &mut Map, source: Node) -> Step {
        let span = source.span;
        match source.value {
            Value::Map(entries) => {
                for (key, entry) in entries {
                    map.entry(key).or_insert(entry);
                }
            }
            Value::List(list) if list.iter().all(|item| item.as_map().is_some()) => {
                for item in list {
                    self.merge(map, item)?;
                }
            }
            _ => self.report(
                Problem::error(code::WRONG_TYPE, "`<<` takes a mapping or a list of mappings")
                    .at(span)
                    .hint("for example `<<: *defaults`"),
            ),
        }
        Ok(())
    }

    fn mark(&mut self, tag: Option<&Tag>, span: Span) -> Mark {
        let Some(tag) = tag else { return Mark::None };
        match (tag.handle.as_str(), tag.suffix.as_str()) {
            ("!", "reset") => Mark::Reset,
            ("!", "override") => Mark::Override,
            ("tag:yaml.org,2002:", _) | ("" | "!", "") => Mark::None,
            _ => {
                let message = format!("the tag `{tag}` has no meaning in a compose file");
                self.report(Problem::warning(code::NOT_HONOURED, message).at(span));
                Mark::None
            }
        }
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.values().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}
