//! What `tcp_routes` and `tls_routes` become.

use tutti_ports::routing::{Listener, Serve};

use crate::{LoadOptions, load};

const COMPOSE: &str = "services: {web: {image: x, expose: [80]}, db: {image: postgres, expose: [5432]}}";

fn listeners(overlay: &str) -> Result<Vec<Listener>, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    let text = format!("services: {{web: {{run: x}}, db: {{run: x}}}}\n{overlay}");
    std::fs::write(dir.path().join("tutti.yaml"), text).unwrap();
    let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
    loaded.map(|loaded| loaded.application.routing.listeners).map_err(|problems| problems.render(false))
}

#[test]
fn bytes_have_listeners_of_their_own_and_tls_may_share_that_of_https() {
    let made = listeners(
        "gateway: {listen: 8000, https: 8443, trusted_proxies: 10.0.0.1, proxy_protocol: required}
routes: [{to: web}]
tcp_routes:
  - {name: pg, listen: 5432, to: [{service: db, weight: 3}, {service: web, weight: 1}], allow: 10.0.0.0/8, connect_timeout: 2s, idle_timeout: 0s}
tls_routes:
  - {host: [Db.test, '*.legacy.test'], alpn: postgresql, to: db}
  - {listen: ':9443', host: a.test, to: web}
  - {name: rest, listen: 9443, to: db}
",
    );
    let made = made.unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = made.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["gateway", "gateway-https", "tcp:pg", "tls:127.0.0.1:9443"]);
    assert!(made.iter().all(|one| one.transport.proxy_protocol.is_some()));
    let at_https = &made[1].transport.passthrough;
    assert_eq!((at_https.len(), at_https[0].name.as_str()), (1, "tls-1"));
    assert_eq!(at_https[0].hosts, ["db.test", "*.legacy.test"]);
    assert_eq!((at_https[0].alpn[0].as_str(), at_https[0].backends[0].port), ("postgresql", 5432));
    let Serve::Stream(Some(pg)) = &made[2].serve else { panic!("{:?}", made[2]) };
    assert_eq!(pg.backends.iter().map(|one| one.weight).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(pg.connect_timeout, Some(std::time::Duration::from_secs(2)));
    assert_eq!(pg.idle_timeout, Some(std::time::Duration::ZERO));
    assert_eq!(pg.allow.len(), 1);
    assert_eq!(made[3].serve, Serve::Stream(None));
    let own: Vec<&str> = made[3].transport.passthrough.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(own, ["tls-2", "rest"]);
    // They need no routes of HTTP.
    assert_eq!(listeners("tcp_routes: [{listen: 5432, to: db}]").unwrap().len(), 1);
}

#[test]
fn what_cannot_be_is_said() {
    for (overlay, text) in [
        ("tcp_routes: [{to: db}]", "listen"),
        ("tcp_routes: [{listen: 5432}]", "to"),
        ("tcp_routes: [{listen: 5432, to: nobody}]", "nobody"),
        ("tcp_routes: [{listen: x, to: db}]", "`x` is not an address"),
        ("tcp_routes: [{listen: 5432, to: db, host: a}]", "host"),
        ("tcp_routes: [{listen: 5432, to: db}, {listen: 5432, to: web}]", "for another route"),
        (
            "tcp_routes: [{name: a, listen: 5432, to: db}, {name: a, listen: 5433, to: web}]",
            "two routes are called",
        ),
        (
            "tcp_routes: [{listen: 5432, to: {service: db, request_headers: {set: {a: b}}}}]",
            "no header fields",
        ),
        ("tls_routes: [{host: a.test, to: db}]", "needs an address"),
        ("tls_routes: [{listen: 8443, host: 'a.test:443', to: db}]", "not a host name"),
        ("tcp_routes: [{listen: 8443, to: db}]\ntls_routes: [{listen: 8443, to: db}]", "for another route"),
        (
            "routes: [{to: web}]\ngateway: {listen: 5432}\ntcp_routes: [{listen: 5432, to: db}]",
            "address of the gateway",
        ),
    ] {
        let problems = listeners(overlay).unwrap_err();
        assert!(problems.contains(text), "{overlay}: {problems}");
    }
}
