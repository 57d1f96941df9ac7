//! Lays the overlay's services over those of the compose file.

use std::time::Duration;

use indexmap::IndexMap;
use tutti_core::{ServiceName, code};
use tutti_ports::catalog::AppProtocol;

use super::types::{External, Health, HealthCheck, Protocol, Protocols, Scalar, Service as Addition};
use super::{Overlay, Uses};
use crate::app::{Healthcheck, Listen, Service, Test};
use crate::compose::environment::Environment;
use crate::compose::{decode, paths};
use crate::diagnostic::{Problem, Report, suggest};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::{Node, float_text};

/// What an overlay's health check has where nothing is said: it is probed often, because that is cheap here.
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);
const RETRIES: u32 = 3;

/// What is known from the compose files.
pub(crate) struct Known<'a> {
    /// Services that no active profile enables.
    pub disabled: &'a [String],
    /// Every file was read to its end: a service that is not known does not exist.
    pub whole: bool,
    /// The variables.
    pub env: &'a Environment,
}

/// Adds what the overlay says to the services; returns whom they use. Disabled services are left alone.
pub(crate) fn apply(
    overlay: &Overlay,
    services: &mut IndexMap<ServiceName, Service>,
    known: &Known<'_>,
    folder: &std::path::Path,
    report: &mut Report,
) -> Uses {
    let mut uses = Uses::new();
    let names: Vec<ServiceName> = services.keys().cloned().collect();
    for (name, entry) in overlay.tree.get("services").into_iter().flat_map(Node::entries) {
        let Some(addition) = overlay.types.services.get(name) else { continue };
        let found = ServiceName::new(name).ok().and_then(|name| services.get_mut(&name));
        let Some(service) = found else {
            if known.whole && !known.disabled.iter().any(|other| other == name) {
                report.add(unknown(name, &names, entry.key, "in the compose file"));
            }
            continue;
        };
        let mut one = One { node: &entry.node, place: entry.key, report };
        one.add(addition, service, folder, known.env);
        let used = one.uses(addition, &names, known);
        uses.insert(service.name.clone(), used);
    }
    uses
}

/// A name that no service has.
pub(super) fn unknown(name: &str, names: &[ServiceName], span: Span, place: &str) -> Problem {
    let near = suggest::nearest(name, names.iter().map(ServiceName::as_str));
    Problem::error(code::UNDEFINED, format!("there is no service `{name}` {place}"))
        .at(span)
        .maybe_hint(near.map(|near| format!("did you mean `{near}`?")))
}

struct One<'a> {
    node: &'a Node,
    place: Span,
    report: &'a mut Report,
}

