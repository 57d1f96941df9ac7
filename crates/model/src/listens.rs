//! The ports of services whose files name none.
//!
//! A compose file need not say where a service listens: inside a network every port is reachable. It shows elsewhere,
//! and the first of these that says something is believed: the image's `EXPOSE`; the service's own health check together with the
//! addresses by which its peers name it.

use std::collections::BTreeSet;

use crate::app::{Application, Command, Listen, Service, Test};
use crate::compose::decode::protocol_of;
use crate::dockerfile::Dockerfile;
use crate::health::{Native, Surroundings, native};

/// Gives each service that says no port those that can be seen elsewhere.
pub(crate) fn complete(application: &mut Application) {
    let silent: Vec<_> = application.services.values().filter(|s| s.listens.is_empty() && !s.skip).collect();
    let found: Vec<_> =
        silent.into_iter().map(|service| (service.name.clone(), seen(service, application))).collect();
    for (name, ports) in found {
        if let Some(service) = application.services.get_mut(&name) {
            let listen = |port| Listen { port, protocol: protocol_of(None, port), udp: false };
            service.listens = ports.into_iter().map(listen).collect();
        }
    }
}

fn seen(service: &Service, application: &Application) -> Vec<u16> {
    let exposed =
        service.build.as_ref().and_then(Dockerfile::of).map(|file| file.exposes).unwrap_or_default();
    if !exposed.is_empty() {
        return exposed;
    }
    // The health check's port first: it is the main one.
    let mut ports: Vec<u16> = checked(service).into_iter().collect();
    let named: BTreeSet<u16> =
        application.services.values().flat_map(|peer| named_by(peer, service)).collect();
    ports.extend(named.into_iter().filter(|port| checked(service) != Some(*port)));
    ports
}

/// The port that the service's own health check asks.
fn checked(service: &Service) -> Option<u16> {
    let names = [service.name.as_str()];
    let test = &service.health.as_ref()?.test;
    let understood = match native(test, &Surroundings { environment: &service.environment, names: &names }) {
        Native::Probe { test, .. } => test,
        Native::AsIs | Native::Command { .. } => test.clone(),
    };
    match understood {
        Test::Http { port, .. } | Test::Tcp { port } | Test::Grpc { port, .. } => Some(port),
        Test::None | Test::Command(_) => None,
    }
}

/// The ports at which a peer's environment and commands name the service.
fn named_by(peer: &Service, service: &Service) -> Vec<u16> {
    let hosts: Vec<&str> = peer
        .peers
        .iter()
        .filter(|known| known.service == service.name)
        .map(|known| known.host.as_str())
        .collect();
    let words =
        [&peer.run, &peer.command, &peer.entrypoint].into_iter().flatten().flat_map(
            |command| match command {
                Command::Args(args) => args.as_slice(),
                Command::Shell(line) => std::slice::from_ref(line),
            },
        );
    let texts = peer.environment.values().chain(words);
    texts.flat_map(|text| hosts.iter().flat_map(move |host| ports_of(text, host))).collect()
}

/// The ports in `host:port` tokens of a text.
fn ports_of(text: &str, host: &str) -> Vec<u16> {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(host)
        .filter(|(at, _)| !text.get(..*at).unwrap_or_default().ends_with(part_of_name))
        .filter_map(|(at, _)| {
            let digits = text.get(at + host.len()..)?.strip_prefix(':')?;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let (port, rest) = digits.split_at(end);
            if rest.starts_with(part_of_name) { None } else { port.parse().ok().filter(|port| *port != 0) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ports_of;

    #[test]
    fn only_whole_names_count() {
        for (text, expected) in [
            ("http://cart:8080/x", vec![8080]),
            ("cart:80,cart:81", vec![80, 81]),
            ("http://my-cart:8080", vec![]),
            ("http://cart.example.com:8080", vec![]),
            ("carts:8080", vec![]),
            ("cart:8080a", vec![]),
            ("cart:99999", vec![]),
            ("user:pw@cart:5432/db", vec![5432]),
        ] {
            assert_eq!(ports_of(text, "cart"), expected, "{text}");
        }
    }
}
