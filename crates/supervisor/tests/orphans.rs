//! Nothing of the application outlives Tutti, however Tutti ends.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use tutti_model::app::Restart;
use tutti_supervisor::EventKind;
use tutti_testkit::fake::Probing;

/// Writes its own process id to a file and goes on; deaf to SIGTERM.
const DEAF: &str = "trap '' TERM HUP INT; echo $$ > deaf; while :; do sleep 1; done";

/// A daemon by the book: forks, leaves the session, forks again, and forgets its environment.
const DAEMON: &str = "exec python3 -c '
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        pid = os.getpid()
        open(\"daemon.tmp\", \"w\").write(str(pid)); os.rename(\"daemon.tmp\", \"daemon\")
        os.execve(\"/bin/sleep\", [\"sleep\", \"1000\"], {})
    os._exit(0)
os.wait()
while True: time.sleep(1)'";

/// A child in the same group, and a parent that waits.
const CHILD: &str = "sleep 1000 & echo $! > child; wait";

fn tutti(data: &Path) -> Child {
    Command::new(fixture())
        .arg("run")
        .arg(data)
        .args([DEAF, DAEMON, CHILD])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pids(data: &Path) -> Vec<i32> {
    let read = |file: &&str| {
        let text = || std::fs::read_to_string(data.join(file)).ok()?.trim().parse().ok();
        wait_for(file, text)
    };
    ["deaf", "daemon", "child"].iter().map(read).collect()
}

fn keeper_of(pid: u32) -> i32 {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let look = || {
        let all = std::fs::read_dir("/proc")
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.into_iter().find(|child: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let parent =
                stat.rsplit_once(") ").and_then(|(_, tail)| tail.split(' ').nth(1)?.parse::<u32>().ok());
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            parent == Some(pid) && line.contains("keeper")
        })
    };
    wait_for(&children, look)
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn all_gone(pids: &[i32]) {
    wait_for("something of the application is left", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}

#[test]
fn kill_9_of_tutti_takes_everything_with_it() {
    let data = tempfile::tempdir().unwrap();
    let mut tutti = tutti(data.path());
    let pids = pids(data.path());
    let keeper = keeper_of(tutti.id());
    assert!(pids.iter().all(|pid| alive(*pid)));
    tutti.kill().unwrap();
    tutti.wait().unwrap();
    all_gone(&pids);
    all_gone(&[keeper]);
}

#[test]
fn kill_9_of_the_keeper_starts_everything_anew() {
    let data = tempfile::tempdir().unwrap();
    let mut tutti = tutti(data.path());
    let old = pids(data.path());
    let keeper = keeper_of(tutti.id());
    for file in ["deaf", "child", "daemon"] {
        std::fs::remove_file(data.path().join(file)).unwrap();
    }
    kill(keeper);
    // Tutti is their last parent, also of the daemon that forgot its environment.
    all_gone(&old);
    let new = pids(data.path());
    assert!(new.iter().all(|pid| alive(*pid)), "{old:?} {new:?}");
    let keeper = keeper_of(tutti.id());
    tutti.kill().unwrap();
    tutti.wait().unwrap();
    all_gone(&new);
    all_gone(&[keeper]);
}

#[test]
fn what_two_kills_at_once_leave_is_ended_by_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let mut first = tutti(data.path());
    let keeper = keeper_of(first.id());
    let pids = pids(data.path());
    // Stopped, the keeper cannot see that Tutti is gone.
    assert!(Command::new("kill").args(["-STOP", &keeper.to_string()]).status().unwrap().success());
    first.kill().unwrap();
    first.wait().unwrap();
    kill(keeper);
    for file in ["deaf", "child", "daemon"] {
        std::fs::remove_file(data.path().join(file)).unwrap();
    }
    let mut second = tutti(data.path());
    let new = self::pids(data.path());
    assert!(pids[0] != new[0] && !alive(pids[0]) && !alive(pids[2]), "{pids:?}");
    second.kill().unwrap();
    second.wait().unwrap();
    all_gone(&new);
    if alive(pids[1]) {
        kill(pids[1]);
    }
}

#[tokio::test]
async fn what_an_ended_service_leaves_behind_is_killed_before_its_end_is_told() {
    let script = "sleep 1000 & echo $! > left; setsid sleep 1000 & echo $! > apart; sleep 0.05; exit 0";
    let mut world = World::new(Probing::Pass, vec![service("x", script)]);
    world.handle.up(&[]).await.unwrap();
    world.event(kind(|kind| matches!(kind, EventKind::Completed))).await;
    for file in ["left", "apart"] {
        let pid = std::fs::read_to_string(world.folder.path().join(file)).unwrap().trim().parse().unwrap();
        assert!(!alive(pid), "{file}");
    }
    world.down().await.unwrap();
}

#[tokio::test]
async fn a_stop_reaches_daemons_that_left_group_session_and_environment() {
    let world = World::new(Probing::Pass, vec![service("x", DAEMON)]);
    world.up().await;
    let file = world.folder.path().join("daemon");
    let pid = loop {
        match std::fs::read_to_string(&file) {
            Ok(text) => break text.trim().parse().unwrap(),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(alive(pid));
    world.down().await.unwrap();
    assert!(!alive(pid));
}

#[tokio::test]
async fn the_second_ctrl_c_kills_what_is_deaf_at_once() {
    let mut deaf = service("deaf", DEAF);
    deaf.stop_grace_period = Duration::from_secs(1000);
    deaf.restart = Restart::Always;
    let mut world = World::new(Probing::Pass, vec![deaf]);
    world.up().await;
    let handle = world.handle.clone();
    let polite = tokio::spawn(async move { handle.shutdown().await });
    world.event(kind(|kind| matches!(kind, EventKind::Stopping { .. }))).await;
    tokio::time::timeout(PATIENCE, world.handle.kill()).await.unwrap();
    polite.await.unwrap();
}

/// Processes that carry the mark of the data directory's runs.
fn marked(data: &Path) -> Vec<i32> {
    let canonical = data.canonicalize().unwrap();
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &i32| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        alive(*pid) && (cwd.starts_with(&canonical) || line.contains(&*canonical.to_string_lossy()))
    })
    .collect()
}

#[test]
fn kill_9_at_any_moment_leaves_nothing_and_the_next_start_works() {
    let data = tempfile::tempdir().unwrap();
    // From before the keeper is there to after everything runs.
    for pause_ms in [0, 1, 2, 5, 10, 20, 40, 80, 160, 320] {
        let mut tutti = tutti(data.path());
        std::thread::sleep(Duration::from_millis(pause_ms));
        tutti.kill().unwrap();
        tutti.wait().unwrap();
        wait_for("something is left", || marked(data.path()).is_empty().then_some(()));
        for file in ["deaf", "child", "daemon"] {
            let _ = std::fs::remove_file(data.path().join(file));
        }
    }
    let mut tutti = tutti(data.path());
    let pids = pids(data.path());
    assert!(pids.iter().all(|pid| alive(*pid)));
    tutti.kill().unwrap();
    tutti.wait().unwrap();
    all_gone(&pids);
}
