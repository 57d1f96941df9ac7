//! The process behind: one for a project, private, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::app::{App, HEALTH, PATIENCE, finish, service, signal, wait_for_end};

#[test]
fn a_second_up_starts_only_what_is_asked_for() {
    let app = App::of(&["web", "api"]);
    app.tutti(&["up", "-d", "web"]).ok();
    let (tutti, web) = (app.daemon(), app.pids("web"));
    let said = app.tutti(&["up", "-d", "api"]).ok();
    assert!(said.err.contains("already running"), "{said:?}");
    let status = app.control().status();
    assert_eq!(service(&status, "api")["state"], "ready");
    assert_eq!((app.daemon(), app.pids("web")), (tutti, web));
}

#[test]
fn a_second_up_takes_over_what_changed_in_the_files_and_leaves_the_rest_alone() {
    let overlay = |greeting: &str| {
        format!(
            "services: {{ web: {{ run: [FIXTURE], env: {{ GREETING: {greeting} }}, health: {HEALTH} }}, api: {{ run: [FIXTURE] }} }}"
        )
    };
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'] }, api: { image: x, expose: [80] } }",
        &overlay("hello"),
    );
    app.up();
    let (web, api) = (app.pids("web"), app.pids("api"));
    app.write("tutti.yaml", &overlay("welcome"));
    app.up();
    assert_eq!(app.get("web", "/env/GREETING"), "welcome");
    assert_ne!(app.pids("web"), web);
    assert_eq!(app.pids("api"), api, "what did not change was restarted");
}

#[test]
fn of_two_ups_at_once_one_runs_and_the_other_joins_it_or_says_who_holds_the_folder() {
    let app = App::of(&["web"]);
    let both = [0; 2].map(|_| app.command(&["up", "-d"]).spawn().unwrap());
    let [a, b] = both.map(finish);
    let (good, other) = if a.code == 0 { (a, b) } else { (b, a) };
    assert_eq!(good.code, 0, "{good:?} {other:?}");
    let named = other.err.contains("is held by process") && other.err.contains("TUT0301");
    assert!(other.code == 0 || named, "{other:?}");
    assert_eq!(app.processes().iter().filter(|one| one.command.contains(" daemon")).count(), 1);
    assert_eq!(app.service("web")["state"], "ready");
}

#[test]
fn a_folder_that_another_process_holds_is_an_error_that_names_it() {
    let app = App::of(&["web"]);
    app.up();
    let daemon = app.daemon();
    // Without its socket the running Tutti cannot be asked, and the folder is still its own.
    std::fs::remove_file(app.data().join("run/control.sock")).unwrap();
    let said = app.tutti(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("held by process {daemon} (tutti up -d)")), "{said:?}");
    assert!(said.err.contains("TUT0301"), "{said:?}");
    signal(daemon, Signal::TERM);
    assert!(wait_for_end(daemon, PATIENCE));
}

#[test]
fn sigterm_to_the_daemon_is_down() {
    let app = App::of(&["web"]);
    app.up();
    let daemon = app.daemon();
    signal(daemon, Signal::TERM);
    assert!(wait_for_end(daemon, PATIENCE));
    assert!(app.processes().is_empty(), "{:#?}", app.processes());
    assert_eq!(app.tutti(&["ps"]).code, 4);
}

#[test]
fn down_returns_when_nothing_is_left() {
    let app = App::of(&["web"]);
    app.up();
    let service = app.pids("web")[0];
    app.tutti(&["down"]).ok();
    assert!(wait_for_end(service, Duration::ZERO), "{:#?}", app.processes());
    // The folder is free at once.
    app.up();
}

/// `up` in front, ready.
fn in_front(app: &App) -> std::process::Child {
    let child = app.command(&["up"]).spawn().unwrap();
    let socket = app.data().join("run/control.sock");
    crate::app::until_there(&socket);
    app.until("web", |web| web["state"] == "ready");
    child
}

#[test]
fn ctrl_c_once_drains() {
    let app = App::of(&["web"]);
    let child = in_front(&app);
    app.get("web", "/print?said%20before");
    signal(i32::try_from(child.id()).unwrap(), Signal::INT);
    let said = finish(child);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(app.processes().is_empty(), "{:#?}", app.processes());
    assert!(said.out.contains("said before"), "{said:?}");
    assert!(said.err.contains("web-1: no new requests") && said.err.contains("web-1: stopped"), "{said:?}");
}

#[test]
fn ctrl_c_twice_kills() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], stop_grace_period: 10m, environment: { IGNORE_TERM: 1 } } }",
        "services: { web: { run: [FIXTURE] } }",
    );
    let child = in_front(&app);
    let tutti = i32::try_from(child.id()).unwrap();
    signal(tutti, Signal::INT);
    app.until("web", |web| web["instances"][0]["phase"] == "stopping");
    signal(tutti, Signal::INT);
    assert!(wait_for_end(tutti, Duration::from_secs(10)), "it waits for the grace period");
    finish(child);
    app.assert_gone();
}

#[test]
fn the_control_socket_is_for_its_owner_alone() {
    let app = App::of(&["web"]);
    app.up();
    let mode = |name: &str| std::fs::metadata(app.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("run/control.sock"), 0o600);
    assert_eq!(mode(""), 0o700);
}

/// Runs the program in a mount namespace of its own, after a shell line that has `$0` as the project's folder; `None`
/// when the system gives no such namespace.
pub fn mounted(app: &App, mount: &str, args: &[&str]) -> Option<crate::app::Said> {
    let line = format!("{mount} || exit 77; cd \"$0\" && exec \"$@\"");
    let mut command = Command::new("unshare");
    app.surround(&mut command);
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).arg(app.folder());
    command.arg(env!("CARGO_BIN_EXE_tutti")).args(args);
    let said = finish(command.spawn().ok()?);
    let refused = said.code == 77 || said.err.contains("unshare failed");
    if refused {
        println!("skipped: this system gives no mount namespace to its users ({})", said.err.trim());
        return None;
    }
    Some(said)
}

#[test]
fn a_read_only_place_is_a_clear_error() {
    let app = App::of(&["web"]);
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    let Some(said) = mounted(&app, mount, &["up", "-d"]) else { return };
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(".tutti") && said.err.contains("Read-only file system"), "{said:?}");
    assert!(said.err.contains("TUT0306"), "{said:?}");
}

#[test]
fn a_full_place_is_a_clear_error() {
    let app = App::of(&["web"]);
    std::fs::create_dir(app.data()).unwrap();
    let mount = "mount -t tmpfs -o size=64k,mode=700 tutti \"$0/.tutti\" && { dd if=/dev/zero of=\"$0/.tutti/.fill\" bs=1k 2>/dev/null; mkdir -m 700 \"$0/.tutti/data\"; }";
    let Some(said) = mounted(&app, mount, &["--data-dir", ".tutti/data", "up", "-d"]) else { return };
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no space is left") && said.err.contains("TUT0303"), "{said:?}");
}
