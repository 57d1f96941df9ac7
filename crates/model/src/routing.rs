//! The listeners of the edge: the gateway of the overlay, and the published ports of the compose file.
//!
//! A published port is served where Docker Compose would serve it: at its address and port on this machine, every
//! address if none is said. What is spoken there decides how: HTTP with one route to the service, or bytes.
//!
//! Processes share this machine's ports. Where a service listens itself (`port:`), the edge makes room and takes the next port;
//! where something that runs elsewhere listens already (`external:` on this machine), there is nothing to publish.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tutti_core::code;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{Backend, Listener, Route, Routing, Serve, Transport};

use crate::app::{Application, Published, Service};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::yaml::Node;

/// Puts the listeners together. `gateway` wins over a published port at the same address.
pub(crate) fn routing(
    application: &Application,
    gateway: Vec<Listener>,
    root: &Node,
    report: &mut Report,
) -> Routing {
    let own = own_ports(application);
    let mut listeners = gateway;
    for gateway in &mut listeners {
        make_room(&mut gateway.bind, &own, application, Span::default(), report);
    }
    let mut taken: Vec<(SocketAddr, Span, String)> = Vec::new();
    let gateway: Vec<SocketAddr> = listeners.iter().map(|gateway| gateway.bind).collect();
    // The same proxies are in front of what is published beside the gateway.
    let trusted = listeners.first().map(|gateway| gateway.transport.trusted_proxies.clone());
    let carried = Transport { trusted_proxies: trusted.unwrap_or_default(), ..Transport::default() };
    for service in application.services.values().filter(|service| !service.skip) {
        for (at, port) in service.published.iter().enumerate() {
            let span = span(root, service, at);
            if port.udp {
                let message = format!(
                    "the UDP port {} of `{}` is not served: only TCP is, in this version",
                    port.target, service.name
                );
                report.add(Problem::notice(code::NOT_HONOURED, message).at(span));
                continue;
            }
            let ip = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let mut bind = SocketAddr::new(ip, port.host_port.unwrap_or(0));
            if is_there(service, bind.port()) {
                continue;
            }
            make_room(&mut bind, &own, application, span, report);
            if gateway.iter().any(|gateway| overlap(*gateway, bind)) {
                continue;
            }
            if let Some((_, first, other)) = taken.iter().find(|(other, ..)| overlap(*other, bind)) {
                let message =
                    format!("the port {} is published by `{other}` and by `{}`", bind.port(), service.name);
                report.add(
                    Problem::error(code::CONFLICT, message)
                        .at(span)
                        .also(*first, "it is published here first"),
                );
                continue;
            }
            taken.push((bind, span, service.name.to_string()));
            listeners.push(listener(service, port, bind, carried.clone()));
        }
    }
    Routing { listeners, ..Routing::default() }
}

/// The ports that services take themselves, whatever they are told.
fn own_ports(application: &Application) -> Vec<(u16, &Service)> {
    let run = application.services.values().filter(|service| !service.skip && service.external.is_empty());
    run.filter_map(|service| Some((service.fixed_port?, service))).collect()
}

/// Whether what runs elsewhere is at this very port of this machine.
fn is_there(service: &Service, port: u16) -> bool {
    service.external.iter().filter_map(|(_, address)| address.rsplit_once(':')).any(|(host, number)| {
        let host = host.trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        here && number.parse() == Ok(port)
    })
}

/// Moves a listener from a port that a service takes itself to the next one that nobody has asked for.
fn make_room(
    bind: &mut SocketAddr,
    own: &[(u16, &Service)],
    application: &Application,
    span: Span,
    report: &mut Report,
) {
    let Some((port, service)) = own.iter().find(|(port, _)| *port == bind.port()) else { return };
    let published = |port: u16| {
        let all = application.services.values().flat_map(|service| &service.published);
        all.into_iter().any(|published| published.host_port == Some(port))
    };
    let free = |next: &u16| !published(*next) && !own.iter().any(|(own, _)| own == next);
    let Some(next) = (port.saturating_add(1)..u16::MAX).find(free) else { return };
    bind.set_port(next);
    let message =
        format!("`{}` listens at {port} itself, so the gateway serves that port at {next}", service.name);
    report.add(Problem::notice(code::NOT_HONOURED, message).at(span));
}

/// Whether two listeners would be at the same port of the same address.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (every || a.ip() == b.ip())
}

fn span(root: &Node, service: &Service, at: usize) -> Span {
    let node = root.get("services").and_then(|services| services.get(service.name.as_str()));
    let ports = node.and_then(|node| node.get("ports"));
    ports.and_then(|ports| ports.items().get(at)).map_or(Span::default(), |port| port.span)
}

fn listener(service: &Service, port: &Published, bind: SocketAddr, transport: Transport) -> Listener {
    let backend = Backend::new(service.name.clone(), port.target, port.protocol);
    let serve = match port.protocol {
        AppProtocol::Tcp => Serve::Tcp(backend),
        AppProtocol::Http | AppProtocol::H2c => Serve::http(vec![Route::to(service.name.as_str(), backend)]),
    };
    let name = format!("{}:{}", service.name, port.target);
    Listener { name, bind, transport, serve }
}
