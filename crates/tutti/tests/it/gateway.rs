//! The edge: published ports and `routes:`.

use http::Request;
use tutti_net::Body;

use crate::app::{App, free_port};
use crate::client;

#[test]
fn a_published_port_is_served_where_compose_would() {
    let port = free_port();
    let app = App::new(
        &format!("services: {{ web: {{ image: x, ports: ['127.0.0.1:{port}:8080'] }} }}"),
        "services: { web: { run: [FIXTURE] } }",
    );
    let said = app.up();
    assert!(said.err.contains(&format!("http://127.0.0.1:{port}  web")), "{said:?}");
    let (status, pid) = client::get(([127, 0, 0, 1], port).into(), "/");
    assert_eq!((status, pid), (200, app.pids("web")[0].to_string()));
}

/// Two services behind one gateway.
fn routed(routes: &str) -> (App, std::net::SocketAddr) {
    let port = free_port();
    let overlay = format!(
        "gateway: {{ listen: '127.0.0.1:{port}' }}\nservices: {{ web: {{ run: [FIXTURE] }}, api: {{ run: [FIXTURE] }} }}\nroutes:\n{routes}"
    );
    let app =
        App::new("services: { web: { image: x, expose: [80] }, api: { image: x, expose: [80] } }", &overlay);
    app.up();
    (app, ([127, 0, 0, 1], port).into())
}

#[test]
fn routes_lead_by_prefix_and_take_it_off() {
    let (app, edge) = routed("  - { path: /, to: web }\n  - { path: /api, to: api, strip_prefix: true }\n");
    assert_eq!(client::get(edge, "/").1, app.pids("web")[0].to_string());
    assert_eq!(client::get(edge, "/api").1, app.pids("api")[0].to_string());
    assert_eq!(client::get(edge, "/apix").1, app.pids("web")[0].to_string());
    let (_, seen) = client::get(edge, "/api/echo/a%20b?q=1");
    assert!(seen.starts_with("/echo/a%20b?q=1\n"), "{seen}");
}

#[test]
fn routes_lead_by_host() {
    let (app, edge) = routed(
        "  - { host: api.shop.test, path: /, to: api }\n  - { host: '*.shop.test', path: /, to: web }\n",
    );
    let ask =
        |host: &str| client::ask(edge, Request::get("/").header("host", host).body(Body::empty()).unwrap());
    assert_eq!(ask("api.shop.test"), (200, app.pids("api")[0].to_string()));
    assert_eq!(ask("www.shop.test:80"), (200, app.pids("web")[0].to_string()));
    let (status, text) = ask("elsewhere.test");
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("TUT0501"), "{text}");
}

#[test]
fn a_service_is_told_who_asks() {
    let app = App::of(&["web"]);
    app.up();
    let seen = app.get("web", "/echo");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: http\n"), "{seen}");
    assert!(seen.contains("traceparent: 00-"), "{seen}");
}

#[test]
fn a_service_without_instances_answers_503_with_the_hop_that_failed() {
    let app = App::of(&["web"]);
    app.up();
    let edge = app.edge("web");
    app.tutti(&["stop", "web"]).ok();
    let (status, text) = client::get(edge, "/");
    assert_eq!(status, 503, "{text}");
    let fault: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fault["error"]["code"], "TUT0502", "{text}");
    assert!(text.contains("web"), "{text}");
}

#[test]
fn the_access_log_has_a_line_for_every_request() {
    let app = App::of(&["web"]);
    app.up();
    (0..10).for_each(|n| drop(app.get("web", &format!("/echo/{n}"))));
    app.tutti(&["down"]).ok();
    let log = std::fs::read_to_string(app.data().join("access.log")).unwrap();
    let mut lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10, "{log}");
    // Every worker writes for itself; the order is in the time.
    lines.sort_by_key(|line| line["time"].to_string());
    assert!(lines.iter().enumerate().all(|(n, line)| line["path"] == format!("/echo/{n}")), "{log}");
}

#[test]
fn a_request_is_explained_by_its_id() {
    let (app, edge) = routed("  - { path: /, to: web }\n  - { path: /api, to: api, name: api }\n");
    let get = |path: &str, id: &str| {
        client::ask(edge, Request::get(path).header("x-request-id", id).body(Body::empty()).unwrap())
    };
    assert_eq!(get("/api/x?secret=1", "one").0, 200);
    app.tutti(&["stop", "api"]).ok();
    assert_eq!(get("/api/y", "two").0, 503);
    let said = app.tutti(&["explain", "request", "one"]).ok();
    for words in [
        "/api/x → 200",
        "api of gateway, because of: any host, path below /api",
        "api-1 at 127.0.0.1:",
        "answered 200",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    assert!(!said.out.contains("secret"), "{said:?}");
    let said = app.tutti(&["explain", "request", "two"]).ok();
    for words in [
        "The service failed: No instance of the service is ready [TUT0502]",
        "`tutti explain TUT0502`",
        "it has no instance now",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let failed = app.json(&["explain", "request", "--failed"]);
    assert_eq!((failed.as_array().unwrap().len(), &failed[0]["id"]), (1, &"two".into()), "{failed:#}");
    assert_eq!(app.json(&["explain", "request", "--route=api", "--status", "2xx"])[0]["id"], "one");
    let listed = app.tutti(&["explain", "request"]).ok();
    assert!(listed.out.lines().count() == 3 && listed.out.contains("upstream TUT0502"), "{listed:?}");
    let said = app.tutti(&["explain", "request", "nothing"]);
    assert!(said.code == 1 && said.err.contains("TUT0570"), "{said:?}");
    let said = app.tutti(&["explain", "request", "--status", "7xx"]);
    assert!(said.code == 1 && said.err.contains("no status"), "{said:?}");
}
