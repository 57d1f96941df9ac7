//! `extends`: a service takes over what another one has, in the same file or in another.

use std::path::{Path, PathBuf};

use tutti_core::code;
use tutti_core::limits::MODEL_DEPTH;

use super::files::{Base, Loader, Place};
use super::{merge, paths};
use crate::diagnostic::{Problem, suggest};
use crate::source::Span;
use crate::yaml::{Node, Value};

/// One step of a chain of `extends`.
struct Step {
    file: PathBuf,
    service: String,
    span: Span,
}

impl Loader {
    /// Applies every `extends` of a document that was read from `file`.
    pub(crate) fn apply_extends(
        &mut self,
        document: &mut Node,
        file: &Path,
        place: Place<'_>,
        marks: &[Vec<String>],
    ) {
        let names: Vec<String> = document
            .get("services")
            .map(|services| services.entries().map(|(name, _)| name.to_owned()).collect())
            .unwrap_or_default();
        for name in names {
            self.extend(document, &name, file, place, marks, &mut Vec::new());
        }
    }

    /// Applies the `extends` of one service of `root`, and before it those of its base.
    fn extend(
        &mut self,
        root: &mut Node,
        name: &str,
        file: &Path,
        place: Place<'_>,
        marks: &[Vec<String>],
        chain: &mut Vec<Step>,
    ) {
        let Some(service) = root.get("services").and_then(|services| services.get(name)) else { return };
        let Some(extends) = service.get("extends") else { return };
        let span = extends.span;
        let reference = extends.as_str().or_else(|| extends.str("service")).map(str::to_owned);
        let other = extends.get("file").map(|node| (node.as_str().map(str::to_owned), node.span));
        let Some(reference) = reference else {
            if extends.as_map().is_some_and(|map| !map.contains_key("service")) {
                self.report.error(code::MISSING_KEY, span, "`service` is missing in `extends`");
            }
            return self.give_up(root, name);
        };
        if !self.step(chain, file, name, span) {
            return self.give_up(root, name);
        }
        let base = match other {
            Some((Some(path), at)) => {
                let path = paths::absolute(place.folder, &path, place.env);
                self.base_in_file(&path, &reference, at, span, place, chain)
            }
            Some((None, _)) => None,
            None => {
                self.extend(root, &reference, file, place, marks, chain);
                self.base_here(root, &reference, span)
            }
        };
        chain.pop();
        match base {
            Some(base) => {
                self.put_over(root, name, base, marks);
                self.finish(root, name);
            }
            None => self.give_up(root, name),
        }
    }

    /// Notes a step; `false` when it closes a circle or goes too deep.
    fn step(&mut self, chain: &mut Vec<Step>, file: &Path, name: &str, span: Span) -> bool {
        if let Some(at) = chain.iter().position(|step| step.file == file && step.service == name) {
            let circle: Vec<&str> = chain.iter().skip(at).map(|step| step.service.as_str()).collect();
            let message = format!("services extend each other in a circle: {} → {name}", circle.join(" → "));
            let first = chain.get(at).map_or(span, |step| step.span);
            self.report.error(code::CYCLE, first, message);
            return false;
        }
        if chain.len() >= MODEL_DEPTH {
            let message = format!("more than {MODEL_DEPTH} services extend one another");
            self.report.error(code::MODEL_LIMIT, span, message);
            return false;
        }
        chain.push(Step { file: file.to_owned(), service: name.to_owned(), span });
        true
    }

    fn base_here(&mut self, root: &Node, reference: &str, span: Span) -> Option<Node> {
        let services = root.get("services")?;
        match services.get(reference) {
            Some(base) => self.afford(base, span).then(|| base.clone()),
            None => {
                self.report.add(undefined(reference, services, span, None));
                None
            }
        }
    }

    /// The base from another file, whose own `extends` are applied.
    fn base_in_file(
        &mut self,
        path: &Path,
        reference: &str,
        at: Span,
        span: Span,
        place: Place<'_>,
        chain: &mut Vec<Step>,
    ) -> Option<Node> {
        // Taken out while it is worked on: a chain that comes back to the file reads it anew, until the chain itself
        // is found to be a circle or too long.
        let base = match self.bases.remove(path) {
            Some(base) => base,
            None => self.read_base(path, at, place),
        };
        let Some(Base { mut root, marks }) = base else {
            self.bases.insert(path.to_owned(), None);
            return None;
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let inner = Place { folder, ..place };
        self.extend(&mut root, reference, path, inner, &marks, chain);
        let services = root.get("services");
        let base = match services.and_then(|services| services.get(reference)) {
            Some(base) => self.afford(base, span).then(|| base.clone()),
            None => {
                let empty = Node::new(span, Value::Null);
                let shown = path.file_name().map(|name| name.to_string_lossy().into_owned());
                self.report.add(undefined(reference, services.unwrap_or(&empty), span, shown));
                None
            }
        };
        self.bases.insert(path.to_owned(), Some(Base { root, marks }));
        base
    }

    fn read_base(&mut self, path: &Path, at: Span, place: Place<'_>) -> Option<Base> {
        let (_, documents) = self.documents(path, Some(at))?;
        let mut root: Option<Node> = None;
        let mut marks = Vec::new();
        for mut document in documents {
            if !self.prepare(&mut document, place.env) {
                continue;
            }
            marks = merge::take_marks(&mut document);
            match &mut root {
                Some(root) => merge::merge(root, document, &[], &mut self.report),
                None => root = Some(document),
            }
        }
        let mut root = root?;
        self.settle(&mut root);
        paths::resolve(&mut root, path.parent().unwrap_or(Path::new("/")), place.env);
        Some(Base { root, marks })
    }

    /// Merges the service over its base.
    fn put_over(&mut self, root: &mut Node, name: &str, mut base: Node, marks: &[Vec<String>]) {
        let Some(node) = root.get_mut("services").and_then(|services| services.get_mut(name)) else { return };
        for path in marks {
            // `services`, the service's name, and what is to go.
            if let [services, service, rest @ ..] = path.as_slice()
                && services == "services"
                && service == name
            {
                merge::unset(&mut base, &[rest.to_vec()]);
            }
        }
        let own = std::mem::replace(node, Node::new(node.span, Value::Null));
        let span = own.span;
        base.remove("extends");
        merge::merge(&mut base, own, &["services", "x"], &mut self.report);
        base.span = span;
        *node = base;
    }

    fn finish(&mut self, root: &mut Node, name: &str) {
        if let Some(node) = root.get_mut("services").and_then(|services| services.get_mut(name)) {
            node.remove("extends");
        }
    }
}

impl Loader {
    /// What the base would have said is not known, and not missed either.
    fn give_up(&mut self, root: &mut Node, name: &str) {
        if let Some(node) = root.get_mut("services").and_then(|services| services.get_mut(name)) {
            node.set_default("image", Value::Bad);
        }
        self.finish(root, name);
    }
}

fn undefined(reference: &str, services: &Node, span: Span, file: Option<String>) -> Problem {
    let place = file.map_or(String::new(), |file| format!(" in {file}"));
    let near = suggest::nearest(reference, services.entries().map(|(name, _)| name));
    Problem::error(code::UNDEFINED, format!("there is no service `{reference}`{place} to extend"))
        .at(span)
        .maybe_hint(near.map(|near| format!("did you mean `{near}`?")))
}
