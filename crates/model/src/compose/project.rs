//! The project around its files: its name, its variables, the enabled services, what their files say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tutti_core::limits::MODEL_TEXT_BYTES;
use tutti_core::{ProjectName, code};

use super::environment::Environment;
use super::files::{Loader, unreadable};
use crate::budget::Budget;
use crate::diagnostic::{Problem, Report, suggest};
use crate::dotenv;
use crate::interpolate::interpolate;
use crate::source::{FileId, Span};
use crate::yaml::{Entry, Map, Node, Value};

/// Compose's way to make a name out of any text: what may not stand in a name goes.
pub(crate) fn normalise_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

/// The project's name: what was asked for, `COMPOSE_PROJECT_NAME`, `name:` of the last file that has one, the folder's.
///
/// It is found before the files are read, because it is itself a variable of theirs.
pub(crate) fn name(
    asked: Option<&str>,
    files: &[PathBuf],
    folder: &Path,
    env: &Environment,
    report: &mut Report,
) -> Option<ProjectName> {
    let given = asked.or_else(|| env.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()));
    let text = match given {
        Some(name) => name.to_owned(),
        None => {
            let folder = || folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            normalise_name(&files.iter().rev().find_map(|file| name_in(file, env)).unwrap_or_else(folder))
        }
    };
    match ProjectName::new(&text) {
        Ok(name) => Some(name),
        Err(why) => {
            let problem =
                Problem::error(code::BAD_VALUE, format!("`{text}` cannot be the project's name: {why}"));
            report.add(problem.hint("give one with `name:`, `-p` or COMPOSE_PROJECT_NAME"));
            None
        }
    }
}

/// `name:` of a file, filled in. Its problems are found when the file is read for good.
fn name_in(file: &Path, env: &Environment) -> Option<String> {
    let text = crate::source::read_text(file).ok()?;
    // Most files have no name, and need not be read twice.
    text.contains("name").then_some(())?;
    let mut report = Report::default();
    let documents = crate::yaml::parse(&text, FileId::default(), &mut Budget::new(), &mut report)?;
    let name = documents.iter().rev().find_map(|document| document.str("name"))?;
    let lookup = |name: &str| env.get(name).map(str::to_owned);
    interpolate(name, &lookup, &mut |_| {}, MODEL_TEXT_BYTES).ok().filter(|name| !name.is_empty())
}

/// The profiles that were asked for, or those of `COMPOSE_PROFILES`.
pub(crate) fn profiles(asked: &[String], env: &Environment) -> Vec<String> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let list = env.get("COMPOSE_PROFILES").unwrap_or("");
    list.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
}

/// Removes services whose profiles are not active, and returns their names. A service in `wanted` activates its own
/// profiles, as naming it on Compose's command line does.
pub(crate) fn apply_profiles(
    root: &mut Node,
    active: &[String],
    wanted: &[String],
    loader: &mut Loader,
) -> Vec<String> {
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return Vec::new() };
    let mut active = active.to_vec();
    for name in wanted {
        match services.get(name) {
            Some(entry) if !enabled(&entry.node, &active) => active.extend(profile_names(&entry.node)),
            Some(_) => {}
            None => {
                let near = suggest::nearest(name, services.keys().map(String::as_str));
                let problem = Problem::error(code::UNDEFINED, format!("there is no service `{name}`"));
                loader.report.add(problem.maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
            }
        }
    }
    let mut disabled = Vec::new();
    services.retain(|name, entry| {
        let stays = enabled(&entry.node, &active);
        if !stays {
            disabled.push(name.clone());
        }
        stays
    });
    loader.few_services(root);
    disabled
}

fn profile_names(service: &Node) -> Vec<String> {
    service.get("profiles").map(Node::items).unwrap_or_default().iter().filter_map(Node::scalar).collect()
}

fn enabled(service: &Node, active: &[String]) -> bool {
    let names = profile_names(service);
    names.is_empty() || active.iter().any(|profile| profile == "*" || names.contains(profile))
}

/// Reads `env_file` and `label_file` of every service: what they say lies below `environment` and `labels`.
pub(crate) fn service_files(root: &mut Node, env: &Environment, loader: &mut Loader) {
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        let service = &mut entry.node;
        for (key, target) in [("env_file", "environment"), ("label_file", "labels")] {
            let Some(files) = service.remove(key) else { continue };
            let own = pairs(service.get(target));
            let mut vars: BTreeMap<String, String> = BTreeMap::new();
            for file in files.items() {
                let lookup = |name: &str| {
                    let project = (key == "env_file").then(|| env.get(name).map(str::to_owned)).flatten();
                    project.or_else(|| own.get(name).cloned().flatten())
                };
                one_file(file, &lookup, &mut vars, loader);
            }
            under(service, target, vars, &own, files.span, loader);
        }
    }
}

fn pairs(node: Option<&Node>) -> BTreeMap<String, Option<String>> {
    let mut out = BTreeMap::new();
    for (key, entry) in node.into_iter().flat_map(Node::entries) {
        out.insert(key.to_owned(), entry.node.scalar());
    }
    for text in node.map(Node::items).unwrap_or_default().iter().filter_map(Node::as_str) {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        out.insert(key.to_owned(), value);
    }
    out
}

fn one_file(
    file: &Node,
    lookup: dotenv::Lookup<'_>,
    vars: &mut BTreeMap<String, String>,
    loader: &mut Loader,
) {
    let path = file.as_str().or_else(|| file.str("path"));
    let Some(path) = path.map(PathBuf::from) else { return };
    let span = file.get("path").map_or(file.span, |node| node.span);
    if file.bool("required") == Some(false) && !loader.report.sources.disk.exists(&path) {
        return;
    }
    let (id, text) = loader.report.sources.read(&path);
    if !loader.files.contains(&path) {
        loader.files.push(path);
    }
    match text {
        Ok(text) => {
            let read = match file.str("format") {
                Some("raw") => dotenv::parse_raw(&text, lookup, vars),
                _ => dotenv::parse(&text, lookup, vars, MODEL_TEXT_BYTES),
            };
            if let Err(error) = read {
                let at = Span { file: id, line: error.line, column: 1, length: 0 };
                loader.report.add(
                    Problem::error(code::BAD_ENV_FILE, error.message).at(at).also(span, "it is named here"),
                );
            }
        }
        Err(error) => {
            let shown = loader.report.sources.shown(id).to_owned();
            let problem = unreadable(&error, id, &shown, Some(span));
            loader.report.add(problem.hint("`required: false` beside its `path` allows it to be missing"));
        }
    }
}

/// Puts variables of files under those that the service has itself.
fn under(
    service: &mut Node,
    target: &str,
    vars: BTreeMap<String, String>,
    own: &BTreeMap<String, Option<String>>,
    span: Span,
    loader: &mut Loader,
) {
    if vars.is_empty() {
        return;
    }
    let bytes = vars.iter().map(|(key, value)| key.len() + value.len()).sum();
    if loader.budget.take(vars.len(), bytes).is_err() {
        loader.report.error(code::MODEL_LIMIT, span, crate::budget::message());
        return;
    }
    let value = |value: Option<String>| value.map_or(Value::Null, Value::String);
    let entry = |value| Entry { key: span, node: Node::new(span, value) };
    let mut map: Map = vars.into_iter().map(|(key, text)| (key, entry(Value::String(text)))).collect();
    for (key, text) in own {
        // A key without a value hides what a file says too, and is not set.
        map.insert(key.clone(), entry(value(text.clone())));
    }
    service.set(target, Node::new(span, Value::Map(map)));
}
