//! Keys that are understood and have no effect in process mode: said once for each key, with the services that use it.

use indexmap::IndexMap;
use tutti_core::code;

use super::check::accepts;
use super::schema::{Effect, Field, Object, Shape, service::SERVICE, top::NETWORK, top::VOLUME};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::yaml::{Node, Value};

/// Most services that one notice names.
const NAMED: usize = 4;

struct Seen {
    first: Span,
    reason: &'static str,
    owners: Vec<String>,
}

/// Reports what has no effect.
pub(crate) fn notices(root: &Node, report: &mut Report) {
    for (section, object, what) in
        [("services", &SERVICE, "service"), ("networks", &NETWORK, "network"), ("volumes", &VOLUME, "volume")]
    {
        let mut seen: IndexMap<String, Seen> = IndexMap::new();
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            walk(&entry.node, object, "", name, &mut seen);
        }
        for (key, Seen { first, reason, owners }) in seen {
            let shown = owners.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = owners.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let what = if owners.len() > 1 { format!("{what}s") } else { what.to_owned() };
            let message =
                format!("`{key}` of the {what} {shown}{more} has no effect in process mode: {reason}");
            report.add(Problem::notice(code::NOT_HONOURED, message).at(first));
        }
    }
}

fn walk(node: &Node, object: &Object, prefix: &str, owner: &str, seen: &mut IndexMap<String, Seen>) {
    for (name, entry) in node.entries() {
        let Some(field) = object.field(name) else { continue };
        let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        inspect(&entry.node, entry.key, field, &key, owner, seen);
    }
}

fn inspect(
    node: &Node,
    key: Span,
    field: &Field,
    path: &str,
    owner: &str,
    seen: &mut IndexMap<String, Seen>,
) {
    if is_blank(node) {
        return;
    }
    if let Effect::Without(reason) = field.effect {
        let seen = seen.entry(path.to_owned()).or_insert(Seen { first: key, reason, owners: Vec::new() });
        if !seen.owners.iter().any(|other| other == owner) {
            seen.owners.push(owner.to_owned());
        }
        return;
    }
    descend(node, &field.shape, path, owner, seen);
}

fn descend(node: &Node, shape: &Shape, path: &str, owner: &str, seen: &mut IndexMap<String, Seen>) {
    match shape {
        Shape::Object(object) => walk(node, object, path, owner, seen),
        Shape::OrNull(inner) => descend(node, inner, path, owner, seen),
        Shape::Either(shapes) => {
            if let Some(shape) = shapes.iter().find(|shape| accepts(shape, node)) {
                descend(node, shape, path, owner, seen);
            }
        }
        Shape::List(inner) | Shape::Set(inner) => {
            node.items().iter().for_each(|item| descend(item, inner, path, owner, seen));
        }
        Shape::Map(_, inner) => {
            node.entries().for_each(|(_, entry)| descend(&entry.node, inner, path, owner, seen));
        }
        _ => {}
    }
}

/// What asks for nothing needs no notice.
fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bad | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}
