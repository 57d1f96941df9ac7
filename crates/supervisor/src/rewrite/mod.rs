//! Changes addresses of peers into addresses that reach them, in environments and commands. Pure.
//!
//! In *ports mode* there are no names: `catalog:8080` is reached at a door, `127.0.0.1:PORT`. What is
//! recognised is listed in [`address`]; paths below a volume's target become the volume's folder ([`path`]).
//! What is not recognised stays as it is. Every change is recorded as a [`Rewrite`].

mod address;
mod path;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tutti_model::app::{Application, Command, Service};

/// One change of one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The service whose environment or command was changed.
    pub service: String,
    /// The variable, or `run[2]` for an argument.
    pub key: String,
    /// The value before.
    pub from: String,
    /// The value after.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// What names and paths mean for one instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Targets {
    /// Peers by the host name that stands in addresses.
    pub peers: BTreeMap<String, PeerTarget>,
    /// The instance's own ports: as its peers know them, and as they really are.
    pub own: BTreeMap<u16, String>,
    /// Paths inside the container, and where they are on this machine.
    pub mounts: Vec<(String, PathBuf)>,
    /// Folders of this machine (the project's, the build's, the data directory): what lies in them is no path of an image.
    pub ours: Vec<PathBuf>,
}

/// Where a peer is reached.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerTarget {
    /// The service.
    pub service: String,
    /// Its ports: as peers know them, and the door's host and port.
    pub ports: BTreeMap<u16, (String, String)>,
    /// The host at which all of its ports have the numbers that peers know: one may be told of it without a port.
    pub at: Option<String>,
}

impl PeerTarget {
    /// The host at which a service is found at the very ports that its peers know, if it is known before it runs.
    pub fn host_of(service: &Service) -> Option<String> {
        if service.external.is_empty() {
            let mut ports = service.listens.iter().filter(|listen| !listen.udp).map(|listen| listen.port);
            let alone = ports.next() == service.fixed_port && ports.next().is_none();
            return (alone && service.fixed_port.is_some()).then(|| "127.0.0.1".to_owned());
        }
        let mut hosts = service.external.iter().map(|(port, address)| {
            let (host, number) = address.rsplit_once(':')?;
            (number.parse() == Ok(*port) && !host.starts_with('[')).then_some(host)
        });
        let first = hosts.next()??;
        hosts.all(|host| host == Some(first)).then(|| first.to_owned())
    }
}

impl Targets {
    fn peer(&self, host: &str) -> Option<&PeerTarget> {
        // Host names do not differ by case (RFC 4343).
        self.peers.get(host).or_else(|| {
            self.peers.iter().find(|(name, _)| name.eq_ignore_ascii_case(host)).map(|(_, target)| target)
        })
    }
}

/// A value after its rewriting, and why it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Changed {
    value: String,
    reasons: Vec<String>,
}

/// An environment and what was changed in it.
#[derive(Clone, Debug, Default)]
pub struct Rewritten<T> {
    /// The result.
    pub value: T,
    /// Every change.
    pub rewrites: Vec<Rewrite>,
    /// What names a peer and could not be changed, in words.
    pub notices: Vec<String>,
}

/// Rewrites the values of an environment.
pub fn environment(
    service: &str,
    env: &IndexMap<String, String>,
    targets: &Targets,
) -> Rewritten<IndexMap<String, String>> {
    let mut result = Rewritten { value: env.clone(), ..Rewritten::default() };
    let pairs = address::pairs(env, targets, &mut result.notices);
    for (key, from) in env {
        let changed = pairs.get(key).cloned().or_else(|| value(key, from, targets));
        if let Some(Changed { value, reasons }) = changed {
            result.rewrites.push(rewrite(service, key, from, &value, &reasons));
            result.value.insert(key.clone(), value);
        }
    }
    result
}

/// Rewrites a command.
pub fn command(service: &str, command: &Command, targets: &Targets) -> Rewritten<Command> {
    match command {
        Command::Shell(line) => {
            let changed = value("", line, targets);
            let to = changed.as_ref().map_or_else(|| line.clone(), |changed| changed.value.clone());
            let rewrites =
                changed.iter().map(|c| rewrite(service, "run", line, &c.value, &c.reasons)).collect();
            Rewritten { value: Command::Shell(to), rewrites, notices: Vec::new() }
        }
        Command::Args(args) => {
            let mut rewrites = Vec::new();
            let mut before = "";
            let mut result = Vec::with_capacity(args.len());
            for (at, arg) in args.iter().enumerate() {
                let changed =
                    address::port_argument(before, arg, targets).or_else(|| value("", arg, targets));
                let to = changed.as_ref().map_or_else(|| arg.clone(), |changed| changed.value.clone());
                let key = format!("run[{at}]");
                rewrites.extend(changed.iter().map(|c| rewrite(service, &key, arg, &c.value, &c.reasons)));
                result.push(to);
                before = arg;
            }
            Rewritten { value: Command::Args(result), rewrites, notices: Vec::new() }
        }
    }
}

fn value(key: &str, from: &str, targets: &Targets) -> Option<Changed> {
    if let Some(changed) = address::own_port(key, from, targets) {
        return Some(changed);
    }
    let addresses = address::tokens(from, targets);
    let paths = path::paths(addresses.as_ref().map_or(from, |changed| &changed.value), targets);
    match (addresses, paths) {
        (Some(mut first), Some(second)) => {
            first.reasons.extend(second.reasons);
            Some(Changed { value: second.value, reasons: first.reasons })
        }
        (first, second) => second.or(first),
    }
}

fn rewrite(service: &str, key: &str, from: &str, to: &str, reasons: &[String]) -> Rewrite {
    Rewrite {
        service: service.to_owned(),
        key: key.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        reason: reasons.join("; "),
    }
}

/// What would be rewritten if the application ran, with `<door>`, `<port>` and `<data>` for what is not known yet.
/// For `tutti config print --rewrites` without a running application.
pub fn preview(application: &Application) -> Vec<Rewrite> {
    let data_dir = std::path::Path::new("<data>");
    let mut all = Vec::new();
    for service in application.services.values().filter(|service| !service.skip) {
        let targets = preview_targets(application, service, data_dir);
        all.extend(environment(service.name.as_str(), &service.environment, &targets).rewrites);
        if let Some(run) = &service.run {
            all.extend(command(service.name.as_str(), run, &targets).rewrites);
        }
    }
    all
}

fn preview_targets(application: &Application, service: &Service, data_dir: &std::path::Path) -> Targets {
    let mut targets = Targets::default();
    for peer in &service.peers {
        let Some(meant) = application.services.get(&peer.service).filter(|meant| !meant.skip) else {
            continue;
        };
        let door = ("127.0.0.1".to_owned(), "<door>".to_owned());
        let ports = meant.listens.iter().filter(|l| !l.udp).map(|l| (l.port, door.clone())).collect();
        let target = PeerTarget { service: meant.name.to_string(), ports, at: PeerTarget::host_of(meant) };
        targets.peers.insert(peer.host.clone(), target);
    }
    for listen in service.listens.iter().filter(|listen| !listen.udp) {
        let real = service.fixed_port.map_or_else(|| "<port>".to_owned(), |port| port.to_string());
        targets.own.insert(listen.port, real);
    }
    targets.mounts = crate::environment::mounts(service, data_dir);
    targets.ours = crate::environment::ours(application, service, data_dir);
    targets
}
