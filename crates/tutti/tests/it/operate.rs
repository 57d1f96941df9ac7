//! ps, scale, stop, start, exec, run, top: what is done with an application that runs.

use serde_json::Value;

use crate::app::{App, signal, wait_for_end};
use crate::client;
use rustix::process::Signal;

#[test]
fn ps_shows_services_instances_and_addresses() {
    let app = App::of(&["web"]);
    app.up();
    app.tutti(&["scale", "web=2"]).ok();
    let text = app.tutti(&["ps"]).ok().out;
    assert!(text.contains("web") && text.contains("ready") && text.contains("2/2"), "{text}");
    assert!(text.contains("web-1") && text.contains("web-2"), "{text}");
    assert!(text.contains(&format!("http://{}", app.edge("web"))), "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe: {text:?}");
    assert_eq!(app.tutti(&["ps", "-q"]).ok().out, "web-1\nweb-2\n");
    assert_eq!(app.tutti(&["ps", "--services"]).ok().out, "web\n");
    assert_eq!(app.tutti(&["ps", "wbe"]).code, 1);
}

#[test]
fn ps_why_tells_every_transition_with_its_reason() {
    let app = App::of(&["web"]);
    app.up();
    signal(app.pids("web")[0], Signal::KILL);
    app.until("web", |web| web["instances"][0]["restarts"] == 1 && web["state"] == "ready");
    let history = app.json(&["ps", "--why", "web"]);
    let to: Vec<&str> =
        history.as_array().unwrap().iter().map(|c| c["to"].as_str().unwrap_or("gone")).collect();
    assert_eq!(&to[..2], ["starting", "passing"], "{history:#}");
    assert_eq!(to.last(), Some(&"passing"), "{history:#}");
    assert!(history.to_string().contains("SIGKILL"), "{history:#}");
    let text = app.tutti(&["ps", "--why", "web"]).ok().out;
    assert!(text.contains("answered 200") && text.contains("web-1"), "{text}");
}

#[test]
fn scale_changes_how_many_run() {
    let app = App::of(&["web"]);
    app.up();
    app.tutti(&["scale", "web=3"]).ok();
    let three = app.pids("web");
    assert_eq!(three.len(), 3);
    app.tutti(&["scale", "web=1"]).ok();
    let web = app.until("web", |web| web["instances"].as_array().unwrap().len() == 1);
    assert_eq!(web["state"], "ready");
    let left = app.pids("web");
    assert!(left.len() == 1 && three.contains(&left[0]), "{left:?} of {three:?}");
    app.tutti(&["scale", "web=0"]).ok();
    app.until("web", |web| web["instances"].as_array().unwrap().is_empty());
    assert!(three.iter().all(|pid| wait_for_end(*pid, std::time::Duration::ZERO)));
}

#[test]
fn up_scales_as_compose_does() {
    let app = App::of(&["web"]);
    app.tutti(&["up", "-d", "--scale", "web=2"]).ok();
    assert_eq!(app.service("web")["ready"], 2);
}

#[test]
fn a_stopped_service_stays_stopped_until_it_is_started() {
    let app = App::of(&["web", "api"]);
    app.up();
    let (before, edge) = (app.pids("web")[0], app.edge("web"));
    app.tutti(&["stop", "web"]).ok();
    assert!(wait_for_end(before, std::time::Duration::ZERO), "stop returned before its end");
    assert_eq!(app.service("web")["state"], "stopped");
    assert_eq!(app.service("api")["state"], "ready");
    assert_eq!(client::get(edge, "/").0, 503);
    app.tutti(&["start", "web"]).ok();
    assert_eq!(app.service("web")["state"], "ready");
    assert_eq!(client::get(edge, "/").0, 200);
}

#[test]
fn exec_runs_beside_an_instance_with_its_environment_and_exit_code() {
    let app = App::of(&["web"]);
    app.up();
    let said = app.tutti(&["exec", "-e", "MORE=yes", "web", "sh", "-c", "echo $PORT $MORE; pwd; exit 7"]);
    assert_eq!(said.code, 7, "{said:?}");
    let port = app.get("web", "/env/PORT");
    assert_eq!(said.out, format!("{port} yes\n{}\n", app.folder().canonicalize().unwrap().display()));
    assert_eq!(app.tutti(&["exec", "web", "sh", "-c", "kill -9 $$"]).code, 137);
    let said = app.tutti(&["exec", "web", "no-such-program"]);
    assert!(said.code != 0 && said.err.contains("no-such-program"), "{said:?}");
    let said = app.tutti(&["exec", "nobody", "true"]);
    assert!(said.code == 1 && said.err.contains("nobody"), "{said:?}");
}

