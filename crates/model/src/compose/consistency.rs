//! Whether what is named exists, and whether definitions agree with each other.

mod graph;

use std::collections::HashMap;

use tutti_core::code;

use super::canonical::text;
use crate::diagnostic::{Problem, Report, suggest};
use crate::source::Span;
use crate::yaml::{Node, Value};

/// Checks a normalised tree in which only the enabled services are left; `disabled` are the names of the others.
pub(crate) fn consistency(root: &Node, disabled: &[String], report: &mut Report) {
    let Some(services) = root.get("services") else { return };
    for (name, entry) in services.entries() {
        let check = Check { root, services, name, service: &entry.node, place: entry.key, disabled };
        check.source(report);
        check.references(report);
        check.dependencies(report);
        check.values(report);
        check.twice_said(report);
        check.mounts(report);
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            resource(section, name, &entry.node, entry.key, report);
        }
    }
    container_names(services, report);
    graph::cycles(services, report);
}

struct Check<'a> {
    root: &'a Node,
    services: &'a Node,
    name: &'a str,
    service: &'a Node,
    place: Span,
    disabled: &'a [String],
}

impl Check<'_> {
    fn source(&self, report: &mut Report) {
        let service = self.service;
        if service.as_map().is_none() {
            return;
        }
        if ["image", "build", "provider"].iter().all(|key| service.get(key).is_none()) {
            let message = format!("the service `{}` has neither `image` nor `build`", self.name);
            report.error(code::MISSING_KEY, self.place, message);
        }
        let Some(build) = service.get("build") else { return };
        if let (Some(file), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline")) {
            let message = "`dockerfile` and `dockerfile_inline` exclude each other";
            report.add(
                Problem::error(code::CONFLICT, message).at(inline.span).also(file.span, "the other is here"),
            );
        }
        let platforms = build.get("platforms").map(Node::items).unwrap_or_default();
        if let Some(platform) = service.get("platform")
            && !platforms.is_empty()
            && !platforms.iter().any(|other| other.same(platform))
        {
            report.error(code::CONFLICT, platform.span, "`platform` is not among `build.platforms`");
        }
    }

    /// Names in one section that have to exist.
    fn defined(&self, section: &str, what: &str, name: &str, span: Span, report: &mut Report) {
        let known = self.root.get(section);
        if known.is_some_and(|known| known.get(name).is_some()) {
            return;
        }
        let near = suggest::nearest(name, known.into_iter().flat_map(Node::entries).map(|(name, _)| name));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it at the top level: `{section}: {{ {name}: }}`"),
        };
        let message = format!("the service `{}` names the {what} `{name}`, which is not defined", self.name);
        report.add(Problem::error(code::UNDEFINED, message).at(span).hint(hint));
    }

    fn references(&self, report: &mut Report) {
        let service = self.service;
        if let (Some(mode), Some(networks)) = (service.get("network_mode"), service.get("networks"))
            && networks.as_map().is_some_and(|map| !map.is_empty())
        {
            let message = "`network_mode` and `networks` exclude each other";
            report.add(
                Problem::error(code::CONFLICT, message)
                    .at(mode.span)
                    .also(networks.span, "`networks` is here"),
            );
        }
        for (section, key, what) in [("networks", "networks", "network"), ("models", "models", "model")] {
            if key == "networks" && service.get("network_mode").is_some() {
                continue;
            }
            for (name, entry) in service.get(key).into_iter().flat_map(Node::entries) {
                self.defined(section, what, name, entry.key, report);
            }
        }
        let build_secrets = service.get("build").and_then(|build| build.get("secrets"));
        let lists = [
            ("secrets", "secret", service.get("secrets")),
            ("secrets", "build secret", build_secrets),
            ("configs", "config", service.get("configs")),
        ];
        for (section, what, list) in lists {
            for item in list.map(Node::items).unwrap_or_default() {
                if let Some(source) = item.get("source")
                    && let Some(name) = source.as_str()
                {
                    self.defined(section, what, name, source.span, report);
                }
            }
        }
        for item in service.get("volumes").map(Node::items).unwrap_or_default() {
            match (item.str("type"), item.get("source")) {
                (Some("volume"), Some(source)) => {
                    if let Some(name) = source.as_str().filter(|name| !name.is_empty()) {
                        self.defined("volumes", "volume", name, source.span, report);
                    }
                }
                (Some("bind"), None) => {
                    report.error(
                        code::MISSING_KEY,
                        item.span,
                        "`source` is missing in a mount of type `bind`",
                    );
                }
                _ => {}
            }
        }
    }

    fn dependencies(&self, report: &mut Report) {
        for (name, entry) in self.service.get("depends_on").into_iter().flat_map(Node::entries) {
            if self.services.get(name).is_some() {
                continue;
            }
            let off = self.disabled.iter().any(|other| other == name);
            let required = entry.node.bool("required") != Some(false);
            if !required && off {
                continue;
            }
            let message = if off {
                format!("the service `{}` depends on `{name}`, which no active profile enables", self.name)
            } else {
                format!("the service `{}` depends on `{name}`, which is not defined", self.name)
            };
            let near = suggest::nearest(name, self.services.entries().map(|(name, _)| name));
            let hint = match near {
                _ if off => Some("enable its profile, or write `required: false`".to_owned()),
                near => near.map(|near| format!("did you mean `{near}`?")),
            };
            report.add(Problem::error(code::UNDEFINED, message).at(entry.key).maybe_hint(hint));
        }
    }

    fn values(&self, report: &mut Report) {
        let service = self.service;
        if let Some(test) = service.get("healthcheck").and_then(|health| health.get("test"))
            && let Some(first) = test.items().first()
            && !matches!(first.as_str(), Some("CMD" | "CMD-SHELL" | "NONE") | None)
        {
            let message = "a health check's `test` begins with CMD, CMD-SHELL or NONE";
            let problem = Problem::error(code::BAD_VALUE, message).at(first.span);
            report.add(problem.hint("or write it as one string, which a shell runs"));
        }
        let deploy = service.get("deploy");
        let copies =
            service.int("scale").or_else(|| deploy.and_then(|deploy| deploy.int("replicas"))).unwrap_or(1);
        if copies > 1
            && let Some(name) = service.get("container_name")
        {
            let message = format!("`container_name` names one container, and there are to be {copies}");
            report.error(code::CONFLICT, name.span, message);
        }
        for rule in service
            .get("develop")
            .and_then(|develop| develop.get("watch"))
            .map(Node::items)
            .unwrap_or_default()
        {
            let needs = !matches!(rule.str("action"), Some("rebuild" | "restart") | None);
            if needs && rule.get("target").is_none() {
                report.error(
                    code::MISSING_KEY,
                    rule.span,
                    "`target` is missing in a watch rule that copies files",
                );
            }
        }
        for port in service.get("ports").map(Node::items).unwrap_or_default() {
            port_values(port, report);
        }
        for item in service.get("expose").map(Node::items).unwrap_or_default() {
            let text = item.scalar().unwrap_or_default();
            let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            if let Err(why) = crate::value::ports::range(range) {
                report.error(code::BAD_VALUE, item.span, format!("`expose`: {why}"));
            } else if !matches!(protocol, "tcp" | "udp" | "sctp") {
                report.error(code::BAD_VALUE, item.span, format!("`expose`: `{protocol}` is not a protocol"));
            }
        }
        device_requests(service, report);
    }

    /// What is said in two places has to be the same.
    fn twice_said(&self, report: &mut Report) {
        let service = self.service;
        let deploy = service.get("deploy");
        let limits = deploy.and_then(|deploy| deploy.get("resources")).and_then(|all| all.get("limits"));
        let reservations =
            deploy.and_then(|deploy| deploy.get("resources")).and_then(|all| all.get("reservations"));
        let pairs = [
            ("scale", deploy, "replicas", true),
            ("cpus", limits, "cpus", false),
            ("mem_limit", limits, "memory", false),
            ("mem_reservation", reservations, "memory", false),
            ("pids_limit", limits, "pids", false),
        ];
        for (key, other, other_key, only_given) in pairs {
            let (Some(left), Some(other)) = (service.get(key), other) else { continue };
            let right = other.get(other_key);
            // Compose compares with the limits as a whole: one that is not said there is zero.
            let differ = match right {
                Some(right) => text_of(left) != text_of(right) && right.value != Value::Bad,
                None => !only_given && text_of(left) != Some("0".to_owned()) && left.value != Value::Bad,
            };
            if differ {
                let message = match right {
                    Some(_) => format!("`{key}` and `{other_key}` under `deploy` differ"),
                    None => {
                        format!("`{key}` is said, and `deploy` has limits without `{other_key}`: they differ")
                    }
                };
                report.add(
                    Problem::error(code::CONFLICT, message)
                        .at(left.span)
                        .also(right.map_or(other.span, |right| right.span), "the other is here"),
                );
            }
        }
    }

    /// No two things may be mounted at the same place.
    fn mounts(&self, report: &mut Report) {
        let mut seen: HashMap<String, Span> = HashMap::new();
        let tmpfs = self.service.get("tmpfs").map(Node::items).unwrap_or_default();
        let tmpfs =
            tmpfs.iter().filter_map(|item| Some((item.as_str()?.split(':').next()?.to_owned(), item.span)));
        let volumes = self.service.get("volumes").map(Node::items).unwrap_or_default();
        let volumes = volumes.iter().filter_map(|item| Some((item.str("target")?.to_owned(), item.span)));
        for (target, span) in tmpfs.chain(volumes) {
            if let Some(first) = seen.insert(target.clone(), span) {
                let message = format!("two mounts of the service `{}` have the target `{target}`", self.name);
                report.add(Problem::error(code::CONFLICT, message).at(span).also(first, "the other is here"));
            }
        }
    }
}

