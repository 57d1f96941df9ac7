//! What takes minutes, for `cargo xtask test --all`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_ports::state::{Range, Store as _};
use tutti_store::{DataDir, Options, SqliteStore};

use crate::app::{App, HEALTH, PATIENCE, Process, finish, signal, wait_for_end};
use crate::client::{self, Load};

const LONG: Duration = Duration::from_secs(600);

#[test]
#[ignore = "takes minutes: 100,000 requests"]
fn a_rolling_restart_of_every_service_fails_none_of_100_000_requests() {
    const REQUESTS: u64 = 100_000;
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], environment: { API_URL: 'http://api:80' }, depends_on: [api] }
           api: { image: x, expose: [80] }
           shop: { image: x, ports: ['127.0.0.1::80'] }",
        &format!(
            "services:
           web: {{ run: [FIXTURE], replicas: 3, health: {HEALTH} }}
           api: {{ run: [FIXTURE], replicas: 2, health: {HEALTH} }}
           shop: {{ run: [FIXTURE], health: {HEALTH} }}"
        ),
    );
    app.up();
    // Half of the load goes through a service to another one, so that the doors are under load too.
    let loads =
        [Load::start(app.edge("web"), "/call/API_URL/pid", 4), Load::posting(app.edge("shop"), "/", 4)];
    let begun = Instant::now();
    let mut rounds = 0;
    while loads.iter().map(|load| load.tally().ok).sum::<u64>() < REQUESTS {
        let before = instances(&app);
        finish(app.command(&["restart"]).spawn().unwrap()).ok();
        rounds += 1;
        let after = instances(&app);
        assert!(after.len() == 6 && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        assert!(begun.elapsed() < LONG, "{:?}", loads.map(|load| load.tally()));
        let far = loads.iter().all(|load| load.tally().failed.is_empty());
        assert!(far, "{:#?}", loads.map(|load| load.tally().failed));
    }
    let tallies = loads.map(Load::finish);
    let requests: u64 = tallies.iter().map(|tally| tally.ok).sum();
    let failed: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failed).collect();
    println!(
        "{requests} requests, {} failed, over {rounds} rolling restarts of 3 services (6 instances) in {:.0} s",
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The processes of all services.
fn instances(app: &App) -> Vec<i32> {
    ["web", "api", "shop"].iter().flat_map(|name| app.pids(name)).collect()
}

/// What Tutti is doing when it is killed.
const DOING: [&[&str]; 4] = [&["up", "-d"], &["scale", "web=4", "api=2"], &["restart"], &["down"]];

#[test]
#[ignore = "takes minutes: kills Tutti 50 times"]
fn fifty_deaths_at_random_moments_leave_no_orphan_and_a_state_that_works() {
    let seed: u64 = match std::env::var("TUTTI_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Rng::from_entropy().next_u64(),
    };
    println!("seed {seed} (TUTTI_TEST_SEED={seed} gives the same moments)");
    let chance = Rng::seeded(seed);
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], stop_grace_period: 1s, depends_on: { api: { condition: service_healthy } } }
           api: { image: x, expose: [80], environment: { SPAWN_CHILD: 1 } }
           stubborn: { image: x, expose: [80], stop_grace_period: 300ms, environment: { IGNORE_TERM: 1 } }",
        &format!(
            "services:
           web: {{ run: [FIXTURE], replicas: 2, health: {HEALTH} }}
           api: {{ run: [FIXTURE], health: {HEALTH} }}
           stubborn: {{ run: [FIXTURE] }}"
        ),
    );
    // How long each takes when nothing comes between: the moments are chosen below that.
    let length = DOING.map(|args| {
        let begun = Instant::now();
        app.tutti(args).ok();
        begun.elapsed()
    });
    println!("undisturbed: {:?}", DOING.map(|args| args[0]).iter().zip(length).collect::<Vec<_>>());
    let (mut killed, mut late) = ([0; 4], 0);
    while killed.iter().sum::<u32>() < 50 {
        let at = (killed.iter().sum::<u32>() + late) as usize % DOING.len();
        let pause = length[at].mul_f64(chance.unit());
        if kill_while(&app, DOING[at], pause) {
            killed[at] += 1
        } else {
            late += 1
        }
        app.assert_gone();
        readable(&app);
        intact(&app);
        assert!(late < 50, "it is nearly always done before it is killed");
    }
    let [up, scale, restart, down] = killed;
    println!(
        "killed 50 times, in the middle of: up {up}, scale {scale}, restart {restart}, down {down}; {late} times just after"
    );
}

/// Begins something and kills Tutti after a pause; whether it had not ended before.
fn kill_while(app: &App, args: &[&str], pause: Duration) -> bool {
    if args[0] != "up" {
        app.up();
    }
    let mut child = app.command(args).spawn().unwrap();
    std::thread::sleep(pause);
    let ended = child.try_wait().unwrap().is_some();
    // The command line too during `up`, which may be about to start the daemon; what it has started in this very moment is
    // only seen in another look. The keeper has a name of its own.
    let of_tutti = |process: &Process| {
        let verb = if args[0] == "up" { "" } else { " daemon" };
        process.command.starts_with(&format!("{}{verb} ", env!("CARGO_BIN_EXE_tutti")))
    };
    loop {
        let left: Vec<Process> = app.processes().into_iter().filter(of_tutti).collect();
        if left.is_empty() {
            break;
        }
        left.iter().for_each(|process| signal(process.pid, Signal::KILL));
        left.iter().for_each(|process| assert!(wait_for_end(process.pid, PATIENCE)));
    }
    finish(child);
    !ended
}

/// The next `up` works, everything is as wanted, and what was known before is still there.
fn intact(app: &App) {
    let said = app.up();
    let status = app.control().status();
    let state = |one: &Value| one["state"] == "ready";
    assert!(status["services"].as_array().unwrap().iter().all(state), "{status:#} {said:?}");
    assert_eq!(client::get(app.edge("web"), "/").0, 200);
    let log = app.log();
    assert!(!log.contains(" ERROR ") && !log.contains("damaged"), "{log}");
    app.tutti(&["down"]).ok();
    app.assert_gone();
}

/// A copy of the state opens, which checks the whole file, and can be read to its end.
fn readable(app: &App) {
    let copy = tempfile::tempdir().unwrap();
    let folder = DataDir::open(&copy.path().join("data"), "a test").unwrap();
    for name in ["state.db", "state.db-wal"] {
        if app.data().join(name).exists() {
            std::fs::copy(app.data().join(name), folder.path().join(name)).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&folder, Options::default(), Arc::new(SystemClock::new())).unwrap();
        let (mut after, mut more) = (None, true);
        while more {
            let range = Range { prefix: String::new(), after, limit: 0 };
            let page = store.range(range).await.unwrap();
            (after, more) = (page.entries.last().map(|entry| entry.key.clone()), page.more);
        }
        store.shutdown().await;
    });
}
