//! The same bytes to us, nginx, HAProxy and Envoy, each in front of a service that writes down what it gets.
//!
//! Compared is what decides about smuggling: which requests with how much body the service sees. Where the others see
//! something else than we do, we must be the stricter: see a beginning of what they see, or nothing. Where all
//! others refuse and we accept, or nobody agrees with us about what we accept, that is a failure.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cases::{self, Case, Expect};
use super::wire::{self, Recorder};
use super::{PATIENCE, REQUESTS};
use crate::harness::*;

/// Others may wait for more; a connection on which nothing comes for so long is taken for one that stays open.
const SILENCE: Duration = Duration::from_millis(400);

/// What the service saw of a case.
type Reading = Vec<(String, usize)>;

struct Peer {
    name: &'static str,
    edge: SocketAddr,
    recorder: Recorder,
    child: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Peer {
    fn reading(&self, case: &Case) -> Reading {
        let patience = if self.child.is_some() { SILENCE } else { PATIENCE };
        let probe = case.expect != Expect::Starve;
        // A peer that resets is one that refuses.
        let _ = wire::exchange(self.edge, case, probe, usize::MAX, patience);
        let name = |seen: wire::Seen| {
            let probe = if seen.target.contains("probe") { " (the probe)" } else { "" };
            (format!("{}{probe}", seen.method), seen.length)
        };
        self.recorder.take().into_iter().map(name).collect()
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn start(
    name: &'static str,
    folder: &Path,
    configure: impl Fn(u16, u16) -> String,
    args: &[&str],
) -> Option<Peer> {
    let program = program(name)?;
    let (recorder, port) = (Recorder::start().unwrap(), free_port());
    let config = folder.join(format!("{name}.yaml"));
    std::fs::write(&config, configure(recorder.address.port(), port)).unwrap();
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(program);
    command.args(args).arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = Some(command.spawn().unwrap());
    let edge = SocketAddr::from(([127, 0, 0, 1], port));
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(edge).is_err() {
        if Instant::now() > until {
            let log = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            println!("skipped: {name} does not listen: {log}");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(Peer { name, edge, recorder, child })
}

/// Where a program is: named by a variable such as `TUTTI_ENVOY`, or in the path.
fn program(name: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(format!("TUTTI_{}", name.to_uppercase())) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop");
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), fetched])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

fn nginx(upstream: u16, port: u16) -> String {
    let folder = std::env::temp_dir().display().to_string();
    format!(
        "worker_processes 1; daemon off; master_process off; pid {folder}/tutti-smuggling-{port}.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{\n\
         proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $http_host; }} }} }}\n"
    )
}

fn haproxy(upstream: u16, port: u16) -> String {
    format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  server s 127.0.0.1:{upstream}\n"
    )
}

fn envoy(upstream: u16, port: u16) -> String {
    ENVOY.replace("UPSTREAM", &upstream.to_string()).replace("PORT", &port.to_string())
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
          stat_prefix: edge
          http_protocol_options: { accept_http_10: true }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{ match: { prefix: "/" }, route: { cluster: service } }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: service
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } }
"#;

/// What is wrong with our reading, given those of others.
fn fault(ours: &Reading, theirs: &BTreeMap<&str, Reading>) -> Option<&'static str> {
    if theirs.is_empty() || theirs.values().any(|reading| reading == ours) {
        return None;
    }
    if theirs.values().all(|reading| reading.starts_with(ours)) {
        return None;
    }
    if theirs.values().all(|reading| ours.starts_with(reading)) {
        return Some("we accept what all others refuse");
    }
    Some("nobody has our reading, and ours is no beginning of theirs")
}

/// Runs every case through all of them.
pub async fn smuggling() {
    let folder = tempfile::tempdir().unwrap();
    let mut peers: Vec<Peer> = [
        start("nginx", folder.path(), nginx, &["-c"]),
        start("haproxy", folder.path(), haproxy, &["-db", "-f"]),
        start(
            "envoy",
            folder.path(),
            envoy,
            &["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"],
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let recorder = Recorder::start().unwrap();
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, recorder.address)]).await;
    peers.push(Peer { name: "tutti", edge: tutti.edge, recorder, child: None });
    let comparing = tokio::task::spawn_blocking(move || compare(&peers));
    let faults = comparing.await.unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn compare(peers: &[Peer]) -> Vec<String> {
    let cases = cases::read(REQUESTS).unwrap();
    let (mut faults, mut alone, mut lenient) = (Vec::new(), 0, BTreeMap::<&str, usize>::new());
    for case in &cases {
        let mut theirs: BTreeMap<&str, Reading> =
            peers.iter().map(|peer| (peer.name, peer.reading(case))).collect();
        let mut ours = theirs.remove("tutti").unwrap_or_default();
        if let Expect::Answer(status) = case.expect {
            // Read as a request, and answered without the service: the boundary is where the others see it.
            let first = theirs.values().find_map(|reading| reading.first()).cloned();
            ours.splice(0..0, first.into_iter().inspect(|_| println!("{}: we answer {status}", case.name)));
        }
        let name = format!("{}: {}", case.family, case.name);
        if theirs.values().any(|reading| *reading != ours) {
            println!("{name}\n    tutti {}", shown(&ours));
            for (peer, reading) in theirs.iter().filter(|(_, reading)| **reading != ours) {
                println!("    {peer} {}", shown(reading));
                *lenient.entry(peer).or_default() += usize::from(reading.len() > ours.len());
            }
            alone += usize::from(theirs.values().all(|reading| *reading != ours));
        }
        if let Some(fault) = fault(&ours, &theirs) {
            faults.push(format!("{name}: {fault}: {} and {theirs:?}", shown(&ours)));
        }
    }
    println!("\n{} cases; in {alone} nobody else reads as we do", cases.len());
    for (peer, count) in lenient {
        println!("{peer} lets more through than we do in {count}");
    }
    faults
}

fn shown(reading: &Reading) -> String {
    if reading.is_empty() {
        return "nothing".to_owned();
    }
    reading.iter().map(|(method, length)| format!("{method} {length}")).collect::<Vec<_>>().join(", ")
}
