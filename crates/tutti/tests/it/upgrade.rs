//! The upgrade in place: nobody is refused, nothing is restarted, and a version that cannot take over changes nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::app::{App, HEALTH, PATIENCE, Said, finish, fixture, signal, wait_for_end};
use crate::client::Load;

/// Longest time for all the requests of a test, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(60);

/// Two services, one of them with two replicas; `web` calls `api` through its door.
fn shop() -> App {
    App::new(
        "services: { web: { image: x, restart: always, ports: ['127.0.0.1::80'], environment: { API: 'http://api:80' } }, \
         api: { image: x, restart: always, expose: [80] } }",
        &format!(
            "services: {{ web: {{ run: [FIXTURE], replicas: 2, health: {HEALTH} }}, api: {{ run: [FIXTURE], health: {HEALTH} }} }}"
        ),
    )
}

/// A program by another name in the test's folder.
fn under(app: &App, name: &str, program: &std::path::Path) -> PathBuf {
    let path = app.outside().join(name);
    if std::fs::hard_link(program, &path).is_err() {
        std::fs::copy(program, &path).unwrap();
    }
    path
}

fn upgrade(app: &App, binary: &std::path::Path, more: &[&str]) -> Said {
    let binary = binary.to_str().unwrap();
    finish(app.command(&[&["upgrade", "--binary", binary], more].concat()).spawn().unwrap())
}

/// One request over a connection of its own: its body, or what went wrong.
fn fresh(addr: SocketAddr, path: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = asked().map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {text:?}"))?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(text) }
}

/// Requests without a pause, each over a connection of its own.
struct Fresh {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u64, Vec<String>)>,
}

impl Fresh {
    fn start(addr: SocketAddr, path: &'static str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut ok, mut failed) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match fresh(addr, path) {
                    Ok(_) => ok += 1,
                    Err(why) => failed.push(why),
                }
            }
            (ok, failed)
        });
        Self { stop, thread }
    }

    fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Everything that must not change.
fn services(app: &App) -> (Vec<i32>, Vec<i32>) {
    (app.pids("web"), app.pids("api"))
}

#[test]
fn three_upgrades_in_a_row_under_load_fail_no_request_and_restart_nothing() {
    let app = shop();
    app.up();
    let (edge, running) = (app.edge("web"), services(&app));
    let kept = Load::start(edge, "/", 4);
    let posts = Load::posting(edge, "/", 2);
    let doors = Load::start(edge, "/call/API/x", 2);
    let new = Fresh::start(edge, "/");
    let download = std::thread::spawn(move || fresh(edge, "/drip?100"));
    let mut idle = TcpStream::connect(edge).unwrap();
    kept.reach(200, LONG);
    let mut process = app.daemon();
    for round in 0..3 {
        let binary = under(&app, &format!("tutti-{round}"), env!("CARGO_BIN_EXE_tutti").as_ref());
        let said = upgrade(&app, &binary, &[]).ok();
        assert!(said.err.contains("has taken over"), "{said:?}");
        let now = app.daemon();
        assert_ne!(now, process, "{said:?}");
        process = now;
        assert_eq!(services(&app), running, "a service was restarted");
        let reached = (kept.tally().ok, posts.tally().ok, doors.tally().ok);
        kept.reach(reached.0 + 200, LONG);
        posts.reach(reached.1 + 100, LONG);
        doors.reach(reached.2 + 50, LONG);
        if round == 0 {
            // A connection that has never said anything is served by the process that has accepted it.
            idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut head = [0; 12];
            idle.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        }
    }
    let none = Vec::<String>::new();
    for load in [kept, posts, doors] {
        let tally = load.finish();
        assert_eq!(tally.failed, none, "of {} requests", tally.ok);
    }
    let (ok, failed) = new.finish();
    assert!(failed.is_empty() && ok > 50, "{ok} {failed:#?}");
    let lines = download.join().unwrap().unwrap();
    assert!(lines.contains("\n99\n"), "the download was cut: {lines}");
    let said = app.tutti(&["ps"]).ok();
    assert!(said.err.contains(&format!("(process {process})")), "{said:?}");
    app.tutti(&["down"]).ok();
    app.assert_gone();
}

