//! kill -9: of Tutti, and of the keeper that holds its processes.

use rustix::process::Signal;

use crate::app::{App, PATIENCE, Process, signal, wait_for_end};

fn keeper(app: &App) -> Process {
    let found = app.processes().into_iter().find(|process| process.command.contains(" keeper "));
    found.expect("there is no keeper")
}

#[test]
fn the_death_of_tutti_leaves_nothing_behind_and_the_next_up_works() {
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], environment: { IGNORE_TERM: 1, SPAWN_CHILD: 1 } }
           api: { image: x, expose: [80] }",
        "services: { web: { run: [FIXTURE], replicas: 2 }, api: { run: [FIXTURE] } }",
    );
    app.up();
    assert!(app.processes().len() >= 7, "{:#?}", app.processes());
    signal(app.daemon(), Signal::KILL);
    app.assert_gone();
    assert_eq!(app.tutti(&["ps"]).code, 4);
    app.up();
    assert_eq!(app.service("web")["ready"], 2);
    assert_eq!(app.get("web", "/env/IGNORE_TERM"), "1");
}

#[test]
fn the_death_of_the_keeper_is_survived() {
    let app = App::of(&["web", "api"]);
    app.up();
    let (keeper_before, web_before) = (keeper(&app).pid, app.pids("web")[0]);
    signal(keeper_before, Signal::KILL);
    for name in ["web", "api"] {
        app.until(name, |one| one["state"] == "ready" && one["instances"][0]["restarts"] == 1);
    }
    assert_ne!(keeper(&app).pid, keeper_before);
    assert_ne!(app.get("web", "/"), web_before.to_string());
}

#[test]
fn the_death_of_tutti_and_its_keeper_together_is_cleaned_up_by_the_next_up() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { SPAWN_CHILD: 1 } } }",
        "services: { web: { run: [FIXTURE] } }",
    );
    app.up();
    let (keeper, daemon) = (keeper(&app).pid, app.daemon());
    // Stopped, the keeper cannot do its work when Tutti dies; only then it is killed as well.
    signal(keeper, Signal::STOP);
    signal(daemon, Signal::KILL);
    signal(keeper, Signal::KILL);
    assert!([keeper, daemon].iter().all(|pid| wait_for_end(*pid, PATIENCE)));
    app.up();
    let tutti = app.processes().iter().filter(|process| process.command.starts_with("sleep ")).count();
    assert_eq!(tutti, 1, "the daemon of the first run is still there: {:#?}", app.processes());
    assert_eq!(app.service("web")["state"], "ready");
}

#[test]
fn the_state_survives_the_death_of_tutti() {
    let app = App::of(&["web"]);
    app.up();
    signal(app.daemon(), Signal::KILL);
    app.assert_gone();
    app.up();
    // What was known of the first run is still told, and that it ended without a word.
    let history = app.json(&["ps", "--why", "web"]);
    let passed = history.as_array().unwrap().iter().filter(|change| change["to"] == "passing").count();
    assert_eq!(passed, 2, "{history:#}");
}
