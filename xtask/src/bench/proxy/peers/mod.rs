//! The proxies under comparison: each on one core, one thread, with its access log on and [`ROUTES`] routes, keeping
//! connections to the same upstreams, and telling them the client's address and a request id as Tutti does. Where a log can
//! be buffered, it is, since Tutti's is.

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod traefik;
mod tutti;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::scenario::{ROUTES, Scenario};
use super::secrets::Secrets;

/// A program that runs; killed when dropped.
pub struct Running {
    /// What it is called.
    pub name: &'static str,
    /// What it is put to.
    pub does: &'static [Scenario],
    ports: Ports,
    child: Child,
}

/// Where a proxy listens.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Without TLS: HTTP/1.1, and HTTP/2 with prior knowledge where that can share a port.
    pub plain: u16,
    /// With TLS: HTTP/2 and HTTP/1.1 by ALPN.
    pub tls: u16,
    /// HTTP/2 without TLS, where it cannot share a port.
    pub h2c: u16,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where to ask.
    pub fn url(&self, scenario: Scenario) -> String {
        let (scheme, port) = match scenario {
            Scenario::Grpc => ("http", self.ports.h2c),
            tls if tls.is_tls() => ("https", self.ports.tls),
            _ => ("http", self.ports.plain),
        };
        format!("{scheme}://127.0.0.1:{port}{}", scenario.path())
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Tutti ends what it has started only when it is asked to; the others do not mind.
        let asked = Command::new("kill").arg(self.pid().to_string()).status();
        let until = Instant::now() + Duration::from_secs(10);
        while asked.is_ok() && Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the files of a run are, and which cores and ports are used.
pub struct Place<'a> {
    /// A folder that goes when the run ends.
    pub folder: &'a Path,
    /// The core of the proxy that is measured.
    pub proxy_core: usize,
    /// The core of everything else.
    pub other_core: usize,
    /// The upstream's port; all others follow.
    pub port: u16,
    /// Keys and tokens of this run.
    pub secrets: &'a Secrets,
    /// Where pip finds wheels without a network.
    pub wheels: Option<&'a Path>,
    /// Whether the proxies run in callgrind, which counts their instructions.
    pub counted: bool,
}

/// Starts the peers that are here or can be had; the names of those that are not, with the reason.
pub fn all(place: &Place<'_>, tutti: &Path, only: &[String]) -> Result<(Vec<Running>, Vec<String>)> {
    let mut running = vec![place.tutti(tutti).context("Tutti does not start")?];
    let mut skipped = Vec::new();
    type Begin = fn(&Place<'_>) -> Result<Running>;
    let peers: [(&str, Begin); 5] = [
        ("nginx", |place| place.nginx()),
        ("haproxy", |place| place.haproxy()),
        ("envoy", |place| place.envoy()),
        ("caddy", |place| place.caddy()),
        ("traefik", |place| place.traefik()),
    ];
    for (name, start) in peers {
        if !only.is_empty() && !only.iter().any(|one| one == name) {
            skipped.push(format!("{name}: not asked for"));
            continue;
        }
        match start(place) {
            Ok(peer) => running.push(peer),
            Err(error) => skipped.push(format!("{name}: {error:#}")),
        }
    }
    Ok((running, skipped))
}

impl Place<'_> {
    /// The ports of the peer with this number.
    fn ports(&self, number: u16) -> Ports {
        let base = self.port + 10 + 10 * number;
        Ports { plain: base, tls: base + 1, h2c: base + 2 }
    }

    /// The port of the upstream that speaks gRPC.
    pub fn grpc_port(&self) -> u16 {
        self.port + 1
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn start(&self, start: Start) -> Result<Running> {
        let Start { name, ports, core, does, command } = start;
        let log = fs::File::create(self.folder.join(format!("{name}.out")))?;
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &core.to_string()]);
        if self.counted && core == self.proxy_core && !does.is_empty() {
            pinned.args(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        }
        pinned.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            pinned.env(key, value.unwrap_or_default());
        }
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        let child = pinned
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Running { name, does, ports, child };
        self.wait(&mut running)?;
        Ok(running)
    }

    /// Waits until it answers.
    fn wait(&self, running: &mut Running) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(if self.counted { 120 } else { 20 });
        let url = match running.does {
            [] => format!("http://127.0.0.1:{}/r999/1k.txt", running.ports.plain),
            _ => running.url(Scenario::Small),
        };
        loop {
            let probe = Command::new("curl").args(["-sf", "-o", "/dev/null", &url]).status()?;
            if probe.success() {
                return Ok(());
            }
            let ended = running.child.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                let said =
                    fs::read_to_string(self.folder.join(format!("{}.out", running.name))).unwrap_or_default();
                bail!("{} does not answer: {}", running.name, said.trim());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The peer's core, and what is started on it.
    fn peer(
        &self,
        name: &'static str,
        ports: Ports,
        does: &'static [Scenario],
        command: Command,
    ) -> Result<Running> {
        self.start(Start { name, ports, core: self.proxy_core, does, command })
    }

    /// nginx with files of 1 kB and 64 kB.
    pub fn upstream(&self) -> Result<Running> {
        for folder in ["r999", "limited", "jwt"] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("1k.txt"), "x".repeat(1 << 10))?;
            fs::write(folder.join("64k.txt"), "x".repeat(64 << 10))?;
        }
        let (folder, port) = (self.folder.display(), self.port);
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {folder}/upstream.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; open_file_cache max=10;\n\
             server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
        );
        let path = self.write("upstream.conf", &config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(path);
        let ports = Ports { plain: port, tls: 0, h2c: 0 };
        self.start(Start { name: "upstream", ports, core: self.other_core, does: &[], command })
    }
}

impl Place<'_> {
    /// A server of gRPC that answers with what it was sent.
    pub fn grpc_upstream(&self, program: &Path) -> Result<Running> {
        let port = self.grpc_port();
        let mut command = Command::new(program);
        command.arg(format!("127.0.0.1:{port}"));
        let ports = Ports { plain: port, tls: 0, h2c: port };
        self.start(Start { name: "grpc", ports, core: self.other_core, does: &[], command })
    }
}

/// What is started, and how.
struct Start {
    name: &'static str,
    ports: Ports,
    core: usize,
    does: &'static [Scenario],
    command: Command,
}

/// One line for each route.
fn routes(line: impl Fn(usize) -> String) -> String {
    (0..ROUTES).map(line).collect()
}
