//! Services as real processes: from start to stop.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::*;
use tutti_model::app::{Condition, Dependency, Restart};
use tutti_ports::catalog::Health;
use tutti_supervisor::logs::{LogQuery, Stream};
use tutti_supervisor::status::Rollout;
use tutti_supervisor::{EventKind, Phase, ServiceState};
use tutti_testkit::fake::Probing;

fn depends(condition: Condition) -> Dependency {
    Dependency { condition, restart: false, required: true }
}

#[tokio::test]
async fn a_server_starts_answers_is_logged_and_stops() {
    let world = World::new(Probing::Real, vec![server("web")]);
    let settled = world.up().await;
    assert_eq!(settled.good, ["web"], "{settled:?}");
    let status = world.handle.status();
    let instance = status.instance("web-1").unwrap();
    assert_eq!((instance.phase, instance.health), (Phase::Running, Some(Health::Passing)));
    let port = instance.endpoints[0].addr.port();
    assert_eq!(instance.endpoints[0].port, 8080);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let line = world.line("web", |line| line.text.starts_with("listening")).await;
    assert_eq!((line.text, line.stream, line.ordinal), (format!("listening at {port}"), Stream::Stdout, 1));
    let pid = i32::try_from(instance.pid.unwrap()).unwrap();
    world.handle.stop(&[]).await.unwrap();
    world.handle.stopped(&[]).await;
    assert!(!alive(pid));
    let lines = world.handle.logs(LogQuery::default()).await;
    assert_eq!(lines.last().unwrap().text, "bye");
    assert_eq!(world.catalog.calls()[..2], ["register web-1", "drain web-1"]);
    world.down().await.unwrap();
}

#[tokio::test]
async fn dependents_wait_for_health_and_for_completion_and_stop_first() {
    let mut web = server("web");
    web.depends_on.insert(name("db"), depends(Condition::Healthy));
    web.depends_on.insert(name("migrate"), depends(Condition::CompletedSuccessfully));
    let mut migrate = service("migrate", "echo migrating");
    migrate.depends_on.insert(name("db"), depends(Condition::Started));
    let mut world = World::new(Probing::Real, vec![web, migrate, server("db")]);
    let settled = world.up().await;
    assert_eq!(settled.good, ["web", "migrate", "db"], "{settled:?}");
    assert_eq!(world.handle.status().service("migrate").unwrap().state, ServiceState::Completed);
    world.event(|e| e.service.as_str() == "web" && matches!(e.kind, EventKind::Ready { .. })).await;
    let order: Vec<&str> = world
        .seen
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Started { .. }))
        .map(|event| event.service.as_str())
        .collect();
    assert_eq!(order, ["db", "migrate", "web"]);
    world.handle.stop(&[]).await.unwrap();
    world.event(|e| e.service.as_str() == "db" && matches!(e.kind, EventKind::Draining { .. })).await;
    let stopped = |e: &std::sync::Arc<tutti_supervisor::Event>| {
        e.service.as_str() == "web" && matches!(e.kind, EventKind::Stopped { .. })
    };
    assert!(world.seen.iter().any(stopped), "web was not stopped before db: {:#?}", world.seen);
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_failed_dependency_blocks_with_its_reason() {
    let mut web = server("web");
    web.depends_on.insert(name("migrate"), depends(Condition::CompletedSuccessfully));
    let migrate = service("migrate", "echo the table is locked >&2; exit 3");
    let world = World::new(Probing::Real, vec![web, migrate]);
    let settled = world.up().await;
    assert!(settled.bad["web"].contains("migrate has failed"), "{settled:?}");
    let status = world.handle.status();
    let exit = status.instance("migrate-1").unwrap().last_exit.clone().unwrap();
    assert_eq!((exit.status, exit.reason.as_str()), (Some(3), "exited with status 3"));
    assert_eq!(exit.last_lines, ["the table is locked"]);
    assert_eq!(exit.code.as_deref(), Some("TUT0206"));
    assert_eq!(status.service("web").unwrap().code.as_deref(), Some("TUT0213"));
    let told = world.catalog.calls();
    assert!(
        told.contains(
            &"deregister migrate-1: exited with status 3; its last line: the table is locked".to_owned()
        ),
        "{told:?}"
    );
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_crash_loop_is_named_and_still_recovers() {
    let mut flaky = service("flaky", "test -e ok || { echo no file; exit 1; }; exec sleep 1000");
    flaky.restart = Restart::Always;
    let mut world = World::new(Probing::Pass, vec![flaky]);
    world.handle.up(&[]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::CrashLoop { .. }))).await;
    world.service("flaky", |s| s.state == ServiceState::CrashLoop).await;
    std::fs::write(world.folder.path().join("ok"), "").unwrap();
    world.service("flaky", |s| s.state == ServiceState::Ready).await;
    let restarts = world.handle.status().instance("flaky-1").unwrap().restarts;
    assert!(restarts >= 3, "{restarts}");
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_once_with_its_code() {
    let mut service = service("x", "");
    service.run = Some(tutti_model::app::Command::Args(vec!["no-such-program".to_owned()]));
    service.restart = Restart::Always;
    let world = World::new(Probing::Pass, vec![service]);
    let settled = world.up().await;
    assert!(settled.bad["x"].contains("\"no-such-program\" was not found on the PATH"), "{settled:?}");
    assert_eq!(world.handle.status().service("x").unwrap().code.as_deref(), Some("TUT0203"));
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_rolling_restart_starts_before_it_stops() {
    let mut web = server("web");
    web.replicas = 2;
    let mut world = World::new(Probing::Real, vec![web]);
    world.up().await;
    let before: Vec<u32> = pids(&world);
    world.handle.restart(&[name("web")]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::RolloutFinished))).await;
    let after = pids(&world);
    assert_eq!(after.len(), 2);
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
    // At no moment less than two were ready: every drain comes after one more has become ready.
    let mut ready = 0_i32;
    for event in &world.seen {
        match event.kind {
            EventKind::Ready { .. } => ready += 1,
            EventKind::Draining { .. } => {
                assert!(ready > 2, "{:#?}", world.seen);
                ready -= 1;
            }
            _ => {}
        }
    }
    assert_eq!(ready, 2);
    world.down().await.unwrap();
}

