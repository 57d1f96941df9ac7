//! Where the edge listens, for people: addresses that can be typed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tutti_ports::routing::{Routing, Serve};
use tutti_proxy::handle::ListenerDescription;

use crate::control::wire::Listening;

/// The listeners of the edge, with the addresses that they really have.
pub(super) fn listening(routing: &Routing, bound: &[ListenerDescription]) -> Vec<Listening> {
    routing
        .listeners
        .iter()
        .map(|listener| {
            let real = bound
                .iter()
                .find(|real| real.name == listener.name)
                .map_or(listener.bind, |real| real.address);
            let (scheme, serves) = match &listener.serve {
                Serve::Http(routes) => {
                    let backends = routes.iter().flat_map(|route| &route.backends);
                    (
                        if listener.transport.tls.is_some() { "https" } else { "http" },
                        backends.map(|backend| backend.service.to_string()).collect::<BTreeSet<_>>(),
                    )
                }
                Serve::Tcp(backend) => ("tcp", BTreeSet::from([backend.service.to_string()])),
                Serve::Stream(None) => ("tls", BTreeSet::new()),
                Serve::Stream(Some(route)) => {
                    let backends = route.backends.iter();
                    ("tcp", backends.map(|backend| backend.service.to_string()).collect())
                }
            };
            let mut serves = serves;
            let passed = listener.transport.passthrough.iter().flat_map(|route| &route.backends);
            serves.extend(passed.map(|backend| backend.service.to_string()));
            let address = format!("{scheme}://{}", reachable(real));
            Listening { name: listener.name.clone(), address, serves: serves.into_iter().collect() }
        })
        .collect()
}

/// `0.0.0.0` and `[::]` mean every address of this machine; what a person types is one of them.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = if addr.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { addr.ip() };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_shown_as_one_that_can_be_typed() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("10.0.0.7:80".parse().unwrap()).to_string(), "10.0.0.7:80");
    }
}
