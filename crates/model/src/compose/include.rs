//! `include`: other compose files with their own folder and variables, whose resources are added to these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tutti_core::code;
use tutti_core::limits::MODEL_TEXT_BYTES;

use super::environment::Environment;
use super::files::{Loader, Place, unreadable};
use super::paths;
use crate::diagnostic::Problem;
use crate::dotenv;
use crate::source::Span;
use crate::yaml::{Entry, Map, Node, Value};

/// The sections that an include adds to.
const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

impl Loader {
    /// Reads the includes of a document and adds what they have.
    pub(crate) fn apply_include(&mut self, document: &mut Node, file: &Path, place: Place<'_>) {
        let Some(Node { value: Value::List(includes), .. }) = document.remove("include") else { return };
        let mut included = place.included.to_vec();
        included.push(file.to_owned());
        for include in includes {
            if let Some(model) = self.include(&include, &included, place) {
                self.import(document, model, include.span);
            }
        }
    }

    fn include(&mut self, include: &Node, included: &[PathBuf], place: Place<'_>) -> Option<Node> {
        let files: Vec<(PathBuf, Span)> = match include.as_str() {
            Some(path) => vec![(paths::absolute(place.folder, path, place.env), include.span)],
            None => self.several(include, "path", place),
        };
        let Some((main, span)) = files.first() else {
            if include.as_map().is_some_and(|map| !map.contains_key("path")) {
                self.report.error(code::MISSING_KEY, include.span, "`path` is missing in `include`");
            }
            return None;
        };
        if let Some(at) = included.iter().position(|other| other == main) {
            let mut names: Vec<String> = included.iter().skip(at).map(|path| shown(path)).collect();
            names.push(shown(main));
            let message = format!("files include each other in a circle: {}", names.join(" → "));
            self.report.error(code::CYCLE, *span, message);
            return None;
        }
        let folder = match include.str("project_directory") {
            Some(folder) => paths::absolute(place.folder, folder, place.env),
            None => main.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let env_files = self.several(include, "env_file", place);
        let env = self.include_environment(&folder, env_files, place.env);
        let files: Vec<PathBuf> =
            files.into_iter().map(|(path, span)| self.present(path, span)).collect::<Option<_>>()?;
        let inner = Place { folder: &folder, env: &env, included };
        Some(self.model(&files, inner))
    }

    /// Complains at the include when its file is not there.
    fn present(&mut self, path: PathBuf, span: Span) -> Option<PathBuf> {
        if self.report.sources.disk.exists(&path) {
            return Some(path);
        }
        let id = self.report.sources.declare(&path);
        let name = self.report.sources.shown(id).to_owned();
        self.report.error(code::UNREADABLE_FILE, span, format!("{name} cannot be read: no such file"));
        None
    }

    /// A path or a list of paths.
    fn several(&self, include: &Node, key: &str, place: Place<'_>) -> Vec<(PathBuf, Span)> {
        let Some(node) = include.get(key) else { return Vec::new() };
        let one = |node: &Node| Some((paths::absolute(place.folder, node.as_str()?, place.env), node.span));
        match &node.value {
            Value::List(list) => list.iter().filter_map(one).collect(),
            _ => one(node).into_iter().collect(),
        }
    }

    /// The variables of an include: those of the project, then those of its own files.
    fn include_environment(
        &mut self,
        folder: &Path,
        files: Vec<(PathBuf, Span)>,
        outer: &Environment,
    ) -> Environment {
        let mut env = outer.clone();
        let files = if files.is_empty() {
            let default = folder.join(".env");
            if self.report.sources.disk.is_file(&default) { vec![(default, None)] } else { Vec::new() }
        } else {
            files.into_iter().map(|(path, span)| (path, Some(span))).collect()
        };
        env.add_missing(self.env_files(&files, outer));
        env
    }

    /// Reads files such as `.env`; a problem is reported where the file was named.
    pub(crate) fn env_files(
        &mut self,
        files: &[(PathBuf, Option<Span>)],
        outer: &Environment,
    ) -> BTreeMap<String, String> {
        let mut vars = BTreeMap::new();
        for (path, from) in files {
            let (id, text) = self.report.sources.read(path);
            if !self.files.contains(path) {
                self.files.push(path.clone());
            }
            match text {
                Ok(text) => {
                    let lookup = |name: &str| outer.get(name).map(str::to_owned);
                    if let Err(error) = dotenv::parse(&text, &lookup, &mut vars, MODEL_TEXT_BYTES) {
                        let span = Span { file: id, line: error.line, column: 1, length: 0 };
                        self.report.add(Problem::error(code::BAD_ENV_FILE, error.message).at(span));
                    }
                }
                Err(error) => {
                    let name = self.report.sources.shown(id).to_owned();
                    self.report.add(unreadable(&error, id, &name, *from));
                }
            }
        }
        vars
    }

    /// Adds the resources of an include to a document.
    fn import(&mut self, document: &mut Node, mut model: Node, span: Span) {
        for section in SECTIONS {
            let Some(Node { value: Value::Map(entries), .. }) = model.remove(section) else { continue };
            document.set_default(section, Value::Map(Map::new()));
            let Some(target) = document.get_mut(section).and_then(Node::as_map_mut) else { continue };
            for (name, Entry { key, node }) in entries {
                match target.get(&name) {
                    Some(there) if there.node.same(&node) => {}
                    Some(there) => self.report.add(
                        Problem::error(
                            code::CONFLICT,
                            format!("`{name}` in {section} is defined by an include and by this file"),
                        )
                        .at(there.key)
                        .also(key, "the include defines it here")
                        .also(span, "the include stands here"),
                    ),
                    None => {
                        target.insert(name, Entry { key, node });
                    }
                }
            }
        }
    }
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