/// A scalar for comparing, so that 0.5 and "0.5" are the same.
fn text_of(node: &Node) -> Option<String> {
    match node.value {
        Value::Float(number) => Some(number.to_string()),
        _ => node.scalar(),
    }
}

fn port_values(port: &Node, report: &mut Report) {
    if let Some(ip) = port.get("host_ip")
        && let Some(address) = ip.as_str()
        && address.parse::<std::net::IpAddr>().is_err()
    {
        report.error(code::BAD_VALUE, ip.span, format!("`{address}` is not an IP address"));
    }
    if let Some(published) = port.get("published")
        && let Some(text) = published.as_str().filter(|text| !text.is_empty())
        && let Err(why) = crate::value::ports::range(text)
    {
        report.error(code::BAD_VALUE, published.span, why);
    }
}

fn device_requests(service: &Node, report: &mut Report) {
    let reserved = ["deploy", "resources", "reservations", "devices"]
        .iter()
        .try_fold(service, |node, key| node.get(key));
    for request in reserved.into_iter().chain(service.get("gpus")).flat_map(Node::items) {
        if let (Some(count), Some(_)) = (request.get("count"), request.get("device_ids")) {
            report.error(code::CONFLICT, count.span, "`count` and `device_ids` exclude each other");
        }
    }
}

