//! `tutti.yaml`: what Compose cannot say.
//!
//! It lies beside the compose file and adds to it, per service: how it is run and set up as a process, how it is
//! checked, whom it uses; and for the whole: the gateway and its routes. Variables are filled in as in a compose file,
//! except in what a shell or the service itself will read: `run`, `setup` and `health.command`.

mod acme;
mod apply;
mod auth;
mod gateway;
mod guard;
mod limits;
mod observe;
mod proxies;
mod routes;
mod shape;
mod streams;
pub mod types;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tutti_core::{ServiceName, code};

use crate::compose::check;
use crate::compose::environment::Environment;
use crate::compose::files::Loader;
use crate::compose::schema::Shape;
use crate::diagnostic::Problem;
use crate::source::Span;
use crate::yaml::{Node, Value};

pub(crate) use apply::{Known, apply};
pub(crate) use gateway::gateway;
pub(crate) use observe::observe;
pub(crate) use upstream::upstreams;

/// The name of the overlay beside the compose file.
pub(crate) const NAMES: [&str; 2] = ["tutti.yaml", "tutti.yml"];

/// An overlay with the places of what it says.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// What it says.
    pub types: types::Overlay,
    /// The tree that it was made from.
    pub tree: Node,
}

/// What an overlay adds to the peers of services.
pub(crate) type Uses = BTreeMap<ServiceName, Vec<ServiceName>>;

/// Reads an overlay. `None` when it cannot be used; the problems are reported.
pub(crate) fn read(path: &Path, env: &Environment, loader: &mut Loader) -> Option<Overlay> {
    let (id, documents) = loader.documents(path, None)?;
    let mut documents = documents.into_iter();
    let Some(mut tree) = documents.next() else {
        return Some(Overlay {
            types: types::Overlay::default(),
            tree: Node::new(Span::whole(id), Value::Null),
        });
    };
    if let Some(second) = documents.next() {
        loader.report.error(code::BAD_MODEL, second.span, "an overlay is one YAML document");
    }
    if tree.as_map().is_none() {
        let message = format!("an overlay is a mapping, and this is {}", tree.kind());
        loader.report.error(code::WRONG_TYPE, tree.span, message);
        return None;
    }
    crate::compose::take_marks(&mut tree);
    not_yet(&mut tree, loader);
    expand(&mut tree, env, loader);
    let before = loader.report.errors();
    check::coerce(&mut tree, &Shape::Object(&shape::OVERLAY), "", &mut loader.report);
    check::complete(&tree, &Shape::Object(&shape::OVERLAY), "", &mut loader.report);
    if loader.report.errors() > before {
        return None;
    }
    match serde_json::from_value(json(&tree)) {
        Ok(types) => Some(Overlay { types, tree }),
        Err(error) => {
            loader.report.add(
                Problem::error(code::BAD_MODEL, format!("the overlay is not understood: {error}"))
                    .at(tree.span),
            );
            None
        }
    }
}

/// Names that later versions will use.
const RESERVED: [(&str, &str); 14] = [
    ("auth", "login and identity"),
    ("identity", "login and identity"),
    ("tls", "certificates"),
    ("secrets", "secrets"),
    ("policies", "resilience and access policies"),
    ("engines", "databases, caches and brokers of your own"),
    ("databases", "databases"),
    ("cache", "the edge cache"),
    ("events", "messages between services"),
    ("topics", "messages between services"),
    ("workflows", "workflows"),
    ("telemetry", "logs, metrics and traces"),
    ("alerts", "alerts"),
    ("machines", "several machines"),
];

fn not_yet(tree: &mut Node, loader: &mut Loader) {
    let Some(map) = tree.as_map_mut() else { return };
    for (name, what) in RESERVED {
        if let Some(entry) = map.shift_remove(name) {
            let message = format!("`{name}` is kept for {what}, and not in this version yet");
            let hint = "take the key out, or put `x-` before its name to keep it";
            loader.report.add(Problem::error(code::NOT_YET, message).at(entry.key).hint(hint));
        }
    }
}

/// Fills in variables everywhere but in command lines, whose variables are those of the running service.
fn expand(tree: &mut Node, env: &Environment, loader: &mut Loader) {
    let mut kept: Vec<(String, &str, Node)> = Vec::new();
    for (name, entry) in tree.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        for key in ["run", "setup"] {
            if let Some(node) = entry.node.remove(key) {
                kept.push((name.clone(), key, node));
            }
        }
        if let Some(node) = entry.node.get_mut("health").and_then(|health| health.remove("command")) {
            kept.push((name.clone(), "health", node));
        }
    }
    let mut warned = BTreeSet::new();
    crate::compose::expand(tree, env, &mut warned, &mut loader.budget, &mut loader.report);
    for (name, key, node) in kept {
        let Some(service) = tree.get_mut("services").and_then(|services| services.get_mut(&name)) else {
            continue;
        };
        match key {
            "health" => {
                if let Some(health) = service.get_mut("health") {
                    health.set("command", node);
                }
            }
            key => service.set(key, node),
        }
    }
}

/// The tree as JSON, without `x-` keys.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null | Value::Bad => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => i64::try_from(*number).map_or(serde_json::Value::Null, Into::into),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.clone().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map
            .iter()
            .filter(|(key, _)| !key.starts_with("x-"))
            .map(|(key, entry)| (key.clone(), json(&entry.node)))
            .collect(),
    }
}

/// The JSON Schema of `tutti.yaml`.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(types::Overlay).to_value();
    allow_extensions(&mut schema);
    schema
}

/// `x-` keys may stand wherever keys are known.
fn allow_extensions(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(map) => {
            if map.get("additionalProperties") == Some(&serde_json::Value::Bool(false)) {
                map.insert("patternProperties".to_owned(), serde_json::json!({ "^x-": true }));
            }
            map.values_mut().for_each(allow_extensions);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(allow_extensions),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
