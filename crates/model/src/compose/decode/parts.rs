//! Ports and mounts of a service.

use std::path::PathBuf;

use tutti_ports::catalog::AppProtocol;

use crate::app::{Listen, Mount, MountSource, Published};
use crate::value::ports as notation;
use crate::yaml::{Node, Value};

/// Ports of databases, brokers and the like: what is spoken there is not HTTP.
const NOT_HTTP: [u16; 34] = [
    21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2181, 3306, 3389, 4222,
    5432, 5433, 5671, 5672, 6379, 6380, 7687, 8883, 9042, 9092, 9094, 11211, 27017, 26257,
];

/// What is spoken at a port: by `app_protocol`, else by what the port is known for, else HTTP.
pub(crate) fn protocol_of(app_protocol: Option<&str>, port: u16) -> AppProtocol {
    match app_protocol.map(str::to_ascii_lowercase).as_deref() {
        Some("http" | "http1" | "http/1.1" | "ws") => AppProtocol::Http,
        Some("h2c" | "grpc" | "http2" | "kubernetes.io/h2c") => AppProtocol::H2c,
        Some(_) => AppProtocol::Tcp,
        None if NOT_HTTP.contains(&port) => AppProtocol::Tcp,
        None => AppProtocol::Http,
    }
}

/// What is published, and where the service listens: the targets of `ports`, then `expose`.
pub(super) fn ports(node: &Node) -> (Vec<Published>, Vec<Listen>) {
    let mut published = Vec::new();
    let mut listens: Vec<Listen> = Vec::new();
    let mut listen = |listen: Listen| {
        if !listens.iter().any(|other| (other.port, other.udp) == (listen.port, listen.udp)) {
            listens.push(listen);
        }
    };
    for port in node.get("ports").map(Node::items).unwrap_or_default() {
        let Some(target) = port.int("target").and_then(|port| u16::try_from(port).ok()) else { continue };
        let udp = port.str("protocol") == Some("udp");
        let protocol = protocol_of(port.str("app_protocol"), target);
        let host = port.get("published").and_then(Node::scalar);
        // Of a range on this machine the first port is taken.
        let host_port = host.and_then(|text| notation::range(&text).ok()).map(|(low, _)| low);
        listen(Listen { port: target, protocol, udp });
        published.push(Published {
            host_ip: port.str("host_ip").and_then(|ip| ip.parse().ok()),
            host_port: host_port.filter(|port| *port != 0),
            target,
            protocol,
            udp,
        });
    }
    for item in node.get("expose").map(Node::items).unwrap_or_default() {
        let text = item.scalar().unwrap_or_default();
        let (range, kind) = text.split_once('/').unwrap_or((&text, "tcp"));
        let Ok((low, high)) = notation::range(range) else { continue };
        for port in low..=high {
            listen(Listen { port, protocol: protocol_of(None, port), udp: kind.eq_ignore_ascii_case("udp") });
        }
    }
    (published, listens)
}

pub(super) fn mounts(node: &Node, root: &Node) -> Vec<Mount> {
    let mut out = Vec::new();
    for volume in node.get("volumes").map(Node::items).unwrap_or_default() {
        let source = volume.str("source").unwrap_or("");
        let source = match volume.str("type") {
            Some("bind" | "npipe") => MountSource::Bind(PathBuf::from(source)),
            Some("tmpfs") => MountSource::Tmpfs,
            Some(_) if source.is_empty() => MountSource::Anonymous,
            Some(_) => MountSource::Volume(source.to_owned()),
            None => continue,
        };
        let target = volume.str("target").unwrap_or("").to_owned();
        out.push(Mount { source, target, read_only: volume.bool("read_only").unwrap_or(false) });
    }
    let tmpfs = node.get("tmpfs");
    if let Some(Node { value: Value::List(list), .. }) = tmpfs {
        for text in list.iter().filter_map(Node::as_str) {
            let target = text.split(':').next().unwrap_or("").to_owned();
            out.push(Mount { source: MountSource::Tmpfs, target, read_only: false });
        }
    }
    out.extend(files(node, root, "secrets", "/run/secrets"));
    out.extend(files(node, root, "configs", ""));
    out
}

/// Secrets and configs that are files of this machine, where the service sees them (Compose specification, "secrets", "configs").
fn files(node: &Node, root: &Node, section: &str, folder: &str) -> Vec<Mount> {
    let file = |reference: &Node| {
        let source = reference.str("source")?;
        let path = root.get(section)?.get(source)?.str("file")?;
        let target = reference.str("target").unwrap_or(source);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("{folder}/{target}") };
        Some(Mount { source: MountSource::Bind(PathBuf::from(path)), target, read_only: true })
    };
    node.get(section).map(Node::items).unwrap_or_default().iter().filter_map(file).collect()
}
