//! Of several entries of a list that speak of the same thing the last one counts, in the place of the first.

use std::collections::HashMap;

use super::canonical::text;
use crate::value::volume;
use crate::yaml::{Node, Value};

/// What makes an entry the same as another.
#[derive(Clone, Copy, Debug)]
enum Identity {
    /// The text before `=`.
    Key,
    /// A mount's target.
    Mount,
    /// A device's target.
    Device,
    /// The target of a secret or config; the folder where it lies by default.
    File(&'static str),
    /// Address, published port, target and protocol.
    Port,
    /// The path of an environment file.
    EnvFile,
}

fn identity(path: &[&str]) -> Option<Identity> {
    Some(match path {
        ["networks", _, "labels"] | ["networks", _, "ipam", "options"] => Identity::Key,
        ["services", _, "networks", _, "aliases" | "link_local_ips"] => Identity::Key,
        ["services", _, "build", "args" | "additional_contexts" | "tags" | "labels"] => Identity::Key,
        ["services", _, "deploy", "labels"] => Identity::Key,
        ["services", _, key] => match *key {
            "annotations" | "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "environment"
            | "expose" | "labels" | "links" | "profiles" | "sysctls" | "tmpfs" => Identity::Key,
            "volumes" => Identity::Mount,
            "devices" => Identity::Device,
            "configs" => Identity::File(""),
            "secrets" => Identity::File("/run/secrets"),
            "ports" => Identity::Port,
            "env_file" => Identity::EnvFile,
            _ => return None,
        },
        _ => return None,
    })
}

/// Removes repetitions in a tree at `path`.
pub(crate) fn unique(node: &mut Node, path: &[&str]) {
    // Nothing below this depth has an identity.
    if path.len() > 5 {
        return;
    }
    match &mut node.value {
        Value::Map(map) => {
            for (key, entry) in map.iter_mut() {
                let mut next = path.to_vec();
                next.push(key);
                unique(&mut entry.node, &next);
            }
        }
        Value::List(list) => {
            if let Some(identity) = identity(path) {
                *list = last_of_each(std::mem::take(list), identity);
            }
        }
        _ => {}
    }
}

fn last_of_each(list: Vec<Node>, identity: Identity) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(list.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in list {
        let Some(key) = key(&item, identity) else {
            out.push(item);
            continue;
        };
        match seen.get(&key).and_then(|at| out.get_mut(*at)) {
            Some(place) => *place = item,
            None => {
                seen.insert(key, out.len());
                out.push(item);
            }
        }
    }
    out
}

/// `None`: it is like no other.
fn key(item: &Node, identity: Identity) -> Option<String> {
    let scalar = item.scalar();
    match identity {
        Identity::Key => scalar.map(|text| text.split('=').next().unwrap_or("").to_owned()),
        Identity::Mount => match scalar {
            Some(text) => volume::parse(&text).ok().map(|volume| volume.target),
            None => text(item, "target"),
        },
        Identity::Device => match scalar {
            Some(text) => {
                let mut parts = text.split(':');
                let source = parts.next().map(str::to_owned);
                parts.next().map(str::to_owned).or(source)
            }
            None => text(item, "target"),
        },
        Identity::File(folder) => match scalar {
            Some(source) => Some(format!("{folder}/{source}")),
            None => text(item, "target")
                .or_else(|| text(item, "source").map(|source| format!("{folder}/{source}"))),
        },
        Identity::Port => match scalar {
            Some(text) => Some(text),
            None => {
                let part = |name: &str, default: &str| text(item, name).unwrap_or_else(|| default.to_owned());
                let (ip, protocol) = (part("host_ip", "0.0.0.0"), part("protocol", "tcp"));
                Some(format!("{ip}:{}:{}/{protocol}", part("published", ""), part("target", "")))
            }
        },
        Identity::EnvFile => scalar.or_else(|| text(item, "path")),
    }
}
