//! The canonical form: every short form becomes the long one that it stands for.

mod lists;

pub(crate) use lists::clean as clean_target;

use tutti_core::code;

use super::merge::{as_mapping, dependency, null};
use crate::budget::Budget;
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::words;
use crate::yaml::{Entry, Map, Node, Value};

/// A scalar of a mapping as text.
pub(crate) fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.scalar()
}

/// A mapping of these values, all at one place.
pub(crate) fn mapping(span: Span, entries: impl IntoIterator<Item = (&'static str, Value)>) -> Node {
    let entry = |value| Entry { key: span, node: Node::new(span, value) };
    let map: Map = entries.into_iter().map(|(key, value)| (key.to_owned(), entry(value))).collect();
    Node::new(span, Value::Map(map))
}

pub(crate) fn string(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// Brings a whole file into canonical form.
pub(crate) fn canonical(root: &mut Node, budget: &mut Budget, report: &mut Report) {
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (name, entry) in root.get_mut(section).and_then(Node::as_map_mut).into_iter().flatten() {
            external(&mut entry.node, name, report);
        }
    }
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        service(&mut entry.node, budget, report);
    }
}

/// `external: {name: …}` is an old spelling.
fn external(node: &mut Node, key: &str, report: &mut Report) {
    let Some(Node { span, value: Value::Map(map), .. }) = node.get("external") else { return };
    let (span, name) = (*span, map.get("name").map(|entry| entry.node.clone()));
    if let Some(name) = name {
        let message = format!("`{key}`: `external.name` is obsolete");
        let problem = Problem::warning(code::DEPRECATED_KEY, message).at(span);
        report.add(problem.hint("write `external: true` and `name: …` beside it"));
        match node.get("name") {
            Some(other) if !other.same(&name) => report.add(
                Problem::error(code::CONFLICT, "`name` and `external.name` differ")
                    .at(other.span)
                    .also(name.span, "the other name is here"),
            ),
            Some(_) => {}
            None => node.set("name", name),
        }
    }
    node.set("external", Node::new(span, Value::Bool(true)));
}

fn service(node: &mut Node, budget: &mut Budget, report: &mut Report) {
    let Some(map) = node.as_map_mut() else { return };
    for (key, entry) in map.iter_mut() {
        let node = &mut entry.node;
        match key.as_str() {
            "build" => build(node, report),
            "depends_on" => dependencies(node),
            "env_file" => env_file(node),
            "extends" => {
                if let Some(name) = node.as_str() {
                    *node = mapping(node.span, [("service", string(name))]);
                }
            }
            "gpus" if node.as_str().is_some() => {
                let all = mapping(node.span, [("count", string("all"))]);
                node.value = Value::List(vec![all]);
            }
            "networks" | "models" => *node = as_mapping(std::mem::replace(node, empty()), null),
            "dns" => {
                one_or_many(node);
                if let Value::List(list) = &mut node.value {
                    list.retain(|item| item.as_str() != Some(""));
                }
            }
            "dns_search" | "label_file" | "tmpfs" => one_or_many(node),
            "volumes" => lists::volumes(node, report),
            "devices" => lists::devices(node, report),
            "secrets" | "configs" => lists::file_references(node),
            "ports" => lists::ports(node, budget, report),
            "command" | "entrypoint" => command(node, key, report),
            "healthcheck" => {
                if let Some(test) = node.get_mut("test") {
                    health_test(test);
                }
            }
            "extra_hosts" => lists::hosts(node, report),
            "develop" => develop(node, report),
            "provider" => provider(node),
            "post_start" | "pre_stop" => {
                if let Value::List(list) = &mut node.value {
                    list.iter_mut().for_each(|hook| hook_command(hook, report));
                }
            }
            _ => {}
        }
    }
}

fn empty() -> Node {
    Node::new(Span::default(), Value::Null)
}

pub(crate) fn one_or_many(node: &mut Node) {
    if let Value::String(text) = &node.value {
        node.value = Value::List(vec![Node::text(node.span, text.clone())]);
    }
}

