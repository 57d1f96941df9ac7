//! Merging an override over what was read before, with Compose's rule for each key.
//!
//! Scalars are replaced, mappings merged, lists appended; the keys below are treated otherwise. Lists in which an
//! entry has an identity (a port, a mount's target, a variable) are freed of repetitions afterwards by
//! [`super::unique`].

use tutti_core::code;

use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::yaml::{Entry, Map, Mark, Node, Value};

/// How a key is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// By the kind of the value.
    Plain,
    /// The later replaces the earlier.
    Replace,
    /// Both become lists, one after the other.
    Sequence,
    /// Like `Sequence`, without what is there already.
    Hosts,
    /// The short form is the context.
    Build,
    /// A list is a mapping with these values.
    Dependencies,
    /// A list is a mapping with nulls.
    Named,
    /// Merged only when the driver is the same.
    Logging,
    /// Address pools, by subnet.
    Pools,
}

fn rule(path: &[&str]) -> Rule {
    match path {
        ["networks", _, "ipam", "config"] => Rule::Pools,
        ["networks" | "volumes", _, "labels"] => Rule::Sequence,
        ["services", _, key] => match *key {
            "command" | "entrypoint" => Rule::Replace,
            "build" => Rule::Build,
            "depends_on" => Rule::Dependencies,
            "networks" | "models" => Rule::Named,
            "logging" => Rule::Logging,
            "extra_hosts" => Rule::Hosts,
            "annotations" | "dns" | "dns_opt" | "dns_search" | "env_file" | "label_file" | "environment"
            | "labels" | "sysctls" | "tmpfs" => Rule::Sequence,
            _ => Rule::Plain,
        },
        ["services", _, "healthcheck", "test"] | ["services", _, "ulimits", _] => Rule::Replace,
        ["services", _, "build", "extra_hosts"] => Rule::Hosts,
        ["services", _, "build", "args" | "additional_contexts" | "labels"]
        | ["services", _, "deploy", "labels"] => Rule::Sequence,
        _ => Rule::Plain,
    }
}

/// Merges `over` into `base`, both at `path`.
pub(crate) fn merge(base: &mut Node, over: Node, path: &[&str], report: &mut Report) {
    if over.value == Value::Bad || base.value == Value::Bad {
        base.value = Value::Bad;
        return;
    }
    match rule(path) {
        Rule::Replace => *base = over,
        Rule::Sequence => sequence(base, over, false),
        Rule::Hosts => sequence(base, over, true),
        Rule::Build => {
            let (mut left, right) = (build(take(base)), build(over));
            plain(&mut left, right, path, report);
            *base = left;
        }
        Rule::Dependencies => {
            let (mut left, right) = (as_mapping(take(base), dependency), as_mapping(over, dependency));
            plain(&mut left, right, path, report);
            *base = left;
        }
        Rule::Named => {
            let (mut left, right) = (as_mapping(take(base), null), as_mapping(over, null));
            plain(&mut left, right, path, report);
            *base = left;
        }
        Rule::Logging => {
            let differ = matches!((base.str("driver"), over.str("driver")), (Some(a), Some(b)) if a != b);
            if differ { *base = over } else { plain(base, over, path, report) }
        }
        Rule::Pools => pools(base, over, path, report),
        Rule::Plain => plain(base, over, path, report),
    }
}

fn take(node: &mut Node) -> Node {
    std::mem::replace(node, Node::new(Span::default(), Value::Null))
}

fn plain(base: &mut Node, over: Node, path: &[&str], report: &mut Report) {
    let span = over.span;
    match (&mut base.value, over.value) {
        (_, Value::Null) => {}
        (Value::Map(map), Value::Map(other)) => mappings(map, other, path, report),
        (Value::List(list), Value::List(other)) => list.extend(other),
        (Value::Map(_) | Value::List(_), value) => {
            let what = Node::new(span, value).kind();
            let key = path.last().copied().unwrap_or("");
            let message =
                format!("`{key}` is {} before, and {what} here: they cannot be merged", base.kind());
            report.add(Problem::error(code::CONFLICT, message).at(span).also(base.span, "it is here first"));
        }
        (_, value) => *base = Node { span, value, mark: Mark::None },
    }
}

fn mappings(map: &mut Map, other: Map, path: &[&str], report: &mut Report) {
    for (key, entry) in other {
        match map.get_mut(&key) {
            Some(base) => {
                let mut next = path.to_vec();
                next.push(&key);
                merge(&mut base.node, entry.node, &next, report);
            }
            None => {
                map.insert(key, entry);
            }
        }
    }
}

