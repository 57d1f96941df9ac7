//! Who begins connections with a header of the PROXY protocol.

use crate::{LoadOptions, load};

#[test]
fn who_begins_with_a_proxy_header_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), "services: {web: {image: x, ports: ['80']}}").unwrap();
    let listeners = |gateway: &str| {
        let overlay = format!("{{gateway: {gateway}, routes: [{{to: web}}], services: {{web: {{run: x}}}}}}");
        std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
        let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
        let told = |one: tutti_ports::routing::Listener| {
            one.transport.proxy_protocol.map(|one| (one.required, one.from.len()))
        };
        let routing = loaded.map(|loaded| loaded.application.routing.listeners);
        let said = routing.map(|all| all.into_iter().map(told).collect::<Vec<_>>());
        said.map_err(|problems| problems.render(false))
    };
    assert_eq!(
        listeners("{https: 8443, trusted_proxies: 10.0.0.0/8, proxy_protocol: required}").unwrap()[..2],
        [Some((true, 1)), Some((true, 1))]
    );
    let https =
        "{https: 8443, proxy_protocol: {mode: optional, from: [10.0.0.1, 10.0.0.2], listeners: https}}";
    assert_eq!(listeners(https).unwrap()[..2], [None, Some((false, 2))]);
    assert_eq!(listeners("{trusted_proxies: 10.0.0.1, proxy_protocol: {}}").unwrap()[0], Some((true, 1)));
    for (gateway, text) in [
        ("{proxy_protocol: required}", "needs to know whose headers"),
        ("{https: 8443, proxy_protocol: {listeners: https}}", "needs to know whose headers"),
        ("{proxy_protocol: {from: 0.0.0.0/0}}", "`proxy_protocol` holds every address"),
        ("{proxy_protocol: {from: 10.0.0.1, listeners: [https]}}", "is for `https`, and there is none"),
        ("{proxy_protocol: v2}", "v2"),
        ("{proxy_protocol: {from: lb}}", "`lb` is neither"),
    ] {
        let problems = listeners(gateway).unwrap_err();
        assert!(problems.contains(text), "{gateway}: {problems}");
    }
}
