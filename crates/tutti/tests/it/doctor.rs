//! `tutti doctor`: why something does not start, and what to do about it.

use serde_json::Value;

use crate::app::{App, HEALTH, free_port};

/// What is bad, by the subject that begins so.
fn bad(app: &App, subject: &str) -> (String, String) {
    let said = app.tutti(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let findings = said.json();
    let wanted =
        |one: &&Value| one["verdict"] == "bad" && one["subject"].as_str().unwrap().starts_with(subject);
    let found = findings.as_array().unwrap().iter().find(wanted).unwrap_or_else(|| panic!("{findings:#}"));
    (found["text"].as_str().unwrap().to_owned(), found["remedy"].as_str().unwrap().to_owned())
}

#[test]
fn says_which_process_has_taken_a_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let app = App::new(
        &format!("services: {{ web: {{ image: x, ports: ['127.0.0.1:{port}:80'] }} }}"),
        "services: { web: { run: [FIXTURE] } }",
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("127.0.0.1:{port}")), "{said:?}");
    assert!(said.err.contains(&format!("is taken by process {}", std::process::id())), "{said:?}");
    assert!(said.err.contains("[TUT0201]"), "{said:?}");
    app.assert_gone();
    let (text, remedy) = bad(&app, "web:80");
    assert!(text.contains(&format!("taken by process {}", std::process::id())), "{text}");
    assert!(remedy.contains("publish another port"), "{remedy}");
}

#[test]
fn says_which_toolchain_is_missing() {
    let app = App::new("services: { web: { build: ./web } }", "services: {}");
    std::fs::create_dir(app.folder().join("web")).unwrap();
    app.write("web/go.mod", "module shop.test/web\n\ngo 1.22\n");
    app.write("web/main.go", "package main\n\nfunc main() {}\n");
    // Whatever this machine has installed: nothing of it is found.
    let app = app.env("PATH", "/nonexistent");
    let (text, remedy) = bad(&app, "web");
    assert!(text.contains("go"), "{text}");
    assert!(!remedy.is_empty());
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&text), "up says it otherwise: {said:?} {text}");
}

#[test]
fn says_that_an_image_needs_a_program_of_this_machine() {
    let app = App::new("services: { db: { image: 'postgres:16' } }", "services: {}");
    let (text, remedy) = bad(&app, "db");
    assert!(text.contains("postgres"), "{text}");
    assert!(remedy.contains("external"), "{remedy}");
}

#[test]
fn says_that_a_service_listens_elsewhere_than_it_was_told() {
    let port = free_port();
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'] } }",
        &format!(
            "services: {{ web: {{ run: [FIXTURE], env: {{ OWN_PORT: {port} }}, health: {{ tcp: true, interval: 50ms, retries: 2 }} }} }}"
        ),
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    let (text, remedy) = bad(&app, "web");
    assert!(text.contains(&format!("listens at {port}")), "{text}");
    assert!(remedy.contains(&format!("port: {port}")), "{remedy}");

    // What it advises works.
    app.tutti(&["down"]).ok();
    app.write(
        "tutti.yaml",
        &format!("services: {{ web: {{ run: [FIXTURE], port: {port}, env: {{ OWN_PORT: {port} }} }} }}"),
    );
    app.up();
    assert_eq!(app.get("web", "/"), app.pids("web")[0].to_string());
}

#[test]
fn says_what_the_health_check_was_answered() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { UNHEALTHY: 1 } } }",
        &format!("services: {{ web: {{ run: [FIXTURE], health: {HEALTH} }} }}"),
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(app.service("web")["state"], "unhealthy");
    let (text, remedy) = bad(&app, "web");
    assert!(text.contains("/healthz") && text.contains("503"), "{text}");
    assert!(remedy.contains("tutti ps --why web") && remedy.contains("TUT0207"), "{remedy}");
}

#[test]
fn says_which_dependency_is_down() {
    let app = App::new(
        "services:
           web: { image: x, expose: [80], depends_on: { api: { condition: service_healthy } } }
           api: { image: x, expose: [80], environment: { UNHEALTHY: 1 } }",
        &format!("services: {{ web: {{ run: [FIXTURE] }}, api: {{ run: [FIXTURE], health: {HEALTH} }} }}"),
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    let (text, remedy) = bad(&app, "web");
    assert!(text.contains("api") && text.contains("503"), "{text}");
    assert!(remedy.contains("what it depends on"), "{remedy}");
}

#[test]
fn finds_nothing_where_nothing_is_wrong() {
    let app = App::of(&["web"]);
    app.up();
    let said = app.tutti(&["doctor"]).ok();
    assert!(said.out.contains("as they should be") || said.out.contains("ok"), "{said:?}");
    let all = app.tutti(&["doctor", "--all"]).ok();
    assert!(all.out.contains("web") && all.out.contains("ready"), "{all:?}");
}