fn sequence(base: &mut Node, over: Node, once: bool) {
    let span = over.span;
    let mut left = as_sequence(take(base));
    for item in as_sequence(over) {
        if !once || !left.iter().any(|other| other.same(&item)) {
            left.push(item);
        }
    }
    *base = Node::new(span, Value::List(left));
}

/// A mapping as a list of `KEY=value`, sorted; a string as a list of one.
pub(crate) fn as_sequence(node: Node) -> Vec<Node> {
    let span = node.span;
    match node.value {
        Value::List(list) => list,
        Value::Map(map) => {
            let mut list = Vec::new();
            for (key, Entry { node, .. }) in map {
                match &node.value {
                    Value::Null => list.push(Node::text(node.span, key)),
                    Value::List(items) => {
                        let pair = |item: &Node| {
                            Node::text(item.span, format!("{key}={}", item.scalar().unwrap_or_default()))
                        };
                        list.extend(items.iter().map(pair));
                    }
                    Value::Bad | Value::Map(_) => list.push(Node::new(node.span, Value::Bad)),
                    _ => {
                        let value = node.scalar().unwrap_or_default();
                        list.push(Node::text(node.span, format!("{key}={value}")));
                    }
                }
            }
            list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            list
        }
        Value::String(text) => vec![Node::text(span, text)],
        _ => Vec::new(),
    }
}

fn build(node: Node) -> Node {
    let span = node.span;
    match node.value {
        Value::String(text) => {
            let mut map = Map::new();
            map.insert("context".to_owned(), Entry { key: span, node: Node::text(span, text) });
            Node::new(span, Value::Map(map))
        }
        _ => node,
    }
}

/// A list of names as a mapping with a value made for each.
pub(crate) fn as_mapping(node: Node, value: fn(Span) -> Value) -> Node {
    let span = node.span;
    match node.value {
        Value::List(list) => {
            let mut map = Map::new();
            for item in list {
                let span = item.span;
                if let Value::String(name) = item.value {
                    map.entry(name)
                        .or_insert_with(|| Entry { key: span, node: Node::new(span, value(span)) });
                }
            }
            Node::new(span, Value::Map(map))
        }
        _ => node,
    }
}

pub(crate) fn null(_: Span) -> Value {
    Value::Null
}

/// What the short form of `depends_on` stands for.
pub(crate) fn dependency(span: Span) -> Value {
    let mut node = Node::new(span, Value::Map(Map::new()));
    node.set_default("condition", Value::String("service_started".to_owned()));
    node.set_default("required", Value::Bool(true));
    node.value
}

fn pools(base: &mut Node, over: Node, path: &[&str], report: &mut Report) {
    let (Value::List(left), Value::List(right)) = (take(base).value, over.value) else {
        base.value = Value::Bad;
        return;
    };
    let mut merged: Vec<Node> = Vec::new();
    for original in &left {
        for pool in &right {
            let known = merged.iter().position(|other| other.str("subnet") == pool.str("subnet"));
            if original.str("subnet") != pool.str("subnet") && known.is_none() {
                merged.push(pool.clone());
                continue;
            }
            let mut both = original.clone();
            plain(&mut both, pool.clone(), path, report);
            match merged.iter().position(|other| other.str("subnet") == both.str("subnet")) {
                Some(at) => {
                    if let Some(place) = merged.get_mut(at) {
                        *place = both;
                    }
                }
                None => merged.push(both),
            }
        }
    }
    *base = Node::new(over.span, Value::List(merged));
}

/// Takes the tags `!reset` and `!override` out of a file: nodes with `!reset` go, and the paths of both are returned,
/// so that [`unset`] can remove what was there before.
pub(crate) fn take_marks(node: &mut Node) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    marks(node, &mut Vec::new(), &mut paths);
    paths
}

fn marks(node: &mut Node, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match &mut node.value {
        Value::Map(map) => map.retain(|key, entry| {
            path.push(key.clone());
            let mark = std::mem::take(&mut entry.node.mark);
            if mark != Mark::None {
                paths.push(path.clone());
            }
            if mark != Mark::Reset {
                marks(&mut entry.node, path, paths);
            }
            path.pop();
            mark != Mark::Reset
        }),
        // Items of a list have no names by which they could be found in another file.
        Value::List(list) => list.retain_mut(|item| std::mem::take(&mut item.mark) != Mark::Reset),
        _ => {}
    }
}

/// Removes what stands at these paths.
pub(crate) fn unset(base: &mut Node, paths: &[Vec<String>]) {
    for path in paths {
        let Some((last, parents)) = path.split_last() else { continue };
        let parent = parents.iter().try_fold(&mut *base, |node, key| node.get_mut(key));
        if let Some(parent) = parent {
            parent.remove(last);
        }
    }
}
