//! What a process that failed seems to want, read from its last words: the two ways in which programs made for containers
//! fail as processes of one machine. A hint adds to the reason, it never takes its place.

use tutti_model::app::{Application, Service};

/// What programs of the common languages print when a port is taken.
const TAKEN: &[&str] = &[
    "address already in use",
    "eaddrinuse",
    "address in use",
    "is in use by another program",
    "was already in use",
];

/// What they print when a host name is not known.
const UNKNOWN: &[&str] = &[
    "enotfound",
    "eai_again",
    "could not translate host name",
    "name or service not known",
    "temporary failure in name resolution",
    "no such host",
    "unknownhostexception",
    "unknown host",
    "failed to lookup address",
    "getaddrinfo failed",
    "nodename nor servname",
    "name does not resolve",
];

/// The hint for a service whose instance failed, from what it printed last.
pub(crate) fn of(last_lines: &[String], service: &Service, application: &Application) -> Option<String> {
    let lines = || last_lines.iter().map(|line| line.to_ascii_lowercase());
    let says = |phrases: &[&str]| lines().any(|line| phrases.iter().any(|phrase| line.contains(phrase)));
    if says(TAKEN) {
        return port(service, application);
    }
    if says(UNKNOWN) {
        let named =
            |host: &str| lines().any(|line| line.split(|c| !is_host_char(c)).any(|word| word == host));
        let peer = service.peers.iter().find(|peer| named(&peer.host.to_ascii_lowercase()))?;
        return Some(format!(
            "it looks for `{0}` by name in its own code or settings, and services have no names on this machine: have it read the \
             address from a variable, or write `127.0.0.1 {0}` into /etc/hosts and have {1} listen at its usual port \
             (`external:`, `port:`)",
            peer.host, peer.service
        ));
    }
    None
}

/// The port that it takes itself is the one at which the gateway serves it.
fn port(service: &Service, application: &Application) -> Option<String> {
    if service.fixed_port.is_some() {
        return None;
    }
    let edge = |port: u16| application.routing.listeners.iter().any(|listener| listener.bind.port() == port);
    let listen = service.listens.iter().find(|listen| !listen.udp && edge(listen.port))?;
    Some(format!(
        "it listens at {1} whatever PORT says, and the gateway has that port: say in tutti.yaml services: {{ {0}: {{ port: {1} }} }}, \
         and the gateway serves it at another one",
        service.name, listen.port
    ))
}

fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tutti_core::{ProjectName, ServiceName};
    use tutti_model::app::{Listen, Peer};
    use tutti_ports::routing::{Listener, Routing, Serve, Transport};

    use super::*;

    /// A service at 8000, which the edge has too, with the peer `redis` under the name `cache`.
    fn service() -> Service {
        let mut service = Service::new(ServiceName::new("web").unwrap());
        service.listens.push(Listen { port: 8000, protocol: Default::default(), udp: false });
        service.peers.push(Peer { host: "cache".to_owned(), service: ServiceName::new("redis").unwrap() });
        service
    }

    fn hint(service: &Service, line: &str) -> String {
        let bind = SocketAddr::from(([0, 0, 0, 0], 8000));
        let (name, serve) = ("web:8000".to_owned(), Serve::Http(Vec::new()));
        let listener = Listener { name, bind, transport: Transport::default(), serve };
        let application = Application {
            name: ProjectName::new("p").unwrap(),
            folder: "/p".into(),
            files: Vec::new(),
            services: Default::default(),
            routing: Routing { listeners: vec![listener], ..Routing::default() },
        };
        of(&["first".to_owned(), line.to_owned()], service, &application).unwrap_or_default()
    }

    #[test]
    fn a_port_that_the_gateway_has_leads_to_the_line_for_the_overlay() {
        for line in [
            "Error: listen EADDRINUSE: address already in use :::8000",
            "Web server failed to start. Port 8000 was already in use.",
            "listen tcp :8000: bind: address already in use",
            "OSError: [Errno 98] Address already in use",
        ] {
            let hint = hint(&service(), line);
            assert!(hint.contains("services: { web: { port: 8000 } }"), "{line}: {hint}");
        }
        let mut other = service();
        other.listens[0].port = 9000;
        assert_eq!(hint(&other, "EADDRINUSE"), "", "the gateway is not at that port");
        let mut fixed = service();
        fixed.fixed_port = Some(8000);
        assert_eq!(hint(&fixed, "EADDRINUSE"), "", "it is said already");
    }

    #[test]
    fn a_peers_name_in_the_code_is_told() {
        for line in [
            "Error: getaddrinfo ENOTFOUND cache",
            "redis.exceptions.ConnectionError: Error -2 connecting to cache:6379. Name or service not known.",
            "dial tcp: lookup cache on 127.0.0.11:53: no such host",
            "java.net.UnknownHostException: cache: Temporary failure in name resolution",
        ] {
            let hint = hint(&service(), line);
            assert!(hint.contains("`127.0.0.1 cache` into /etc/hosts and have redis"), "{line}: {hint}");
        }
        assert_eq!(hint(&service(), "getaddrinfo ENOTFOUND cache.example.com"), "");
        assert_eq!(hint(&service(), "the cache is cold"), "");
    }
}
