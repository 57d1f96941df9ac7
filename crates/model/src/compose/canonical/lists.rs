//! The canonical form of lists whose items have a short form: ports, mounts, devices, secrets, hosts.

use tutti_core::code;

use super::{mapping, string};
use crate::budget::{self, Budget};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::{ports, volume};
use crate::yaml::{Entry, Map, Node, Value};

/// Each port of a range becomes an item of its own.
pub(super) fn ports(node: &mut Node, budget: &mut Budget, report: &mut Report) {
    let Value::List(list) = &mut node.value else { return };
    let mut out = Vec::with_capacity(list.len());
    for item in std::mem::take(list) {
        let Some(short) = item.scalar() else {
            out.push(item);
            continue;
        };
        match ports::parse(&short) {
            Ok(parsed) => {
                if budget.take(parsed.len() * 5, parsed.len() * 64).is_err() {
                    report.error(code::MODEL_LIMIT, item.span, budget::message());
                    break;
                }
                out.extend(parsed.into_iter().map(|port| long_port(item.span, port)));
            }
            Err(why) => {
                let hint = "a port is written `[ip:][host:]container[/protocol]`, for example `8080:80`";
                let message = format!("`{short}` is not a port: {why}");
                report.add(Problem::error(code::BAD_VALUE, message).at(item.span).hint(hint));
            }
        }
    }
    *list = out;
}

fn long_port(span: Span, port: ports::Port) -> Node {
    let mut node = mapping(
        span,
        [
            ("mode", string("ingress")),
            ("target", Value::Int(port.target.into())),
            ("protocol", string(port.protocol)),
        ],
    );
    if !port.published.is_empty() {
        node.set("published", Node::text(span, port.published));
    }
    if !port.ip.is_empty() {
        node.set("host_ip", Node::text(span, port.ip));
    }
    node
}

pub(super) fn volumes(node: &mut Node, report: &mut Report) {
    let Value::List(list) = &mut node.value else { return };
    for item in list {
        let Some(short) = item.as_str() else { continue };
        match volume::parse(short) {
            Ok(volume) => {
                for option in &volume.unknown {
                    let message = format!("`{option}` is not an option of a volume");
                    report.add(Problem::warning(code::NOT_HONOURED, message).at(item.span));
                }
                *item = long_volume(item.span, &volume);
            }
            Err(why) => {
                let message = format!("`{short}` is not a volume: {why}");
                report.add(Problem::error(code::BAD_VALUE, message).at(item.span));
                item.value = Value::Bad;
            }
        }
    }
}

fn long_volume(span: Span, volume: &volume::Volume) -> Node {
    let mut options = Node::new(span, Value::Map(Map::new()));
    let kind = if volume.is_bind() { "bind" } else { "volume" };
    let mut node = mapping(span, [("type", string(kind)), ("target", string(clean(&volume.target)))]);
    if !volume.source.is_empty() {
        node.set("source", Node::text(span, volume.source.clone()));
    }
    if volume.read_only {
        node.set("read_only", Node::new(span, Value::Bool(true)));
    }
    for (key, value) in [("selinux", &volume.selinux), ("propagation", &volume.propagation)] {
        if !value.is_empty() {
            options.set(key, Node::text(span, value.clone()));
        }
    }
    if volume.is_bind() {
        options.set("create_host_path", Node::new(span, Value::Bool(true)));
        node.set("bind", options);
    } else {
        let bind = options.as_map().is_some_and(|map| !map.is_empty()).then_some(options);
        let mut volume_options = Node::new(span, Value::Map(Map::new()));
        if volume.nocopy {
            volume_options.set("nocopy", Node::new(span, Value::Bool(true)));
        }
        node.set("volume", volume_options);
        if let Some(bind) = bind {
            node.set("bind", bind);
        }
    }
    node
}

