//! `up`: in the order of dependencies, with peers that find each other.

use serde_json::Value;

use crate::app::{App, service};

/// When an instance of a service first passed its checks.
fn passing_at(app: &App, name: &str) -> u64 {
    let history = app.json(&["ps", "--why", name]);
    let passed = history.as_array().unwrap().iter().find(|change| change["to"] == "passing");
    passed.unwrap_or_else(|| panic!("{name} never passed: {history:#}"))["at_ms"].as_u64().unwrap()
}

fn started_at(service: &Value) -> u64 {
    service["instances"][0]["started_at_ms"].as_u64().unwrap()
}

#[test]
fn a_service_waits_until_what_it_depends_on_is_healthy() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], depends_on: { api: { condition: service_healthy } } }
           api: { image: x, expose: [80], environment: { START_DELAY_MS: 300 } }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE], health: { http: /healthz, interval: 50ms, start_period: 20s } } }",
    );
    let said = app.up();
    assert!(said.err.contains("waits for api to be healthy"), "{said:?}");
    let status = app.control().status();
    let (web, api) = (service(&status, "web"), service(&status, "api"));
    assert!(passing_at(&app, "api") >= started_at(api) + 300);
    assert!(started_at(web) >= passing_at(&app, "api"));
}

#[test]
fn a_job_completes_before_what_waits_for_it_begins() {
    let app = App::new(
        "services:
           migrate: { image: x }
           web: { image: x, ports: ['127.0.0.1::80'], depends_on: { migrate: { condition: service_completed_successfully } } }",
        "services:
           migrate: { run: 'sleep 0.2; echo migrated > state' }
           web: { run: [sh, -c, 'read STATE < state && export STATE && exec \"$0\"', FIXTURE] }",
    );
    let said = app.up();
    assert_eq!(app.get("web", "/env/STATE"), "migrated");
    let migrate = app.service("migrate");
    assert_eq!(migrate["state"], "completed", "{migrate:#}");
    assert_eq!(migrate["instances"][0]["last_exit"]["status"], 0);
    assert!(said.err.contains("migrate: completed"), "{said:?}");
}

#[test]
fn peers_reach_each_other_by_their_names() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::8080'], environment: { API_URL: 'http://api:9000' }, depends_on: [api] }
           api: { image: x, expose: [9000] }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE], replicas: 2 } }",
    );
    app.up();
    let url = app.get("web", "/env/API_URL");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let pids: Vec<String> = app.pids("api").iter().map(ToString::to_string).collect();
    let asked: std::collections::BTreeSet<String> =
        (0..20).map(|_| app.get("web", "/call/API_URL/pid")).collect();
    assert!(asked.len() == 2 && asked.iter().all(|pid| pids.contains(pid)), "{asked:?} of {pids:?}");
    assert_eq!(app.get("web", "/env/API_SERVICE_HOST"), "127.0.0.1");
    assert_eq!(format!("http://127.0.0.1:{}", app.get("web", "/env/API_SERVICE_PORT")), url);

    // Every change of an address is shown.
    let rewrites = app.json(&["config", "print", "--rewrites"]);
    let of_web = |rewrite: &&Value| rewrite["service"] == "web" && rewrite["key"] == "API_URL";
    let rewrite = rewrites.as_array().unwrap().iter().find(of_web).unwrap();
    assert!(rewrite["from"].as_str().unwrap().contains("api:9000"), "{rewrites:#}");
    assert!(url.contains(rewrite["to"].as_str().unwrap()), "{rewrites:#}");
}

#[test]
fn a_call_between_services_is_traced_and_named() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], environment: { API_URL: 'http://api:9000' }, depends_on: [api] }
           api: { image: x, expose: [9000] }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE] } }",
    );
    app.up();
    let seen = app.get("web", "/call/API_URL/echo/this");
    assert!(seen.starts_with("/echo/this\n"), "{seen}");
    assert!(seen.contains("traceparent: 00-") && seen.contains("x-request-id: "), "{seen}");
}

#[test]
fn every_service_gets_the_standard_environment() {
    let app = App::of(&["web"]).env("SECRET_OF_THE_OPERATOR", "1");
    app.up();
    let port = app.service("web")["instances"][0]["endpoints"][0]["addr"].as_str().unwrap().to_owned();
    assert!(port.ends_with(&format!(":{}", app.get("web", "/env/PORT"))), "{port}");
    assert_eq!(app.get("web", "/env/SECRET_OF_THE_OPERATOR"), "");
    // Nothing listens for telemetry yet, and some SDKs begin to export as soon as one of these is there.
    assert_eq!(app.get("web", "/env/OTEL_EXPORTER_OTLP_ENDPOINT"), "");
}

#[test]
fn up_of_one_service_starts_only_it_and_what_it_needs() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], depends_on: [api] }
           api: { image: x, expose: [80] }
           other: { image: x, expose: [80] }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE] }, other: { run: [FIXTURE] } }",
    );
    app.tutti(&["up", "-d", "web"]).ok();
    let status = app.control().status();
    assert_eq!(service(&status, "web")["state"], "ready");
    assert_eq!(service(&status, "api")["state"], "ready");
    assert_eq!(service(&status, "other")["state"], "stopped");
}