#[test]
fn what_has_taken_over_runs_the_services_as_the_one_before_it_did() {
    let app = shop();
    app.up();
    let running = services(&app);
    app.get("web", "/print?before");
    let history = app.tutti(&["ps", "--why", "api"]).ok().out;
    upgrade(&app, env!("CARGO_BIN_EXE_tutti").as_ref(), &[]).ok();
    assert_eq!(services(&app), running);
    assert_eq!(app.tutti(&["ps", "--why", "api"]).ok().out, history, "something seems to have happened");
    app.get("web", "/print?after");
    let printed = app.tutti(&["logs", "web", "--no-log-prefix"]).ok().out;
    assert!(printed.contains("before\n") && printed.contains("after\n"), "{printed}");
    // An end is seen, and answered with a start.
    signal(running.1[0], Signal::KILL);
    app.until("api", |api| api["state"] == "ready" && api["instances"][0]["restarts"] == 1);
    assert_ne!(app.pids("api"), running.1);
    assert_eq!(app.get("web", "/call/API/x"), app.pids("api")[0].to_string());
    app.tutti(&["restart", "web"]).ok();
    assert!(app.pids("web").iter().all(|pid| !running.0.contains(pid)), "{:?}", app.pids("web"));
    app.tutti(&["scale", "web=3"]).ok();
    assert_eq!(app.pids("web").len(), 3);
    // And the next one takes over what this one has made of it.
    let (running, process) = (services(&app), app.daemon());
    upgrade(&app, env!("CARGO_BIN_EXE_tutti").as_ref(), &[]).ok();
    assert!(wait_for_end(process, PATIENCE), "the old process does not end");
    assert_eq!(services(&app), running);
    signal(app.daemon(), Signal::TERM);
    app.assert_gone();
}

#[test]
fn a_version_that_cannot_take_over_changes_nothing() {
    let app = shop();
    app.up();
    let (running, process, edge) = (services(&app), app.daemon(), app.edge("web"));
    let load = Load::posting(edge, "/call/API/x", 2);
    let new = Fresh::start(edge, "/");
    let half = fixture().with_file_name("half");
    let script = app.outside().join("says-no");
    std::fs::write(&script, "#!/bin/sh\necho not today >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (program, more, expected) in [
        (PathBuf::from("/bin/false"), &[][..], "it ended (exit status: 1)"),
        (PathBuf::from("/no/such/program"), &[], "cannot be started"),
        (script, &[], "it ended (not today)"),
        (under(&app, "half-hello", &half), &[], "it ended (signal: 9 (SIGKILL))"),
        (under(&app, "half-ready", &half), &[], "it ended (signal: 9 (SIGKILL))"),
        (under(&app, "half-format", &half), &[], "another format"),
        (under(&app, "half-hangs", &half), &["--timeout", "1"], "it did not answer within 1 s"),
    ] {
        let said = upgrade(&app, &program, more);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(expected) && said.err.contains("TUT0802"), "{program:?}: {said:?}");
        assert!(said.err.contains("the old version goes on as before"), "{said:?}");
        assert_eq!((services(&app), app.daemon()), (running.clone(), process), "{said:?}");
        load.reach(load.tally().ok + 20, LONG);
    }
    let tally = load.finish();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.ok);
    // The state is written again, the services are watched again, and what they print is read again.
    app.get("web", "/print?still%20here");
    signal(running.1[0], Signal::KILL);
    app.until("api", |api| api["state"] == "ready" && api["instances"][0]["restarts"] == 1);
    let why = app.tutti(&["ps", "--why", "api"]).ok().out;
    assert!(why.contains("killed by SIGKILL"), "{why}");
    assert!(app.tutti(&["logs", "web"]).ok().out.contains("still here"));
    let (ok, failed) = new.finish();
    assert!(failed.is_empty() && ok > 20, "{ok} {failed:#?}");
    // Nothing of what failed is in the way of one that can.
    upgrade(&app, env!("CARGO_BIN_EXE_tutti").as_ref(), &[]).ok();
    assert_ne!(app.daemon(), process);
}

