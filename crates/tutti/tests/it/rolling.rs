//! No request fails: over a rolling restart, over the death of an instance, over a rollout that does not work.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::app::{App, HEALTH, finish, signal};
use crate::client::Load;

/// Longest time for all the requests of a test, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(60);

/// An application of one service with so many replicas.
fn replicated(replicas: usize) -> App {
    App::new(
        "services: { web: { image: x, restart: always, ports: ['127.0.0.1::80'] } }",
        &format!("services: {{ web: {{ run: [FIXTURE], replicas: {replicas}, health: {HEALTH} }} }}"),
    )
}

/// Restarts under load from four connections that are kept.
fn restart_under_load(replicas: usize) {
    let app = replicated(replicas);
    app.up();
    let before = app.pids("web");
    let load = Load::start(app.edge("web"), "/", 4);
    load.reach(500, LONG);
    let said = finish(app.command(&["restart", "web"]).spawn().unwrap()).ok();
    let at_end = load.tally().ok;
    load.reach((at_end + 500).max(3_000), LONG);
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests; {said:?}", tally.ok);
    assert!(tally.ok >= 3_000, "{tally:?}");
    let after = app.pids("web");
    assert!(after.len() == replicas && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    // Each of the old and of the new took part; with several, all of them.
    let answered = |pids: &[i32]| pids.iter().filter(|pid| tally.answers.contains(&pid.to_string())).count();
    assert_eq!((answered(&before), answered(&after)), (replicas, replicas), "{tally:?}");
    assert_eq!(tally.connects, 4, "the edge closed connections of its clients");
}

#[test]
fn a_rolling_restart_of_three_replicas_fails_no_request() {
    restart_under_load(3);
}

#[test]
fn a_rolling_restart_of_one_replica_fails_no_request() {
    restart_under_load(1);
}

#[test]
fn a_rolling_restart_fails_no_request_that_may_not_be_sent_twice() {
    let app = replicated(2);
    app.up();
    let load = Load::posting(app.edge("web"), "/", 4);
    load.reach(500, LONG);
    app.tutti(&["restart", "web"]).ok();
    load.reach(load.tally().ok + 500, LONG);
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.ok);
    assert_eq!(tally.answers.len(), 4, "{tally:?}");
}

#[test]
fn slow_requests_end_on_the_instance_that_is_restarted() {
    let app = replicated(1);
    app.up();
    let before = app.pids("web")[0].to_string();
    let load = Load::start(app.edge("web"), "/slow?ms=700", 2);
    // Connected means on its way: the first answer comes after 700 ms, the restart is quicker than that.
    app.until("web", |_| load.tally().connects == 2);
    app.tutti(&["restart", "web"]).ok();
    load.reach(6, LONG);
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new());
    assert!(tally.answers.contains(&before) && tally.answers.len() == 2, "{tally:?} before: {before}");
}

#[test]
fn the_death_of_one_of_three_replicas_fails_no_request() {
    let app = replicated(3);
    app.up();
    let load = Load::start(app.edge("web"), "/", 4);
    load.reach(500, LONG);
    let victim = app.pids("web")[1];
    signal(victim, Signal::KILL);
    app.until("web", |web| {
        let restarted = |one: &Value| one["restarts"] == 1;
        web["ready"] == 3 && web["instances"].as_array().unwrap().iter().any(restarted)
    });
    let reborn = app.service("web")["instances"][1]["pid"].to_string();
    let at_end = load.tally().ok;
    load.reach((at_end + 500).max(3_000), LONG);
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.ok);
    assert!(tally.answers.contains(&victim.to_string()) && tally.answers.contains(&reborn), "{tally:?}");
}

#[test]
fn a_rollout_whose_new_instance_is_never_healthy_leaves_the_old_one_serving() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { UNHEALTHY_IF: ./broken } } }",
        &format!("services: {{ web: {{ run: [FIXTURE], health: {HEALTH} }} }}"),
    );
    app.up();
    let old = app.pids("web");
    app.write("broken", "");
    let load = Load::start(app.edge("web"), "/", 2);
    let said = app.tutti(&["restart", "web"]);
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new());
    assert_eq!(said.code, 1, "a rollout that was given up is no success: {said:?}");
    assert!(said.err.contains("the restart was given up") && said.err.contains("503"), "{said:?}");
    let web = app.until("web", |web| web["instances"].as_array().unwrap().len() == 1);
    assert_eq!(web["state"], "ready", "{web:#}");
    assert_eq!(web["rollout"]["state"], "aborted", "{web:#}");
    assert_eq!(app.pids("web"), old);
    // Repaired, it goes through.
    std::fs::remove_file(app.folder().join("broken")).unwrap();
    app.tutti(&["restart", "web"]).ok();
    assert_ne!(app.pids("web"), old);
}
