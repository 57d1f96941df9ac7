//! `gateway.tls.acme:` becomes what the room of certificates is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tutti_core::{code, limits};
use tutti_ports::certificates::{Acme, Challenge, DnsHook, ExternalAccount, OnDemand};
use tutti_ports::routing::Route;

use super::types::acme::{self, AcmeChallenge};
use super::types::{Line, Several};

use crate::compose::environment::Environment;
use crate::compose::paths;
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
const PROPAGATION: Duration = Duration::from_secs(10);

/// Reads it. `node` is the `acme` mapping.
pub(super) fn read(
    said: &acme::Acme,
    node: Option<&Node>,
    routes: &[Arc<Route>],
    (folder, env): (&Path, &Environment),
    report: &mut Report,
) -> Acme {
    let mut reader = Reader { node, report };
    let file = |path: &String| paths::absolute(folder, path, env);
    let challenges = reader.challenges(said);
    let certificates = match &said.hosts {
        Some(hosts) => hosts.iter().map(|host| reader.names(&Several::list(Some(host)), "hosts")).collect(),
        None => reader.of_routes(routes, &challenges),
    };
    reader.provable(&certificates, &challenges);
    let on_demand = said.on_demand.as_ref().map(|on_demand| reader.on_demand(on_demand));
    let directory = match said.directory.as_deref() {
        None | Some("letsencrypt") => LETS_ENCRYPT,
        Some("letsencrypt-staging") => STAGING,
        Some(url) => url,
    };
    let external =
        |eab: &acme::ExternalAccount| ExternalAccount { kid: eab.kid.clone(), key_file: file(&eab.key_file) };
    let acme = Acme {
        directory: directory.to_owned(),
        email: said.email.clone(),
        challenges,
        certificates,
        on_demand,
        external_account: said.eab.as_ref().map(external),
        dns_hook: said.dns_hook.as_ref().map(hook),
        trusted_root: said.ca_certificate.as_ref().map(file),
    };
    let files = acme.external_account.iter().map(|eab| (&eab.key_file, "eab"));
    for (path, key) in files.chain(acme.trusted_root.iter().map(|path| (path, "ca_certificate"))) {
        if !reader.report.sources.disk.is_file(path) {
            let message = format!("there is no file `{}`", path.display());
            reader.report.error(code::UNREADABLE_FILE, reader.span(key), message);
        }
    }
    acme
}

struct Reader<'a> {
    node: Option<&'a Node>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn span(&self, key: &str) -> Span {
        let key = self.node.and_then(|node| node.get(key));
        key.or(self.node).map_or(Span::default(), |node| node.span)
    }

    fn challenges(&mut self, said: &acme::Acme) -> Vec<Challenge> {
        let challenges: Vec<Challenge> = said
            .challenges
            .iter()
            .map(|challenge| match challenge {
                AcmeChallenge::Http01 => Challenge::Http01,
                AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
                AcmeChallenge::Dns01 => Challenge::Dns01,
            })
            .collect();
        if challenges.contains(&Challenge::Dns01) && said.dns_hook.is_none() {
            let message = "`dns-01` needs `dns_hook`, the program that writes the records";
            let hint = "for example `dns_hook: { run: [./dns.sh] }`";
            self.report
                .add(Problem::error(code::MISSING_KEY, message).at(self.span("challenges")).hint(hint));
        }
        if !challenges.is_empty() {
            return challenges;
        }
        let dns = said.dns_hook.as_ref().map(|_| Challenge::Dns01);
        [Challenge::TlsAlpn01, Challenge::Http01].into_iter().chain(dns).collect()
    }

    /// The names of one certificate, in their one spelling.
    fn names(&mut self, said: &[String], key: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for text in said {
            let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
            if !is_name(&name) {
                let message = format!("`{text}` is not a host name for which a certificate could be had");
                self.report.error(code::BAD_VALUE, self.span(key), message);
            } else if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > limits::CERTIFICATE_NAMES {
            let message = format!("a certificate has at most {} names", limits::CERTIFICATE_NAMES);
            self.report.error(code::BAD_VALUE, self.span(key), message);
        }
        names
    }

    /// One for each host of the routes. Names of this machine are not for an authority of the world's; nor is a wildcard without
    /// the one challenge that could prove it, which is said.
    fn of_routes(&mut self, routes: &[Arc<Route>], challenges: &[Challenge]) -> Vec<Vec<String>> {
        let mut hosts: Vec<String> = routes.iter().flat_map(|route| route.hosts.clone()).collect();
        hosts.sort();
        hosts.dedup();
        hosts.retain(|host| is_name(host) && host != "localhost" && !host.ends_with(".localhost"));
        let wild = |host: &String| host.starts_with("*.") && !challenges.contains(&Challenge::Dns01);
        for host in hosts.iter().filter(|host| wild(host)) {
            let message =
                format!("no certificate can be had for the route's host `{host}`: a wildcard needs `dns-01`");
            let hint =
                "set `dns_hook`, name the hosts in `hosts`, or let clients bring them up with `on_demand`";
            self.report.add(Problem::notice(code::NOT_HONOURED, message).at(self.span("hosts")).hint(hint));
        }
        hosts.into_iter().filter(|host| !wild(host)).map(|host| vec![host]).collect()
    }

    fn provable(&mut self, certificates: &[Vec<String>], challenges: &[Challenge]) {
        let wild = certificates.iter().flatten().find(|name| name.starts_with("*."));
        if let Some(name) = wild.filter(|_| !challenges.contains(&Challenge::Dns01)) {
            let message = format!("`{name}` can only be proved by `dns-01`");
            let hint = "set `dns_hook`, and `dns-01` in `challenges` if they are listed";
            self.report.add(Problem::error(code::CONFLICT, message).at(self.span("hosts")).hint(hint));
        }
    }

    fn on_demand(&mut self, said: &acme::OnDemand) -> OnDemand {
        if said.allow.is_empty() && said.ask.is_none() {
            let message = "`on_demand` needs `allow` or `ask`: otherwise no name is ever admitted";
            self.report.error(code::MISSING_KEY, self.span("on_demand"), message);
        }
        OnDemand { allow: self.names(&said.allow, "on_demand"), ask: said.ask.clone() }
    }
}

fn hook(said: &acme::DnsHook) -> DnsHook {
    let length = |text: &Option<String>| text.as_ref().and_then(|text| duration::parse(text).ok());
    let command = match &said.run {
        Line::Args(args) => args.clone(),
        // What is added stands behind the line, as it would behind a program.
        Line::Shell(line) => {
            ["/bin/sh", "-c", &format!("{line} \"$@\""), "dns_hook"].map(str::to_owned).to_vec()
        }
    };
    DnsHook {
        command,
        timeout: length(&said.timeout).filter(|length| !length.is_zero()).unwrap_or(HOOK_TIMEOUT),
        propagation: length(&said.propagation).unwrap_or(PROPAGATION),
    }
}

/// Whether it is a name of the DNS with a dot in it, or a wildcard; no address.
fn is_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=limits::NAME_BYTES).contains(&label.len())
            && plain
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = rest.parse::<std::net::Ipv4Addr>().is_ok();
    rest.contains('.') && !address && name.len() <= limits::HOST_BYTES && rest.split('.').all(label)
}

#[cfg(test)]
mod tests;