fn pids(world: &World) -> Vec<u32> {
    let status = world.handle.status();
    status.service("web").unwrap().instances.iter().filter_map(|instance| instance.pid).collect()
}

#[tokio::test]
async fn a_rolling_restart_that_cannot_become_ready_leaves_the_old_ones() {
    let script = format!("test -e broken && {{ echo broken >&2; exit 7; }}; {SERVER}");
    let mut web = server("web");
    web.run = Some(tutti_model::app::Command::Shell(script));
    let mut world = World::new(Probing::Real, vec![web]);
    world.up().await;
    let before = pids(&world);
    std::fs::write(world.folder.path().join("broken"), "").unwrap();
    world.handle.restart(&[name("web")]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::RolloutAborted { .. }))).await;
    let web = world.service("web", |s| s.instances.len() == 1 && s.state == ServiceState::Ready).await;
    assert_eq!(pids(&world), before);
    let Some(Rollout::Aborted(reason)) = web.rollout else { panic!("{web:?}") };
    assert!(reason.contains("web-2 exited with status 7"), "{reason}");
    world.down().await.unwrap();
}

#[tokio::test]
async fn what_does_not_stop_is_killed_after_its_grace_period() {
    let mut deaf = service("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done");
    deaf.stop_grace_period = Duration::from_millis(300);
    let mut world = World::new(Probing::Pass, vec![deaf]);
    world.up().await;
    world.line("deaf", |line| line.text == "ready").await;
    let begun = std::time::Instant::now();
    world.handle.stop(&[]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::Killing { .. }))).await;
    world.handle.stopped(&[]).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    world.down().await.unwrap();
}

#[tokio::test]
async fn requests_under_way_are_waited_for() {
    let mut world = World::new(Probing::Pass, vec![service("web", "exec sleep 1000")]);
    world.up().await;
    world.traffic.set(&id("web-1"), 1);
    world.handle.stop(&[]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::Draining { .. }))).await;
    assert_eq!(world.handle.status().instance("web-1").unwrap().phase, Phase::Draining);
    world.traffic.set(&id("web-1"), 0);
    let event = world.event(kind(|kind| matches!(kind, EventKind::Stopping { .. }))).await;
    assert!(matches!(event.kind, EventKind::Stopping { cut_off: 0, .. }));
    world.down().await.unwrap();
}

#[tokio::test]
async fn down_in_the_middle_of_up_leaves_nothing() {
    let mut slow = service("slow", "exec sleep 1000");
    slow.setup = Some(vec![tutti_model::app::Command::Shell("sleep 1000".to_owned())]);
    let mut world = World::new(Probing::Told, vec![slow, server("web")]);
    world.handle.up(&[]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::SetupStarted { .. }))).await;
    world.service("web", |s| s.instances.iter().any(|i| i.phase == Phase::Running)).await;
    world.down().await.unwrap();
}