#[test]
fn what_a_program_has_started_that_does_not_take_over_is_ended_with_it() {
    let app = App::of(&["web"]);
    app.up();
    let script = app.outside().join("starts-others");
    std::fs::write(&script, "#!/bin/sh\nprintf '\\033[31mred' >&2\nsleep 1000 &\nsleep 1001\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = upgrade(&app, &script, &["--timeout", "1"]);
    assert!(said.code == 1 && said.err.contains("red)") && !said.err.contains('\u{1b}'), "{said:?}");
    let left = app.processes();
    assert!(!left.iter().any(|process| process.command.contains("sleep")), "{left:#?}");
}

#[test]
fn what_is_asked_meanwhile_is_done_by_who_has_taken_over() {
    let app = shop();
    app.up();
    let (running, process) = (services(&app), app.daemon());
    let upgrading = app.command(&["upgrade"]).spawn().unwrap();
    let mut asked = Vec::new();
    while app.daemon() == process {
        for args in [&["up", "-d"][..], &["ps", "--why", "api"], &["config", "diff"]] {
            asked.push(app.command(args).spawn().unwrap());
        }
        app.tutti(&["ps"]).ok();
    }
    finish(upgrading).ok();
    for child in asked {
        finish(child).ok();
    }
    assert_eq!(services(&app), running);
}

#[test]
fn a_client_that_does_not_read_keeps_nothing_from_its_end() {
    let app = App::of(&["web"]);
    app.up();
    let edge = app.edge("web");
    let mut deaf = TcpStream::connect(edge).unwrap();
    deaf.write_all(b"GET /bytes?30000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = [0; 12];
    deaf.read_exact(&mut head).unwrap();
    let mut slow = TcpStream::connect(edge).unwrap();
    slow.write_all(b"GET /slow?ms=1500 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let old = app.daemon();
    // Patience that no clock can tell is patience all the same.
    app.tutti(&["upgrade", "--drain", "18446744073709551615"]).ok();
    slow.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert!(!wait_for_end(old, Duration::ZERO), "the client's connection was cut");
    // With the end of the new process everything ends, and nobody holds the data directory.
    signal(app.daemon(), Signal::KILL);
    app.assert_gone();
    app.up();
}

#[test]
fn files_that_have_changed_are_taken_into_force_first() {
    let app = App::of(&["web"]);
    app.up();
    let process = app.daemon();
    app.write("tutti.yaml", "services: { web: { run: [FIXTURE], env: { GREETING: hello } } }");
    let said = app.tutti(&["upgrade"]);
    assert!(said.code == 1 && said.err.contains("TUT0801") && said.err.contains("tutti up"), "{said:?}");
    assert_eq!(app.daemon(), process);
    app.up();
    app.tutti(&["upgrade"]).ok();
    assert_ne!(app.daemon(), process);
    assert_eq!(app.get("web", "/env/GREETING"), "hello");
}

#[test]
fn without_a_running_tutti_there_is_nothing_to_upgrade() {
    let app = App::of(&["web"]);
    assert_eq!(app.tutti(&["upgrade"]).code, 4);
    let said = app.tutti(&["take-over", "5"]);
    assert!(said.code == 1 && said.err.contains("tutti upgrade"), "{said:?}");
}

/// `up` in front, ready.
fn in_front(app: &App) -> Child {
    let child = app.command(&["up"]).spawn().unwrap();
    crate::app::until_there(&app.data().join("run/control.sock"));
    app.until("web", |web| web["state"] == "ready");
    child
}

#[test]
fn who_waits_for_an_up_in_front_goes_on_waiting_for_the_same_process() {
    let app = App::of(&["web"]);
    let child = in_front(&app);
    let (front, running) = (i32::try_from(child.id()).unwrap(), app.pids("web"));
    for _ in 0..2 {
        app.tutti(&["upgrade"]).ok();
        assert_ne!(app.daemon(), front);
        assert!(!wait_for_end(front, Duration::ZERO), "whoever waits for it takes that for the end");
    }
    assert_eq!(app.pids("web"), running);
    app.get("web", "/print?said%20after");
    app.until("web", |_| app.tutti(&["logs", "web"]).out.contains("said after"));
    signal(front, Signal::INT);
    let said = finish(child);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("said after"), "{said:?}");
    app.assert_gone();
}

#[test]
fn down_ends_an_up_in_front_that_was_upgraded_and_so_does_its_kill() {
    let app = App::of(&["web"]);
    let child = in_front(&app);
    app.tutti(&["upgrade"]).ok();
    app.tutti(&["down"]).ok();
    assert_eq!(finish(child).code, 0);
    app.assert_gone();
    let child = in_front(&app);
    app.tutti(&["upgrade"]).ok();
    let process = app.daemon();
    signal(i32::try_from(child.id()).unwrap(), Signal::KILL);
    assert!(wait_for_end(process, PATIENCE));
    finish(child);
    app.assert_gone();
}
