//! What Compose fills in by itself: defaults, the default network, implied dependencies, names.

use super::canonical::{clean_target, mapping, string};
use super::environment::Environment;
use crate::yaml::{Entry, Map, Node, Value};

/// Fills in what has a default wherever it stands, before files are put together.
pub(crate) fn defaults(root: &mut Node) {
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        let service = &mut entry.node;
        if let Some(build) = service.get_mut("build") {
            build.set_default("context", string("."));
        }
        each(service.get_mut("secrets"), |secret| {
            if let Some(source) = secret.str("source").map(str::to_owned) {
                secret.set_default("target", string(format!("/run/secrets/{source}")));
            }
        });
        each(service.get_mut("ports"), |port| {
            port.set_default("protocol", string("tcp"));
            port.set_default("mode", string("ingress"));
        });
        each(service.get_mut("gpus"), count_all);
        let devices = ["deploy", "resources", "reservations", "devices"];
        each(devices.iter().try_fold(service, |node, key| node.get_mut(key)), count_all);
    }
}

fn each(list: Option<&mut Node>, change: impl Fn(&mut Node)) {
    if let Some(Node { value: Value::List(items), .. }) = list {
        items.iter_mut().for_each(change);
    }
}

fn count_all(request: &mut Node) {
    if request.get("count").is_none() && request.get("device_ids").is_none() {
        request.set_default("count", string("all"));
    }
}

/// Fills in what depends on the whole application.
pub(crate) fn normalise(root: &mut Node, project: &str, env: &Environment) {
    default_network(root);
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        service(&mut entry.node, env);
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, entry) in root.get_mut(section).and_then(Node::as_map_mut).into_iter().flatten() {
            if entry.node.is_null() && matches!(section, "networks" | "volumes") {
                entry.node.value = Value::Map(Map::new());
            }
            let external = entry.node.bool("external") == Some(true);
            let name = if external { key.clone() } else { format!("{project}_{key}") };
            entry.node.set_default("name", Value::String(name));
        }
    }
}

fn default_network(root: &mut Node) {
    let mut used = false;
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        let service = &mut entry.node;
        if service.get("provider").is_some() || service.get("network_mode").is_some() {
            continue;
        }
        let empty = match service.get("networks") {
            None => true,
            Some(networks) => networks.as_map().is_some_and(Map::is_empty),
        };
        if empty {
            let span = service.span;
            service.set("networks", mapping(span, [("default", Value::Null)]));
        }
        used |= service.get("networks").is_some_and(|networks| networks.get("default").is_some());
    }
    if used {
        root.set_default("networks", Value::Map(Map::new()));
        if let Some(networks) = root.get_mut("networks") {
            networks.set_default("default", Value::Null);
        }
    }
}

fn service(service: &mut Node, env: &Environment) {
    if service.str("pull_policy") == Some("if_not_present") {
        let span = service.span;
        service.set("pull_policy", Node::text(span, "missing"));
    }
    if let Some(build) = service.get_mut("build") {
        if build.get("dockerfile").is_none() && build.get("dockerfile_inline").is_none() {
            build.set_default("dockerfile", string("Dockerfile"));
        }
        if let Some(args) = build.get_mut("args") {
            from_environment(args, env, false);
        }
    }
    if let Some(environment) = service.get_mut("environment") {
        from_environment(environment, env, true);
    }
    each(service.get_mut("volumes"), |volume| {
        if let Some(target) = volume.get_mut("target")
            && let Value::String(text) = &mut target.value
        {
            *text = clean_target(text);
        }
    });
    implied_dependencies(service);
}

/// Variables without a value take that of the environment.
fn from_environment(node: &mut Node, env: &Environment, keep: bool) {
    match &mut node.value {
        Value::Map(map) => map.retain(|key, entry| match env.get(key) {
            Some(value) if entry.node.is_null() => {
                entry.node.value = string(value);
                true
            }
            None if entry.node.is_null() => keep,
            _ => true,
        }),
        Value::List(list) => list.retain_mut(|item| {
            let Some(key) = item.as_str().filter(|text| !text.contains('=')) else { return true };
            match env.get(key) {
                Some(value) => {
                    item.value = string(format!("{key}={value}"));
                    true
                }
                None => keep,
            }
        }),
        _ => {}
    }
}

/// `links`, shared namespaces and `volumes_from` mean that the other service has to be there.
fn implied_dependencies(service: &mut Node) {
    let mut names: Vec<(String, bool, crate::source::Span)> = Vec::new();
    for link in service.get("links").map(Node::items).unwrap_or_default() {
        if let Some(text) = link.as_str() {
            names.push((text.split(':').next().unwrap_or("").to_owned(), true, link.span));
        }
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_str().and_then(|text| text.strip_prefix("service:"))
        {
            names.push((name.to_owned(), true, node.span));
        }
    }
    for item in service.get("volumes_from").map(Node::items).unwrap_or_default() {
        if let Some(text) = item.as_str().filter(|text| !text.starts_with("container:")) {
            names.push((text.split(':').next().unwrap_or("").to_owned(), false, item.span));
        }
    }
    if names.is_empty() {
        return;
    }
    service.set_default("depends_on", Value::Map(Map::new()));
    let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut) else { return };
    for (name, restart, span) in names {
        let mut node =
            mapping(span, [("condition", string("service_started")), ("required", Value::Bool(true))]);
        node.set("restart", Node::new(span, Value::Bool(restart)));
        dependencies.entry(name).or_insert(Entry { key: span, node });
    }
}