#[tokio::test]
async fn scaling_up_and_down_keeps_the_first_numbers() {
    let world = World::new(Probing::Real, vec![server("web")]);
    world.up().await;
    world.handle.scale(&name("web"), 3).await.unwrap();
    let web = world.service("web", |s| s.ready == 3).await;
    let ports: std::collections::HashSet<u16> =
        web.instances.iter().map(|instance| instance.endpoints[0].addr.port()).collect();
    assert_eq!(ports.len(), 3);
    world.handle.scale(&name("web"), 1).await.unwrap();
    let web = world.service("web", |s| s.instances.len() == 1).await;
    assert_eq!(web.instances[0].id, id("web-1"));
    assert!(world.handle.scale(&name("web"), 100_000).await.is_err());
    assert!(world.handle.scale(&name("nope"), 1).await.is_err());
    world.down().await.unwrap();
}

#[tokio::test]
async fn commands_run_beside_an_instance_and_end_with_their_time() {
    let mut web = server("web");
    web.environment.insert("COLOUR".to_owned(), "blue".to_owned());
    let world = World::new(Probing::Real, vec![web]);
    world.up().await;
    let exec = world.handle.exec();
    let sh = |line: &str| ["sh", "-c", line].map(str::to_owned).to_vec();
    let second = Duration::from_secs(10);
    let finished =
        exec.run(&id("web-1"), &sh("echo $COLOUR $OTEL_SERVICE_NAME; exit 4"), second).await.unwrap();
    assert_eq!((finished.status, finished.output.as_str()), (4, "blue web\n"));
    let slow =
        exec.run(&id("web-1"), &sh("sleep 1000 & echo $! > pid; wait"), Duration::from_millis(300)).await;
    assert!(matches!(slow, Err(tutti_ports::exec::ExecError::Timeout(_))));
    let pid = std::fs::read_to_string(world.folder.path().join("pid")).unwrap().trim().parse().unwrap();
    gone(pid).await;
    assert!(exec.run(&id("web-9"), &sh("true"), second).await.is_err());
    world.down().await.unwrap();
}

/// Waits until a process is gone.
async fn gone(pid: i32) {
    let waits = async {
        while alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ignores_its_port_is_found_where_its_peers_know_it() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut web = server("web");
    web.run = Some(tutti_model::app::Command::Shell(format!("export PORT={free}; {SERVER}")));
    web.listens[0].port = free;
    let mut world = World::new(Probing::Real, vec![web]);
    let settled = world.up().await;
    assert_eq!(settled.good, ["web"]);
    let status = world.handle.status();
    assert_eq!(status.instance("web-1").unwrap().endpoints[0].addr.port(), free);
    let notice = world.event(kind(|kind| matches!(kind, EventKind::Notice { .. }))).await;
    assert!(format!("{notice:?}").contains(&format!("say `port: {free}` in tutti.yaml")), "{notice:?}");
    // It cannot run twice, and still can be restarted.
    world.handle.restart(&[name("web")]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::RolloutFinished))).await;
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_fixed_port_that_is_taken_is_told_with_its_owner() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut web = server("web");
    web.fixed_port = Some(port);
    let world = World::new(Probing::Real, vec![web]);
    let settled = world.up().await;
    let me = format!("(pid {})", std::process::id());
    assert!(settled.bad["web"].contains(&format!("its fixed port {port} is taken by")), "{settled:?}");
    assert!(settled.bad["web"].ends_with(&me), "{settled:?}");
    assert!(world.handle.scale(&name("web"), 2).await.is_err());
    world.down().await.unwrap();
}

