//! From the normalised tree to the services of the application.

mod health;
mod parts;
mod reach;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use tutti_core::{ServiceName, code};

use crate::app::{Build, Command, Condition, Dependency, Restart, Service};
use crate::diagnostic::{Problem, Report};
use crate::value::{duration, signal};
use crate::yaml::{Node, Value};

pub(crate) use parts::protocol_of;
pub(crate) use reach::peers;

/// Compose's default for `stop_grace_period`.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// SIGTERM.
const STOP_SIGNAL: i32 = 15;

/// Decodes every service. Peers are added by [`peers`] when the overlay has been read.
pub(crate) fn services(root: &Node, report: &mut Report) -> IndexMap<ServiceName, Service> {
    let mut services = IndexMap::new();
    for (name, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        match ServiceName::new(name) {
            Ok(name) => {
                services.insert(name.clone(), service(name, &entry.node, root));
            }
            Err(why) => {
                let message = format!("`{name}` cannot be the name of a service: {why}");
                report.add(Problem::error(code::BAD_VALUE, message).at(entry.key));
            }
        }
    }
    services
}

fn service(name: ServiceName, node: &Node, root: &Node) -> Service {
    let deploy = node.get("deploy");
    let limits = deploy.and_then(|deploy| deploy.get("resources")).and_then(|all| all.get("limits"));
    let labels = strings(node.get("labels"));
    let (published, listens) = parts::ports(node);
    Service {
        version: version(node.str("image"), &labels),
        zone: None,
        tags: Vec::new(),
        weight: 1,
        image: node.str("image").filter(|image| !image.is_empty()).map(str::to_owned),
        build: node.get("build").map(build),
        run: None,
        setup: None,
        dir: None,
        fixed_port: None,
        entrypoint: node.get("entrypoint").and_then(command),
        command: node.get("command").and_then(command),
        environment: environment(node.get("environment")),
        working_dir: node.str("working_dir").map(str::to_owned),
        listens,
        published,
        depends_on: depends_on(node),
        peers: Vec::new(),
        health: node.get("healthcheck").and_then(health::healthcheck),
        restart: restart(node),
        replicas: replicas(node),
        stop_signal: node.str("stop_signal").and_then(|text| signal::parse(text).ok()).unwrap_or(STOP_SIGNAL),
        stop_grace_period: length(node, "stop_grace_period").unwrap_or(STOP_GRACE_PERIOD),
        mounts: parts::mounts(node, root),
        labels,
        memory_limit: size(node.get("mem_limit")).or_else(|| size(limits?.get("memory"))),
        cpu_limit: number(node.get("cpus")).or_else(|| number(limits?.get("cpus"))),
        skip: false,
        external: Vec::new(),
        name,
    }
}

fn length(node: &Node, key: &str) -> Option<Duration> {
    duration::parse(node.str(key)?).ok()
}

fn size(node: Option<&Node>) -> Option<u64> {
    match node?.value {
        Value::Int(size) => u64::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    }
}

fn number(node: Option<&Node>) -> Option<f64> {
    match node?.value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
    .filter(|number| *number > 0.0)
}

/// `KEY=value` in either form; values that are missing are left out.
fn environment(node: Option<&Node>) -> IndexMap<String, String> {
    let mut out = IndexMap::new();
    for (key, entry) in node.into_iter().flat_map(Node::entries) {
        if let Some(value) = entry.node.scalar() {
            out.insert(key.to_owned(), value);
        }
    }
    for item in node.map(Node::items).unwrap_or_default() {
        if let Some((key, value)) = item.as_str().and_then(|text| text.split_once('=')) {
            out.insert(key.to_owned(), value.to_owned());
        }
    }
    out
}

/// Like [`environment`], with the empty string for what is missing.
fn strings(node: Option<&Node>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, entry) in node.into_iter().flat_map(Node::entries) {
        out.insert(key.to_owned(), entry.node.scalar().unwrap_or_default());
    }
    for text in node.map(Node::items).unwrap_or_default().iter().filter_map(Node::as_str) {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        out.insert(key.to_owned(), value.to_owned());
    }
    out
}

fn command(node: &Node) -> Option<Command> {
    match &node.value {
        Value::List(list) => Some(Command::Args(list.iter().filter_map(Node::scalar).collect())),
        _ => None,
    }
}

fn build(node: &Node) -> Build {
    let context = PathBuf::from(node.str("context").unwrap_or("."));
    let inline = node.str("dockerfile_inline").map(str::to_owned);
    let dockerfile = node.str("dockerfile").map(|file| super::paths::clean(&context.join(Path::new(file))));
    let mut args: IndexMap<String, Option<String>> =
        environment(node.get("args")).into_iter().map(|(key, value)| (key, Some(value))).collect();
    for (key, entry) in node.get("args").into_iter().flat_map(Node::entries) {
        if entry.node.is_null() {
            args.insert(key.to_owned(), None);
        }
    }
    Build {
        context,
        dockerfile: dockerfile.filter(|_| inline.is_none()),
        dockerfile_inline: inline,
        target: node.str("target").map(str::to_owned),
        args,
    }
}

fn depends_on(node: &Node) -> IndexMap<ServiceName, Dependency> {
    let mut out = IndexMap::new();
    for (name, entry) in node.get("depends_on").into_iter().flat_map(Node::entries) {
        let Ok(name) = ServiceName::new(name) else { continue };
        let condition = match entry.node.str("condition") {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::CompletedSuccessfully,
            _ => Condition::Started,
        };
        let restart = entry.node.bool("restart").unwrap_or(false);
        let required = entry.node.bool("required").unwrap_or(true);
        out.insert(name, Dependency { condition, restart, required });
    }
    out
}

/// `deploy.restart_policy` counts before `restart`, as Compose has it.
fn restart(node: &Node) -> Restart {
    let count =
        |number: Option<i64>| number.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    if let Some(policy) = node.get("deploy").and_then(|deploy| deploy.get("restart_policy")) {
        return match policy.str("condition") {
            Some("none" | "no") => Restart::No,
            Some("on-failure") => Restart::OnFailure(count(policy.int("max_attempts"))),
            Some("unless-stopped") => Restart::UnlessStopped,
            _ => Restart::Always,
        };
    }
    match node.str("restart").unwrap_or("no") {
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure(None),
        text => match text.strip_prefix("on-failure:") {
            Some(number) => Restart::OnFailure(count(number.parse().ok())),
            None => Restart::No,
        },
    }
}

fn replicas(node: &Node) -> u32 {
    let count = node.int("scale").or_else(|| node.get("deploy")?.int("replicas")).unwrap_or(1);
    u32::try_from(count).unwrap_or(1)
}

/// The label of the OCI image specification, else the image's tag.
fn version(image: Option<&str>, labels: &BTreeMap<String, String>) -> Option<String> {
    if let Some(version) = labels.get("org.opencontainers.image.version") {
        return Some(version.clone());
    }
    let name = image?.split('@').next()?.rsplit('/').next()?;
    let (_, tag) = name.split_once(':')?;
    Some(tag.to_owned())
}