#[test]
fn run_starts_what_is_needed_and_gives_the_surroundings_of_the_service() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], environment: { API_URL: 'http://api:80', GREETING: hello }, depends_on: [api] }
           api: { image: x, expose: [80] }
           first: { image: x, expose: [80] }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE] }, first: { run: [FIXTURE] } }",
    );
    app.tutti(&["up", "-d", "first"]).ok();
    let said = app.tutti(&["run", "--rm", "web", "sh", "-c", "echo $GREETING; echo $API_URL; exit 3"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.starts_with("hello\nhttp://127.0.0.1:"), "{said:?}");
    assert_eq!(app.service("api")["state"], "ready", "what it depends on was not started");
    assert_eq!(app.service("web")["state"], "stopped", "the service itself was started");
}

#[test]
fn run_works_when_nothing_runs_and_leaves_only_what_was_needed() {
    let app = App::new(
        "services:
           web: { image: x, environment: { API_URL: 'http://api:80' }, depends_on: [api] }
           api: { image: x, expose: [80] }",
        "services: { web: { run: [FIXTURE] }, api: { run: [FIXTURE] } }",
    );
    assert_eq!(app.tutti(&["run", "api", "sh", "-c", "exit 6"]).code, 6);
    app.assert_gone();
    let said = app.tutti(&["run", "web", "sh", "-c", "echo $API_URL; exit 5"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.starts_with("http://127.0.0.1:"), "{said:?}");
    assert_eq!(app.service("api")["state"], "ready");
}

#[test]
fn top_shows_what_each_instance_uses() {
    let app = App::of(&["web"]);
    app.up();
    let top = app.json(&["top"]);
    let stats = &top["services"][0]["instances"][0]["stats"];
    assert!(stats["rss_bytes"].as_u64().unwrap() > 500_000, "{top:#}");
    assert!(stats["open_files"].as_u64().unwrap() > 2 && stats["processes"] == 1, "{top:#}");
    assert!(app.tutti(&["top"]).ok().out.contains("web-1"));
}

#[test]
fn verbs_say_that_nothing_runs_here() {
    let app = App::of(&["web"]);
    for args in [&["ps"][..], &["logs"], &["restart"], &["stop"], &["start"], &["scale", "web=2"], &["top"]] {
        let said = app.tutti(args);
        assert_eq!(said.code, 4, "{args:?}: {said:?}");
        assert!(said.err.contains("nothing runs here") && said.err.contains("TUT0601"), "{args:?}: {said:?}");
    }
    assert_eq!(app.tutti(&["exec", "web", "true"]).code, 4);
    // Nothing to stop is as good as stopped.
    assert_eq!(app.tutti(&["down"]).code, 0);
}

#[test]
fn every_verb_prints_json() {
    let app = App::of(&["web"]);
    let json = |args: &[&str]| -> Value {
        let said = app.tutti(&[args, &["--json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {said:#?}"))
    };
    for args in [&["config", "check"][..], &["config", "print"], &["config", "print", "--rewrites"]] {
        json(args);
    }
    for args in
        [&["config", "print", "--plan"][..], &["config", "print", "--services"], &["config", "schema"]]
    {
        json(args);
    }
    for args in [&["up", "-d"][..], &["up", "-d", "web"], &["ps"], &["ps", "-q"], &["ps", "--services"]] {
        json(args);
    }
    for args in [&["ps", "--why", "web"][..], &["scale", "web=2"], &["restart", "web"], &["stop"], &["start"]]
    {
        json(args);
    }
    for args in [&["top"][..], &["doctor"], &["explain"], &["explain", "TUT0301"], &["version"], &["down"]] {
        json(args);
    }
    // What is said of an error is JSON too.
    let said = app.tutti(&["ps", "--json"]);
    assert_eq!(said.code, 4);
    let error: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!(error["error"]["code"], "TUT0601", "{said:#?}");
}

#[test]
fn logs_as_json_are_a_value_a_line() {
    let app = App::of(&["web"]);
    app.up();
    let said = app.tutti(&["logs", "--json"]).ok();
    assert!(!said.out.is_empty());
    assert!(said.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{said:?}");
}