#[tokio::test]
async fn what_instances_use_is_seen() {
    let world = World::new(Probing::Real, vec![server("web")]);
    world.up().await;
    let status = world.handle.top().await.unwrap();
    let sample = status.instance("web-1").unwrap().stats.unwrap();
    assert!(sample.rss_bytes > 1 << 20 && sample.processes == 1 && sample.open_files >= 4, "{sample:?}");
    let mut page = tutti_core::metrics::Page::default();
    world.handle.metrics().show(&mut page);
    let page = page.finish();
    assert!(page.contains("tutti_supervisor_services{state=\"ready\"} 1"), "{page}");
    assert!(page.contains("tutti_supervisor_starts_total{service=\"web\"} 1"), "{page}");
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_command_beside_an_instance_has_its_streams() {
    use tutti_supervisor::exec::{ExecSpec, Output, Streams};
    let world = World::new(Probing::Real, vec![server("web")]);
    world.up().await;
    let argv = ["sh", "-c", "read line; echo got $line $EXTRA; echo wrong >&2; exit 5"].map(str::to_owned);
    let env = vec![("EXTRA".to_owned(), "more".to_owned())];
    let spec = ExecSpec { argv: argv.to_vec(), env, dir: None, streams: Streams::Both };
    let mut running = world.handle.exec_stream(&id("web-1"), spec).await.unwrap();
    running.input.take().unwrap().write_all(b"this\n").await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = running.output.next().await {
        match piece {
            Output::Stdout(bytes) => out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    assert_eq!(running.wait().await, 5);
    assert_eq!((out.as_slice(), err.as_slice()), (b"got this more\n".as_slice(), b"wrong\n".as_slice()));
    // Nobody waits for it any more: it goes with all that it started.
    let argv = ["sh", "-c", "sleep 1000 & echo $!; wait"].map(str::to_owned).to_vec();
    let spec = ExecSpec { argv, ..ExecSpec::default() };
    let mut running = world.handle.exec_stream(&id("web-1"), spec).await.unwrap();
    let Some(Output::Stdout(pid)) = running.output.next().await else { panic!("no output") };
    let pid = String::from_utf8_lossy(&pid).trim().parse().unwrap();
    assert!(alive(pid));
    drop(running);
    gone(pid).await;
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_service_runs_once_more_with_another_command() {
    use tutti_supervisor::exec::{ExecSpec, Output};
    let world = World::new(Probing::Real, vec![server("web")]);
    world.up().await;
    let argv = ["sh", "-c", "echo $PORT $OTEL_RESOURCE_ATTRIBUTES"].map(str::to_owned).to_vec();
    let spec = ExecSpec { argv, ..ExecSpec::default() };
    let mut running = world.handle.run_once(&name("web"), spec).await.unwrap();
    let Some(Output::Stdout(text)) = running.output.next().await else { panic!("no output") };
    let text = String::from_utf8_lossy(&text).into_owned();
    let port = world.handle.status().instance("web-1").unwrap().endpoints[0].addr.port();
    assert!(!text.starts_with(&port.to_string()), "it has the port of web-1: {text}");
    assert!(text.contains("service.instance.id=web-run-1"), "{text}");
    assert_eq!(running.wait().await, 0);
    assert_eq!(world.handle.status().service("web").unwrap().instances.len(), 1);
    world.down().await.unwrap();
}

#[tokio::test]
async fn setup_comes_first_is_remembered_and_says_why_it_failed() {
    use tutti_model::app::Command;
    let mut web = server("web");
    web.setup = Some(vec![Command::Shell("echo built >> built".to_owned())]);
    let mut broken = server("broken");
    broken.setup = Some(vec![Command::Shell("echo no compiler >&2; exit 2".to_owned())]);
    let mut world = World::new(Probing::Real, vec![web, broken]);
    let settled = world.up().await;
    assert_eq!(settled.good, ["web"]);
    assert!(settled.bad["broken"].contains("no compiler"), "{settled:?}");
    let status = world.handle.status();
    assert_eq!(status.service("broken").unwrap().code.as_deref(), Some("TUT0202"));
    assert!(status.service("broken").unwrap().instances.is_empty());
    assert_eq!(std::fs::read_to_string(world.folder.path().join("built")).unwrap(), "built\n");
    let failed = |kind: &EventKind| matches!(kind, EventKind::SetupFinished { error: Some(_), .. });
    world.event(kind(failed)).await;
    world.down().await.unwrap();
}

#[tokio::test]
async fn peers_are_reached_at_their_doors_and_volumes_are_folders() {
    use tutti_model::app::{Mount, MountSource, Peer};
    let script = "touch $FILE; echo $CATALOG $CATALOG_SERVICE_PORT $FILE $SECRET; exec sleep 1000";
    let mut web = service("web", script);
    web.peers.push(Peer { host: "catalog".to_owned(), service: name("catalog") });
    web.environment.insert("CATALOG".to_owned(), "http://catalog:8080/x".to_owned());
    web.environment.insert("FILE".to_owned(), "/data/x".to_owned());
    let source = MountSource::Volume("files".to_owned());
    web.mounts.push(Mount { source, target: "/data".to_owned(), read_only: false });
    let world = World::with(Probing::Real, vec![web, server("catalog")], |options| {
        options.operator_env.insert("SECRET".to_owned(), "do not tell".to_owned());
    });
    world.up().await;
    let line = world.line("web", |line| line.text.contains("http")).await;
    let volume = world.folder.path().join("data/volumes/files/x");
    assert_eq!(line.text, format!("http://127.0.0.1:61000/x 61000 {}", volume.display()));
    let rewrites = world.handle.rewrites();
    let keys: Vec<&str> = rewrites.iter().map(|rewrite| rewrite.key.as_str()).collect();
    assert_eq!(keys, ["CATALOG", "FILE"]);
    assert!(volume.exists());
    world.down().await.unwrap();
}
