//! The bench: a project folder, the program, and what is left of it in the process table.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client;
use crate::control::Control;

/// Nothing in a test takes longer, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that marks every process of a test. Its prefix is one of those that services inherit.
const MARK: &str = "XDG_TUTTI_TEST";

/// An application in a folder of its own. When it goes, everything that it started must go with it.
pub struct App {
    temp: tempfile::TempDir,
    folder: PathBuf,
    mark: String,
    env: Vec<(String, String)>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The JSON that it printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

/// The service that the tests run; `cargo test` builds it with the tests.
pub fn fixture() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_tutti")).with_file_name("examples").join("fixture");
    assert!(built.exists(), "`cargo test -p tutti` builds {}; `--test it` alone does not", built.display());
    built
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl App {
    /// A project of these two files; `FIXTURE` stands for the fixture's path. Without an overlay every service runs the fixture.
    pub fn new(compose: &str, overlay: &str) -> Self {
        Self::below("app", compose, overlay)
    }

    /// The same, in a folder of this name.
    pub fn below(folder: &str, compose: &str, overlay: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let app = Self { temp, folder, mark, env: Vec::new() };
        app.write("compose.yaml", compose);
        app.write("tutti.yaml", overlay);
        app
    }

    /// Services that all run the fixture, published at a port that the system chooses; health is looked at often.
    pub fn of(services: &[&str]) -> Self {
        let (mut compose, mut overlay) = (String::from("services:\n"), String::from("services:\n"));
        for name in services {
            compose.push_str(&format!(
                "  {name}: {{ image: x, restart: always, ports: ['127.0.0.1::8080'] }}\n"
            ));
            overlay.push_str(&format!("  {name}: {{ run: [FIXTURE], health: {HEALTH} }}\n"));
        }
        Self::new(&compose, &overlay)
    }

    /// Sets a variable for the program.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn write(&self, name: &str, text: &str) {
        let fixture = serde_json::to_string(&fixture()).unwrap();
        std::fs::write(self.folder.join(name), text.replace("FIXTURE", &fixture)).unwrap();
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder outside of the project that goes with it.
    pub fn outside(&self) -> &Path {
        self.temp.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join(".tutti")
    }

    /// The program with arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
        self.surround(&mut command);
        command.args(args);
        command
    }

    /// Gives a command the project's folder and environment.
    pub fn surround(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["TUTTI_", "COMPOSE_", "XDG_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.folder).env(MARK, &self.mark).envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn tutti(&self, args: &[&str]) -> Said {
        finish(self.command(args).spawn().unwrap())
    }

    /// `tutti up -d`, which must succeed.
    #[track_caller]
    pub fn up(&self) -> Said {
        self.tutti(&["up", "-d"]).ok()
    }

    /// What a verb prints with `--json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.tutti(&[args, &["--json"]].concat()).json()
    }

    /// The control socket of the running Tutti.
    pub fn control(&self) -> Control {
        Control::new(&self.data().join("run/control.sock"))
    }

    /// A service in the status.
    #[track_caller]
    pub fn service(&self, name: &str) -> Value {
        service(&self.control().status(), name).clone()
    }

    /// Waits until the status of a service is as wanted.
    #[track_caller]
    pub fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let status = self.control().until(|status| wanted(service(status, name)));
        service(&status, name).clone()
    }

    /// The process ids of the instances of a service that run.
    pub fn pids(&self, name: &str) -> Vec<i32> {
        let service = self.service(name);
        let pid = |instance: &Value| instance["pid"].as_i64().map(|pid| i32::try_from(pid).unwrap());
        service["instances"].as_array().unwrap().iter().filter_map(pid).collect()
    }

    /// The process of Tutti.
    pub fn daemon(&self) -> i32 {
        i32::try_from(self.control().status()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Where a service is reached from outside.
    #[track_caller]
    pub fn edge(&self, name: &str) -> SocketAddr {
        edge(&self.control().status(), name)
    }

    /// What the edge answers for a service; it must be a 200.
    #[track_caller]
    pub fn get(&self, name: &str, path: &str) -> String {
        let (status, text) = client::get(self.edge(name), path);
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Every process of this test that is alive.
    pub fn processes(&self) -> Vec<Process> {
        processes(&format!("{MARK}={}", self.mark))
    }

    /// Waits until no process of this test is left.
    #[track_caller]
    pub fn assert_gone(&self) {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "processes are left: {left:#?}\n{}", self.log());
            // There is no event for "none of these": the end of one of them is as good.
            wait_for_end(left[0].pid, Duration::from_millis(100));
        }
    }

    /// What Tutti says of itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data().join("tutti.log")).unwrap_or_default()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if !self.processes().is_empty() {
            let child = self.command(&["down"]).spawn().unwrap();
            let (send, ended) = mpsc::channel();
            std::thread::spawn(move || send.send(child.wait_with_output()));
            if ended.recv_timeout(PATIENCE).is_err() && !std::thread::panicking() {
                panic!("`tutti down` did not end");
            }
        }
        if !std::thread::panicking() {
            self.assert_gone();
        }
        self.processes().iter().for_each(|process| signal(process.pid, Signal::KILL));
    }
}

/// A health check that is made often enough for a test.
pub const HEALTH: &str = "{ http: /healthz, interval: 50ms, timeout: 5s, retries: 2 }";

/// A service in a status.
#[track_caller]
pub fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().unwrap_or_else(|| panic!("no status: {status:#}"));
    services.iter().find(|service| service["name"] == name).unwrap_or_else(|| panic!("no {name}: {status:#}"))
}

/// The address of the listener that serves a service.
#[track_caller]
pub fn edge(status: &Value, name: &str) -> SocketAddr {
    let listeners = status["listeners"].as_array().unwrap();
    let serves = |one: &&Value| one["serves"].as_array().unwrap().iter().any(|service| service == name);
    let address = listeners.iter().find(serves).unwrap()["address"].as_str().unwrap();
    address.split("//").nth(1).unwrap().parse().unwrap()
}

/// Waits for the end of a program, and for what it said.
#[track_caller]
pub fn finish(child: Child) -> Said {
    let pid = i32::try_from(child.id()).unwrap();
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        signal(pid, Signal::KILL);
        panic!("it did not end: {:?}", ended.recv());
    };
    let output = output.unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    Said {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default()),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until a file is there.
#[track_caller]
pub fn until_there(path: &Path) {
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < until, "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal; to a process that is gone it does nothing.
pub fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Waits until a process has ended (also as a zombie); whether it has.
pub fn wait_for_end(pid: i32, longest: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(fd) = rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), flags) else { return true };
    let time = Timespec::try_from(longest).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)).unwrap() > 0
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub command: String,
}

/// Every process with this in its environment. A zombie has none.
fn processes(mark: &str) -> Vec<Process> {
    let process = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environ = std::fs::read(entry.path().join("environ")).ok()?;
        environ.split(|byte| *byte == 0).find(|pair| *pair == mark.as_bytes())?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(Process { pid, command: String::from_utf8_lossy(&command).replace('\0', " ") })
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
}