/// A path without `//`, `.` and `..`, and without a `/` at its end.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !absolute {
                    parts.push("..");
                }
            }
            part => parts.push(part),
        }
    }
    match (absolute, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

pub(super) fn devices(node: &mut Node, report: &mut Report) {
    let Value::List(list) = &mut node.value else { return };
    for item in list {
        let Some(short) = item.as_str().map(str::to_owned) else { continue };
        let parts: Vec<&str> = short.split(':').collect();
        let (source, target, permissions) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, target] => (*source, *target, "rwm"),
            [source, target, permissions] => (*source, *target, *permissions),
            _ => ("", "", ""),
        };
        if source.is_empty() {
            let message = format!("`{short}` is not a device: it has a source and at most three parts");
            let hint = "a device is written `source[:target[:permissions]]`";
            report.add(Problem::error(code::BAD_VALUE, message).at(item.span).hint(hint));
            item.value = Value::Bad;
            continue;
        }
        let target = if target.is_empty() { source } else { target };
        *item = mapping(
            item.span,
            [("source", string(source)), ("target", string(target)), ("permissions", string(permissions))],
        );
    }
}

/// `secrets` and `configs`.
pub(super) fn file_references(node: &mut Node) {
    if let Value::List(list) = &mut node.value {
        for item in list {
            if let Some(source) = item.as_str() {
                *item = mapping(item.span, [("source", string(source))]);
            }
        }
    }
}

/// `default` or `id=path` becomes a mapping.
pub(super) fn ssh(node: &mut Node, report: &mut Report) {
    let Value::List(list) = &node.value else { return };
    let mut map = Map::new();
    for item in list {
        let text = item.as_str().unwrap_or("");
        let value = match text.split_once('=') {
            Some((_, path)) => string(path),
            None if text == "default" => Value::Null,
            None => {
                let message = format!("`{text}` is not an SSH key: write `default` or `id=path`");
                report.error(code::BAD_VALUE, item.span, message);
                continue;
            }
        };
        let id = text.split('=').next().unwrap_or("").to_owned();
        map.insert(id, Entry { key: item.span, node: Node::new(item.span, value) });
    }
    node.value = Value::Map(map);
}

/// A list of `KEY=value` becomes a mapping.
pub(super) fn pairs(node: &mut Node, key: &str, report: &mut Report) {
    let Value::List(list) = &node.value else { return };
    let mut map = Map::new();
    for item in list {
        match item.as_str().and_then(|text| text.split_once('=')) {
            Some((name, value)) => {
                let entry = Entry { key: item.span, node: Node::text(item.span, value) };
                map.insert(name.to_owned(), entry);
            }
            None => report.error(code::BAD_VALUE, item.span, format!("an item of `{key}` is KEY=VALUE")),
        }
    }
    node.value = Value::Map(map);
}

/// `extra_hosts` becomes a sorted list of `host=ip`.
pub(super) fn hosts(node: &mut Node, report: &mut Report) {
    let mut pairs: Vec<(String, String, Span)> = Vec::new();
    match &node.value {
        Value::List(list) => {
            for item in list {
                let text = item.as_str().unwrap_or("");
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, ips)) => {
                        pairs.extend(ips.split(',').map(|ip| (host.to_owned(), ip.to_owned(), item.span)));
                    }
                    None if item.value == Value::Bad => {}
                    None => {
                        let message = format!("`{text}` has no address: write `host=ip`");
                        report.error(code::BAD_VALUE, item.span, message);
                    }
                }
            }
        }
        Value::Map(map) => {
            for (host, Entry { node, .. }) in map {
                match &node.value {
                    Value::List(list) => pairs.extend(
                        list.iter().map(|ip| (host.clone(), ip.scalar().unwrap_or_default(), ip.span)),
                    ),
                    _ => pairs.push((host.clone(), node.scalar().unwrap_or_default(), node.span)),
                }
            }
        }
        _ => return,
    }
    let mut list: Vec<Node> = Vec::new();
    for (host, ip, span) in pairs {
        if host.is_empty() || host.contains([':', '=']) {
            report.error(code::BAD_VALUE, span, format!("`{host}` is not the name of a host"));
            continue;
        }
        let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(&ip);
        list.push(Node::text(span, format!("{host}={ip}")));
    }
    list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    node.value = Value::List(list);
}