/// Secrets and configs have exactly one source; what is external has only a name.
fn resource(section: &str, name: &str, node: &Node, key: Span, report: &mut Report) {
    let external = node.bool("external") == Some(true);
    if section == "volumes" && external {
        for (other, entry) in node.entries() {
            if !matches!(other, "name" | "external") && !other.starts_with("x-") {
                let message = format!("the volume `{name}` is external, and so cannot have `{other}`");
                report.error(code::CONFLICT, entry.key, message);
            }
        }
    }
    let sources: &[&str] = match section {
        "secrets" => &["file", "environment"],
        "configs" => &["file", "environment", "content"],
        _ => return,
    };
    let given: Vec<_> = sources.iter().filter_map(|source| node.as_map()?.get(*source)).collect();
    match given.as_slice() {
        [] if node.get("external").is_none() && node.get("driver").is_none() && node.as_map().is_some() => {
            let message = format!("`{name}` in {section} needs one of {}", sources.join(", "));
            report.error(code::MISSING_KEY, key, message);
        }
        [first, second, ..] => report.add(
            Problem::error(code::CONFLICT, format!("{} exclude each other", sources.join(", ")))
                .at(second.key)
                .also(first.key, "the first is here"),
        ),
        _ => {}
    }
}

/// Compose's containers share one space of names.
fn container_names(services: &Node, report: &mut Report) {
    let mut seen: HashMap<String, (Span, &str)> = HashMap::new();
    for (name, entry) in services.entries() {
        let Some(node) = entry.node.get("container_name") else { continue };
        let Some(text) = text(&entry.node, "container_name") else { continue };
        if let Some((first, other)) = seen.insert(text.clone(), (node.span, name)) {
            let message =
                format!("the services `{other}` and `{name}` have the same container name `{text}`");
            report.add(Problem::error(code::CONFLICT, message).at(node.span).also(first, "it is here first"));
        }
    }
}
