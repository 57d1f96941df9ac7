//! Finds out that an instance listens somewhere else than it was told, which is why nobody reaches it.
//!
//! Many services do not know `PORT`. One that listens at the port that its peers know it by is reached there;
//! then it can run once only, and is stopped before it is started again. One that listens anywhere else is reported.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tutti_core::InstanceId;
use tutti_ports::catalog::{Endpoint, Health};

use super::Shared;

/// Time from the start to the first look; each next one takes twice as long.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(500);

/// There is no look after so long a pause.
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(32);

/// What a look at an instance found.
pub(super) enum Found {
    /// It is well, or nothing can be said any more.
    Nothing,
    /// It does not listen yet, or listens where it should and is not well for another reason.
    NotYet,
    /// It listens at the port that its peers know, and not at the one it was told.
    AtKnownPort(SocketAddr),
    /// It listens somewhere.
    Elsewhere(Vec<u16>),
}

/// Looks where an instance listens, if it is not well.
pub(super) async fn look(shared: &Arc<Shared>, id: &InstanceId, pid: i32, endpoints: &[Endpoint]) -> Found {
    let health = shared.deps.catalog.watch().borrow().instance(id).map(|instance| instance.health);
    let (Some(main), Some(Health::Starting | Health::Critical)) = (endpoints.first(), health) else {
        return Found::Nothing;
    };
    let driver = Arc::clone(&shared.driver);
    let addresses = tokio::task::spawn_blocking(move || driver.addresses(pid)).await.unwrap_or_default();
    judge(main, endpoints, &addresses)
}

fn judge(main: &Endpoint, endpoints: &[Endpoint], addresses: &[SocketAddr]) -> Found {
    let told: HashSet<u16> = endpoints.iter().map(|endpoint| endpoint.addr.port()).collect();
    if addresses.is_empty() || addresses.iter().any(|address| told.contains(&address.port())) {
        return Found::NotYet;
    }
    match addresses.iter().find(|address| address.port() == main.port) {
        Some(address) => Found::AtKnownPort(reachable(*address)),
        None => Found::Elsewhere(addresses.iter().map(SocketAddr::port).collect()),
    }
}

/// Where something that listens there is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        // Listening at every IPv6 address takes IPv4 too, unless it was forbidden; loopback works either way.
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_that_is_elsewhere_altogether_is_judged() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let main = Endpoint { port: 8080, addr: at("127.0.0.1:21000"), protocol: Default::default() };
        let found = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|text| at(text)).collect();
            judge(&main, std::slice::from_ref(&main), &addresses)
        };
        assert!(matches!(found(&[]), Found::NotYet));
        assert!(matches!(found(&["0.0.0.0:9229", "0.0.0.0:21000"]), Found::NotYet));
        assert!(matches!(found(&["0.0.0.0:8080"]), Found::AtKnownPort(addr) if addr == at("127.0.0.1:8080")));
        assert!(matches!(found(&["[::]:8080"]), Found::AtKnownPort(addr) if addr == at("[::1]:8080")));
        assert!(matches!(found(&["127.0.0.1:9229"]), Found::Elsewhere(ports) if ports == [9229]));
    }
}
