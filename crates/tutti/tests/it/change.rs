//! Changes of the running application: told before, and unnoticed by what is under way.

use std::time::Duration;

use serde_json::Value;

use crate::app::{App, free_port};
use crate::client::{self, Load};

const COMPOSE: &str = "services: { web: { image: x, expose: [80] }, api: { image: x, expose: [80] } }";

fn overlay(port: u16, greeting: &str, routes: &str) -> String {
    format!(
        "gateway: {{ listen: '127.0.0.1:{port}' }}\n\
         services: {{ web: {{ run: [FIXTURE], env: {{ SECRET_GREETING: {greeting} }} }}, api: {{ run: [FIXTURE] }} }}\n\
         routes:\n{routes}"
    )
}

#[test]
fn config_diff_tells_what_up_then_does() {
    let (port, other) = (free_port(), free_port());
    let before = "  - { path: /, to: web, name: web }\n  - { path: /old, to: api, name: old }\n";
    let app = App::new(COMPOSE, &overlay(port, "hello", before));
    let said = app.tutti(&["config", "diff"]);
    assert_eq!(said.code, 2, "nothing runs: {said:?}");
    app.up();
    let said = app.tutti(&["config", "diff"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");

    let after = "  - { path: /, to: web, name: web, timeout: 5s }\n  - { path: /new, to: api, name: new }\n";
    app.write("tutti.yaml", &overlay(other, "welcome", after).replace("FIXTURE", &fixture()));
    let said = app.tutti(&["config", "diff"]);
    assert_eq!(said.code, 1, "{said:?}");
    for words in [
        "~ web  restart: environment SECRET_GREETING",
        &format!("bind: 127.0.0.1:{port} \u{2192} 127.0.0.1:{other}"),
        "- gateway old",
        "+ gateway new",
        "timeouts.request: nothing \u{2192} 5s",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    assert!(!said.out.contains("welcome") && !said.out.contains("hello"), "a value is shown: {said:?}");
    let plan: Value = serde_json::from_str(&app.tutti(&["config", "diff", "--json"]).out).unwrap();
    assert_eq!(plan["services"][0]["action"], "restart");

    let generation = |app: &App| app.control().status()["edge_generation"].as_u64().unwrap();
    let old = generation(&app);
    let said = app.up();
    assert!(said.err.contains("in force as generation") && said.err.contains("+ gateway new"), "{said:?}");
    assert!(generation(&app) > old);
    assert_eq!(client::get(([127, 0, 0, 1], other).into(), "/new").0, 200);
    assert_eq!(app.tutti(&["config", "diff"]).code, 0);

    app.write("tutti.yaml", "services: [");
    assert_eq!(app.tutti(&["config", "diff"]).code, 2);
}

/// Waits until a request is under way to `api`.
fn until_asked(app: &App) {
    let begun = std::time::Instant::now();
    loop {
        let routes = app.control().routes();
        let services = routes["services"].as_array().unwrap();
        let mut endpoints = services.iter().flat_map(|one| one["endpoints"].as_array().unwrap());
        if endpoints.any(|one| one["instance"] == "api-1" && one["in_flight"] != 0) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{routes}");
    }
}

fn fixture() -> String {
    crate::app::fixture().display().to_string()
}

#[test]
fn listeners_come_move_and_go_and_what_is_under_way_notices_nothing() {
    let ports = [free_port(), free_port()];
    let (steady, safe) = (free_port(), free_port());
    let compose = format!(
        "services: {{ web: {{ image: x, ports: ['127.0.0.1:{steady}:80'] }}, api: {{ image: x, expose: [80] }} }}"
    );
    let text = |port: u16, secure: bool| {
        let routes = "  - { path: /, to: api }\n";
        let plain = overlay(port, "hello", routes).replace("FIXTURE", &fixture());
        let https =
            format!("listen: '127.0.0.1:{port}', https: '127.0.0.1:{safe}', https_redirect: false }}");
        if secure { plain.replace(&format!("listen: '127.0.0.1:{port}' }}"), &https) } else { plain }
    };
    let app = App::new(&compose, &text(ports[0], false));
    app.up();
    let load = Load::start(([127, 0, 0, 1], steady).into(), "/", 8);
    load.reach(100, Duration::from_secs(60));
    for round in 0..8 {
        let (from, to) = (ports[round % 2], ports[(round + 1) % 2]);
        // Begun at the address that goes, and ended after it has gone.
        let slow = std::thread::spawn(move || client::get(([127, 0, 0, 1], from).into(), "/slow?ms=1500"));
        until_asked(&app);
        app.write("tutti.yaml", &text(to, round % 3 == 1));
        app.up();
        assert_eq!(client::get(([127, 0, 0, 1], to).into(), "/").0, 200);
        assert!(std::net::TcpStream::connect(("127.0.0.1", from)).is_err(), "the old address is still there");
        assert_eq!(slow.join().unwrap().0, 200);
    }
    let tally = load.finish();
    assert!(tally.failed.is_empty() && tally.ok > 100, "{tally:?}");
    assert_eq!(tally.connects, 8, "connections of a listener that stays are kept");
}