impl One<'_> {
    fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.place, |node| node.span)
    }

    fn add(
        &mut self,
        addition: &Addition,
        service: &mut Service,
        folder: &std::path::Path,
        env: &Environment,
    ) {
        service.run = addition.run.as_ref().map(super::types::Line::command);
        service.setup =
            addition.setup.as_ref().map(|steps| steps.iter().map(super::types::Line::command).collect());
        service.dir = addition.dir.as_ref().map(|dir| paths::absolute(folder, dir, env));
        service.fixed_port = addition.port;
        service.skip = addition.skip;
        if addition.version.is_some() {
            service.version.clone_from(&addition.version);
        }
        service.zone.clone_from(&addition.zone);
        service.tags.clone_from(&addition.tags);
        service.weight = addition.weight.unwrap_or(1);
        if let Some(replicas) = addition.replicas {
            service.replicas = replicas;
        }
        for (key, value) in &addition.env {
            match text(value) {
                Some(value) => {
                    service.environment.insert(key.clone(), value);
                }
                None => {
                    service.environment.shift_remove(key);
                }
            }
        }
        if let Some(port) = addition.port
            && service.listens.iter().all(|listen| listen.udp)
        {
            service.listens.insert(0, Listen { port, protocol: decode::protocol_of(None, port), udp: false });
        }
        self.external(addition, service);
        self.protocols(addition, service);
        if let Some(health) = &addition.health {
            service.health = self.health(health, service);
            let command = matches!(&service.health, Some(check) if matches!(check.test, Test::Command(_)));
            if command && addition.external.is_some() {
                self.runs_elsewhere(&service.name);
            }
        }
    }

    fn runs_elsewhere(&mut self, name: &ServiceName) {
        let message = format!("`{name}` runs elsewhere, and a command cannot look at it from here");
        let hint = "ask it by `http`, `grpc` or `tcp`; until then a connection to its port is what counts";
        let problem = Problem::warning(code::NOT_HONOURED, message).at(self.span("health")).hint(hint);
        self.report.add(problem);
    }

    fn external(&mut self, addition: &Addition, service: &mut Service) {
        let span = self.span("external");
        match &addition.external {
            None => {}
            Some(External::Main(address)) => {
                let own = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                if let Some(port) = main_port(service).or(own) {
                    service.external = vec![(port, address.clone())];
                }
            }
            Some(External::Each(addresses)) => {
                for (port, address) in addresses {
                    match self.port(port, span) {
                        Some(port) => service.external.push((port, address.clone())),
                        None => continue,
                    }
                }
            }
        }
        for (port, _) in &service.external {
            if !service.listens.iter().any(|listen| listen.port == *port && !listen.udp) {
                let protocol = decode::protocol_of(None, *port);
                service.listens.push(Listen { port: *port, protocol, udp: false });
            }
        }
    }

    fn port(&mut self, text: &str, span: Span) -> Option<u16> {
        let port = text.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            self.report.error(code::BAD_VALUE, span, format!("`{text}` is not a port"));
        }
        port
    }

    fn protocols(&mut self, addition: &Addition, service: &mut Service) {
        let span = self.span("protocol");
        let set = |port: u16, protocol: Protocol, service: &mut Service| {
            let listens = service.listens.iter_mut().filter(|listen| listen.port == port && !listen.udp);
            let mut found = false;
            for listen in listens {
                listen.protocol = app_protocol(protocol);
                found = true;
            }
            for published in service.published.iter_mut().filter(|other| other.target == port && !other.udp) {
                published.protocol = app_protocol(protocol);
            }
            if !found {
                let protocol = app_protocol(protocol);
                service.listens.push(Listen { port, protocol, udp: false });
            }
        };
        match &addition.protocol {
            None => {}
            Some(Protocols::Main(protocol)) => match main_port(service) {
                Some(port) => set(port, *protocol, service),
                None => {
                    let message =
                        format!("no port of `{}` is known whose protocol this could be", service.name);
                    self.report.add(Problem::error(code::MISSING_KEY, message).at(span).hint("add `port:`"));
                }
            },
            Some(Protocols::Each(words)) => {
                for (port, protocol) in words {
                    if let Some(port) = self.port(port, span) {
                        set(port, *protocol, service);
                    }
                }
            }
        }
    }

    fn health(&mut self, health: &Health, service: &Service) -> Option<Healthcheck> {
        let check = match health {
            Health::Short(word) if word == "none" => {
                return Some(healthcheck(&HealthCheck::default(), Test::None));
            }
            Health::Short(path) => HealthCheck { http: Some(path.clone()), ..HealthCheck::default() },
            Health::Long(check) => HealthCheck::clone(check),
        };
        let span = self.span("health");
        let given =
            [check.http.is_some(), check.tcp == Some(true), check.grpc.is_some(), check.command.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            let message = "a health check has exactly one of `http`, `tcp: true`, `grpc` and `command`";
            self.report.error(code::CONFLICT, span, message);
            return None;
        }
        if let Some(line) = &check.command {
            return Some(healthcheck(&check, Test::Command(line.command())));
        }
        let Some(port) = check.port.or_else(|| main_port(service)) else {
            let message = format!("no port of `{}` is known that could be asked", service.name);
            let hint = "add `port:` to the health check or to the service";
            self.report.add(Problem::error(code::MISSING_KEY, message).at(span).hint(hint));
            return None;
        };
        let test = match (&check.http, &check.grpc) {
            (Some(path), _) => Test::Http { port, path: path.clone(), any_status: false },
            (_, Some(service)) => Test::Grpc { port, service: service.clone() },
            _ => Test::Tcp { port },
        };
        Some(healthcheck(&check, test))
    }

    fn uses(&mut self, addition: &Addition, names: &[ServiceName], known: &Known<'_>) -> Vec<ServiceName> {
        let items = self.node.get("uses").map(Node::items).unwrap_or_default();
        let mut out = Vec::new();
        for (name, item) in addition.uses.iter().zip(items) {
            match names.iter().find(|other| other.as_str() == name) {
                Some(name) => out.push(name.clone()),
                None if !known.whole || known.disabled.contains(name) => {}
                None => self.report.add(unknown(name, names, item.span, "to be used")),
            }
        }
        out
    }
}

fn text(value: &Scalar) -> Option<String> {
    match value {
        Scalar::Bool(truth) => Some(truth.to_string()),
        Scalar::Int(number) => Some(number.to_string()),
        Scalar::Float(number) => Some(float_text(*number)),
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Null(()) => None,
    }
}

/// The first TCP port that peers know.
pub(super) fn main_port(service: &Service) -> Option<u16> {
    service.listens.iter().find(|listen| !listen.udp).map(|listen| listen.port)
}

fn app_protocol(protocol: Protocol) -> AppProtocol {
    match protocol {
        Protocol::Http => AppProtocol::Http,
        Protocol::H2c | Protocol::Grpc => AppProtocol::H2c,
        Protocol::Tcp => AppProtocol::Tcp,
    }
}

fn healthcheck(check: &HealthCheck, test: Test) -> Healthcheck {
    let length = |text: &Option<String>| text.as_ref().and_then(|text| duration::parse(text).ok());
    Healthcheck {
        test,
        interval: length(&check.interval).filter(|length| !length.is_zero()).unwrap_or(INTERVAL),
        timeout: length(&check.timeout).filter(|length| !length.is_zero()).unwrap_or(TIMEOUT),
        retries: check.retries.unwrap_or(RETRIES),
        start_period: length(&check.start_period).unwrap_or_default(),
        start_interval: None,
    }
}
