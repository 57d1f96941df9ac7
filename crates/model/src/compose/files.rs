//! Reads compose files one after another and merges them into one canonical tree.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tutti_core::code;
use tutti_core::limits::MODEL_SERVICES;

use super::check::coerce;
use super::environment::Environment;
use super::schema::{Shape, top::TOP};
use super::{canonical, expand, merge, normalise, paths, unique};
use crate::budget::{self, Budget};
use crate::diagnostic::{Problem, Report};
use crate::source::{FileId, ReadError, Span};
use crate::yaml::{Map, Node, Value};

/// What is carried through the reading of all files.
pub(crate) struct Loader {
    /// Problems and texts.
    pub report: Report,
    /// What may still be unfolded.
    pub budget: Budget,
    /// Variables of which it has been said that they are not set.
    pub warned: BTreeSet<String>,
    /// Services of files that `extends` names, by path.
    pub bases: HashMap<PathBuf, Option<Base>>,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
}

/// The services of a file that `extends` names.
#[derive(Debug)]
pub(crate) struct Base {
    /// The root, with `services`.
    pub root: Node,
    /// What `!reset` and `!override` speak of.
    pub marks: Vec<Vec<String>>,
}

/// Where files are read from, and by what variables.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The project's folder, or an include's.
    pub folder: &'a Path,
    /// The variables.
    pub env: &'a Environment,
    /// Files whose `include` led here.
    pub included: &'a [PathBuf],
}

impl Loader {
    pub(crate) fn new(report: Report) -> Self {
        Self {
            report,
            budget: Budget::new(),
            warned: BTreeSet::new(),
            bases: HashMap::new(),
            files: Vec::new(),
        }
    }

    /// Reads several files as one model: the first, and overrides.
    pub(crate) fn model(&mut self, files: &[PathBuf], place: Place<'_>) -> Node {
        let mut root = Node::new(Span::default(), Value::Map(Map::new()));
        for file in files {
            self.file(file, place, &mut root);
        }
        normalise::defaults(&mut root);
        paths::resolve(&mut root, place.folder, place.env);
        root
    }

    /// Reads one file, each of its documents, over what is there.
    fn file(&mut self, path: &Path, place: Place<'_>, root: &mut Node) {
        let Some((id, documents)) = self.documents(path, None) else { return };
        if documents.is_empty() {
            let problem = Problem::error(code::BAD_MODEL, "the file is empty").at(Span::whole(id));
            self.report.add(problem.hint("a compose file has at least `services:`"));
        }
        for mut document in documents {
            if !self.prepare(&mut document, place.env) {
                continue;
            }
            if root.span == Span::default() {
                root.span = document.span;
            }
            let marks = merge::take_marks(&mut document);
            self.apply_extends(&mut document, path, place, &marks);
            merge::unset(root, &marks);
            self.apply_include(&mut document, path, place);
            merge::merge(root, document, &[], &mut self.report);
            if self.budget.is_spent() {
                return;
            }
            self.settle(root);
        }
    }

    /// Reads and parses; `from` is where the file was named.
    pub(crate) fn documents(&mut self, path: &Path, from: Option<Span>) -> Option<(FileId, Vec<Node>)> {
        let (id, text) = self.report.sources.read(path);
        if !self.files.iter().any(|file| file == path) {
            self.files.push(path.to_owned());
        }
        match text {
            Ok(text) => {
                let documents = crate::yaml::parse(&text, id, &mut self.budget, &mut self.report)?;
                Some((id, documents))
            }
            Err(error) => {
                let shown = self.report.sources.shown(id).to_owned();
                self.report.add(unreadable(&error, id, &shown, from));
                None
            }
        }
    }

    /// Fills in variables and checks types. `false`: there is nothing to go on with.
    pub(crate) fn prepare(&mut self, document: &mut Node, env: &Environment) -> bool {
        if document.as_map().is_none() {
            let message = format!("a compose file is a mapping, and this is {}", document.kind());
            self.report.error(code::WRONG_TYPE, document.span, message);
            return false;
        }
        self.few_services(document);
        expand::expand(document, env, &mut self.warned, &mut self.budget, &mut self.report);
        coerce(document, &Shape::Object(&TOP), "", &mut self.report);
        true
    }

    /// Cuts off services beyond the limit: what follows takes time for each pair of them.
    pub(crate) fn few_services(&mut self, root: &mut Node) {
        let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return };
        if let Some((_, entry)) = services.get_index(MODEL_SERVICES) {
            let message = format!("there are {} services; at most {MODEL_SERVICES} are read", services.len());
            self.report.error(code::MODEL_LIMIT, entry.key, message);
            services.truncate(MODEL_SERVICES);
        }
    }

    /// Brings a tree into canonical form, after something was merged into it.
    pub(crate) fn settle(&mut self, root: &mut Node) {
        unique::unique(root, &[]);
        canonical::canonical(root, &mut self.budget, &mut self.report);
        unique::unique(root, &[]);
    }

    /// Takes what a copy of `node` needs; reports at `span` when there is no more.
    pub(crate) fn afford(&mut self, node: &Node, span: Span) -> bool {
        let affordable = self.budget.take_copy(node).is_ok();
        if !affordable {
            self.report.error(code::MODEL_LIMIT, span, budget::message());
        }
        affordable
    }
}

/// The problem of a file that cannot be read.
pub(crate) fn unreadable(error: &ReadError, id: FileId, shown: &str, from: Option<Span>) -> Problem {
    let code = match error {
        ReadError::TooLarge(_) | ReadError::TooMany => code::MODEL_LIMIT,
        ReadError::Encoding { .. } => code::BAD_YAML,
        ReadError::Io(_) | ReadError::NotRegular(_) => code::UNREADABLE_FILE,
    };
    let problem = Problem::error(code, format!("{shown} cannot be read: {error}"));
    let problem = match error {
        ReadError::Encoding { line, column, utf16, .. } => {
            let hint =
                if *utf16 { "it looks like UTF-16; save it as UTF-8" } else { "save the file as UTF-8" };
            let span = Span { file: id, line: *line, column: *column, length: 1 };
            return match from {
                Some(from) => problem.at(span).hint(hint).also(from, "it is named here"),
                None => problem.at(span).hint(hint),
            };
        }
        _ => problem,
    };
    problem.at(from.unwrap_or(Span::whole(id)))
}
