//! Services that behave badly.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::app::{App, HEALTH, signal, wait_for_end};

#[test]
fn a_service_that_exits_again_and_again_is_a_crash_loop_with_longer_and_longer_pauses() {
    let app = App::new(
        "services: { web: { image: x, restart: always, ports: ['127.0.0.1::80'] } }",
        "services: { web: { run: 'echo no database >&2; exit 3' } }",
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("exited with status 3"), "{said:?}");
    let web = app.until("web", |web| web["state"] == "crash-loop");
    assert_eq!(web["code"], "TUT0208", "{web:#}");
    assert_eq!(web["instances"][0]["last_exit"]["last_lines"][0], "no database", "{web:#}");
    let pauses: Vec<f64> = said.err.lines().filter_map(pause_ms).collect();
    assert!(pauses.len() >= 3 && pauses.windows(2).all(|two| two[1] > two[0]), "{pauses:?}: {said:?}");
}

/// The pause in "web-1: starts again in 89ms".
fn pause_ms(line: &str) -> Option<f64> {
    let (_, pause) = line.split_once("starts again in ")?;
    match pause.strip_suffix("ms") {
        Some(ms) => ms.trim().parse().ok(),
        None => pause.trim_end_matches('s').trim().parse::<f64>().ok().map(|seconds| seconds * 1_000.0),
    }
}

#[test]
fn a_job_that_fails_blocks_what_waits_for_it_and_says_why() {
    let app = App::new(
        "services:
           migrate: { image: x, restart: 'no' }
           web: { image: x, expose: [80], depends_on: { migrate: { condition: service_completed_successfully } } }",
        "services: { migrate: { run: 'echo table is locked; exit 4' }, web: { run: [FIXTURE] } }",
    );
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("migrate-1 exited with status 4"), "{said:?}");
    let web = app.service("web");
    assert_eq!((&web["state"], &web["code"]), (&"blocked".into(), &"TUT0213".into()), "{web:#}");
    assert!(web["reason"].as_str().unwrap().contains("migrate has failed"), "{web:#}");
    assert!(app.pids("web").is_empty());
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_after_its_grace_period() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], stop_grace_period: 300ms, environment: { IGNORE_TERM: 1 } } }",
        "services: { web: { run: [FIXTURE] } }",
    );
    app.up();
    let pid = app.pids("web")[0];
    let begun = Instant::now();
    let said = app.tutti(&["stop", "web"]).ok();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(said.err.contains("did not stop in time and is killed"), "{said:?}");
    assert!(wait_for_end(pid, Duration::ZERO));
    let lines = app.tutti(&["logs", "web"]).ok().out;
    assert!(lines.contains("ignoring SIGTERM"), "it was not asked first: {lines}");
}

#[test]
fn a_daemon_that_a_service_started_dies_with_it() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { SPAWN_CHILD: 1 } } }",
        "services: { web: { run: [FIXTURE] } }",
    );
    app.up();
    let sleeping = || app.processes().into_iter().find(|process| process.command.starts_with("sleep "));
    let daemon = sleeping().expect("the fixture started none").pid;
    app.tutti(&["stop", "web"]).ok();
    assert!(wait_for_end(daemon, Duration::ZERO), "stop returned before it had ended");
    assert!(sleeping().is_none());
}

#[test]
fn a_service_that_is_killed_comes_back() {
    let app = App::of(&["web"]);
    app.up();
    let before = app.pids("web")[0];
    signal(before, Signal::KILL);
    let web = app.until("web", |web| web["state"] == "ready" && web["instances"][0]["restarts"] == 1);
    assert!(web["instances"][0]["last_exit"]["reason"].as_str().unwrap().contains("SIGKILL"), "{web:#}");
    assert_eq!(web["instances"][0]["last_exit"]["status"], 137);
    assert_ne!(app.get("web", "/"), before.to_string());
}

#[test]
fn a_service_without_restart_stays_ended() {
    let app = App::new(
        "services: { web: { image: x, restart: 'no', ports: ['127.0.0.1::80'] } }",
        &format!("services: {{ web: {{ run: [FIXTURE], health: {HEALTH} }} }}"),
    );
    app.up();
    signal(app.pids("web")[0], Signal::KILL);
    let web = app.until("web", |web| web["state"] == "failed");
    assert!(web["reason"].as_str().unwrap().contains("SIGKILL"), "{web:#}");
}