fn build(node: &mut Node, report: &mut Report) {
    if let Some(context) = node.as_str() {
        *node = mapping(node.span, [("context", string(context))]);
    }
    for key in ["provenance", "sbom"] {
        if let Some(node) = node.get_mut(key)
            && let Value::Bool(truth) = node.value
        {
            node.value = string(truth.to_string());
        }
    }
    if let Some(secrets) = node.get_mut("secrets") {
        lists::file_references(secrets);
    }
    if let Some(ssh) = node.get_mut("ssh") {
        lists::ssh(ssh, report);
    }
    if let Some(hosts) = node.get_mut("extra_hosts") {
        lists::hosts(hosts, report);
    }
    if let Some(contexts) = node.get_mut("additional_contexts") {
        lists::pairs(contexts, "additional_contexts", report);
    }
}

fn dependencies(node: &mut Node) {
    *node = as_mapping(std::mem::replace(node, empty()), dependency);
    for (_, entry) in node.as_map_mut().into_iter().flatten() {
        if entry.node.as_map().is_some() {
            entry.node.set_default("condition", string("service_started"));
            entry.node.set_default("required", Value::Bool(true));
        }
    }
}

fn env_file(node: &mut Node) {
    if let Some(path) = node.as_str() {
        node.value = Value::List(vec![Node::text(node.span, path)]);
    }
    let Value::List(list) = &mut node.value else { return };
    for item in list {
        if let Some(path) = item.as_str() {
            *item = mapping(item.span, [("path", string(path))]);
        }
        item.set_default("required", Value::Bool(true));
    }
}

/// A line becomes the words that it consists of.
fn command(node: &mut Node, key: &str, report: &mut Report) {
    let Some(line) = node.as_str() else { return };
    match words::split(line) {
        Ok(words) => {
            if let Some(operator) = words.stopped_at {
                let message =
                    format!("`{key}` is not run by a shell: `{operator}` and what follows it are left out");
                report.add(
                    Problem::warning(code::BAD_VALUE, message)
                        .at(node.span)
                        .hint("write `sh -c \"…\"` if a shell is meant; Docker Compose leaves it out too"),
                );
            }
            let span = node.span;
            node.value = Value::List(words.words.into_iter().map(|word| Node::text(span, word)).collect());
        }
        Err(why) => {
            let problem =
                Problem::error(code::BAD_VALUE, format!("`{key}` is not a command: {why}")).at(node.span);
            report.add(problem.hint("write it as a list, or as `sh -c \"…\"`"));
            node.value = Value::Bad;
        }
    }
}

fn hook_command(hook: &mut Node, report: &mut Report) {
    if let Some(node) = hook.get_mut("command") {
        command(node, "command", report);
    }
}

fn health_test(node: &mut Node) {
    if let Some(line) = node.as_str() {
        let words = [Node::text(node.span, "CMD-SHELL"), Node::text(node.span, line)];
        node.value = Value::List(words.into());
    }
}

fn develop(node: &mut Node, report: &mut Report) {
    if let Some(Node { value: Value::List(rules), .. }) = node.get_mut("watch") {
        for rule in rules {
            if let Some(exec) = rule.get_mut("exec") {
                hook_command(exec, report);
            }
            for key in ["ignore", "include"] {
                if let Some(node) = rule.get_mut(key) {
                    one_or_many(node);
                }
            }
        }
    }
}

/// Every option of a provider may be repeated.
fn provider(node: &mut Node) {
    for (_, entry) in node.get_mut("options").and_then(Node::as_map_mut).into_iter().flatten() {
        let node = &mut entry.node;
        let items = match &node.value {
            Value::List(list) => list.iter().filter_map(Node::scalar).collect(),
            _ => node.scalar().map_or(Vec::new(), |text| vec![text]),
        };
        node.value = Value::List(items.into_iter().map(|text| Node::text(node.span, text)).collect());
    }
}
