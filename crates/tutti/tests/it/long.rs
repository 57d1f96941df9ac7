//! What takes minutes, for `cargo xtask test --all`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_ports::state::{Range, Store as _};
use tutti_store::{DataDir, Options, SqliteStore};

use crate::app::{App, HEALTH, finish, signal};
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
    let loads = [Load::start(app.edge("web"), "/call/API_URL/pid", 4), Load::start(app.edge("shop"), "/", 4)];
    let begun = Instant::now();
    let mut rounds = 0;
    while loads.iter().map(|load| load.tally().ok).sum::<u64>() < REQUESTS {
        finish(app.command(&["restart"]).spawn().unwrap()).ok();
        rounds += 1;
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

/// What Tutti is doing when it is killed.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Up,
    Scale,
    Restart,
    Down,
}

#[test]
#[ignore = "takes minutes: kills Tutti 50 times"]
fn fifty_deaths_at_random_moments_leave_no_orphan_and_a_state_that_works() {
    let seed: u64 = match std::env::var("TUTTI_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Rng::from_entropy().next_u64(),
    };
    println!("seed {seed} (TUTTI_TEST_SEED={seed} repeats the moments)");
    let mut chance = Rng::seeded(seed);
    let app = App::new(
        "services:
           web: { image: x, ports: ['127.0.0.1::80'], stop_grace_period: 1s, depends_on: { api: { condition: service_healthy } } }
           api: { image: x, expose: [80], environment: { SPAWN_CHILD: 1 } }
           stubborn: { image: x, expose: [80], stop_grace_period: 500ms, environment: { IGNORE_TERM: 1 } }",
        &format!(
            "services:
           web: {{ run: [FIXTURE], replicas: 2, health: {HEALTH} }}
           api: {{ run: [FIXTURE], health: {HEALTH} }}
           stubborn: {{ run: [FIXTURE] }}"
        ),
    );
    let mut killed = [0; 4];
    for round in 0..50 {
        let doing = [Doing::Up, Doing::Scale, Doing::Restart, Doing::Down][round % 4];
        let (pause, interrupted) = kill_while(&app, doing, &mut chance);
        killed[round % 4] += u32::from(interrupted);
        println!(
            "round {round}: {doing:?}, killed after {pause:?}{}",
            if interrupted { "" } else { " (it was done)" }
        );
        app.assert_gone();
        readable(&app);
        intact(&app);
    }
    let [up, scale, restart, down] = killed;
    println!("killed 50 times, in the middle of: up {up}, scale {scale}, restart {restart}, down {down}");
    assert!(up + scale + restart + down >= 25, "the moments are badly chosen");
}

/// Begins something, kills Tutti at a random moment, and says when and whether it had not ended before.
fn kill_while(app: &App, doing: Doing, chance: &mut Rng) -> (Duration, bool) {
    let args: &[&str] = match doing {
        Doing::Up => &["up", "-d"],
        Doing::Scale => &["scale", "web=4", "api=2"],
        Doing::Restart => &["restart"],
        Doing::Down => &["down"],
    };
    let longest_ms = match doing {
        Doing::Up => 700_usize,
        Doing::Scale => 400,
        Doing::Restart => 1_500,
        Doing::Down => 700,
    };
    if !matches!(doing, Doing::Up) {
        app.up();
    }
    let pause = Duration::from_millis(u64::try_from(chance.below(longest_ms)).unwrap());
    let mut child = app.command(args).spawn().unwrap();
    std::thread::sleep(pause);
    let ended = child.try_wait().unwrap().is_some();
    // During `up` there may be no socket to ask yet: the process is found by its command.
    let daemons = app.processes().into_iter().filter(|process| process.command.contains(" daemon"));
    daemons.for_each(|process| signal(process.pid, Signal::KILL));
    if matches!(doing, Doing::Up) {
        // A command that has not come to starting the daemon would start it now.
        signal(i32::try_from(child.id()).unwrap(), Signal::KILL);
        app.processes()
            .iter()
            .filter(|one| one.command.contains(" daemon"))
            .for_each(|one| signal(one.pid, Signal::KILL));
    }
    finish(child);
    (pause, !ended)
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
