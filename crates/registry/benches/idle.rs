//! What ten thousand healthy instances cost: CPU per probe, idle CPU and memory for each instance.
//!
//! `cargo bench -p tutti-registry --bench idle [-- INSTANCES SECONDS]`. The instances are one HTTP server in a second
//! process (this program again), so that only the registry's own time and memory are counted. Beside it, the same probes
//! are done in the plainest way, one after the other and without a registry, and the ratio is printed. The memory includes
//! what the store in memory keeps of each instance.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::client::{Limits, get};
use tutti_net::server::Settings;
use tutti_net::{Body, ConnectionInfo, DrainSignal, Handler, ListenOptions, Listener, serve};
use tutti_ports::catalog::{AppProtocol, Catalog, Check, Endpoint, Health, Probe, Registration, Spec};
use tutti_ports::exec::{Exec, ExecError, Finished};
use tutti_registry::{Handle, Options, Registry};
use tutti_testkit::state::MemoryStore;

/// Compose's default.
const INTERVAL: Duration = Duration::from_secs(30);

struct NoExec;

#[async_trait::async_trait]
impl Exec for NoExec {
    async fn run(&self, id: &InstanceId, _: &[String], _: Duration) -> Result<Finished, ExecError> {
        Err(ExecError::NotRunning(id.clone()))
    }
}

struct Well;

impl Handler for Well {
    async fn handle(&self, _: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        Response::new("ok".into())
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        return runtime.block_on(server());
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let instances = numbers.next().unwrap_or(10_000);
    let seconds = numbers.next().unwrap_or(30);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr: SocketAddr = line.trim().parse().unwrap();
    runtime.block_on(measure(addr, instances, Duration::from_secs(seconds)));
    // The server ends when its standard input does.
    drop(child.stdin.take());
    child.wait().unwrap();
}

async fn server() {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(&any.into(), &ListenOptions::default()).unwrap();
    println!("{}", listener.local_addr());
    let serving = serve(listener, Arc::new(Well), Settings::named("well"), DrainSignal::never());
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    tokio::select! { _ = serving => {}, _ = end => {} }
}

async fn measure(addr: SocketAddr, instances: u64, window: Duration) {
    let before = Usage::now();
    let (registry, handle) = Registry::new(
        Arc::new(MemoryStore::new()),
        Arc::new(SystemClock::new()),
        Rng::seeded(1),
        Options::default(),
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(registry.run(async move { drop(stopped.await) }));
    let began = Instant::now();
    start(&handle, addr, instances).await;
    let ready = began.elapsed();
    let started = Usage::now();
    println!(
        "{instances} instances registered and passing after {ready:.2?} ({:.2?} of CPU)",
        started.cpu - before.cpu
    );
    // The first regular probes come in the second half of the first interval.
    tokio::time::sleep(INTERVAL / 2).await;
    let (begin, probes) = (Usage::now(), probes(&handle));
    tokio::time::sleep(window).await;
    let (end, probes) = (Usage::now(), self::probes(&handle) - probes);
    let cpu = end.cpu - begin.cpu;
    println!(
        "idle: {:.2} % of one core, {probes} probes in {window:?}",
        100.0 * cpu.as_secs_f64() / window.as_secs_f64()
    );
    let per_probe = cpu.as_secs_f64() * 1e6 / probes.max(1) as f64;
    println!("per probe: {per_probe:.1} us of CPU");
    let memory = end.resident.saturating_sub(before.resident);
    println!(
        "memory: {} B for each instance, what the store keeps of it included",
        memory / instances.max(1)
    );
    drop(stop);
    running.await.unwrap().unwrap();
    let plain = plain(addr, probes.clamp(1, 5_000)).await;
    println!("ratio to the same GETs without a registry: {:.2} ({plain:.1} us each)", per_probe / plain);
}

/// Registers, many at a time, and waits for all to pass.
async fn start(handle: &Arc<Handle>, addr: SocketAddr, instances: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=instances {
        let handle = Arc::clone(handle);
        tasks.spawn(async move { handle.register(registration(number, addr)).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let mut view = handle.watch();
    let all = view.wait_for(|view| view.instances("web").iter().all(|i| i.health == Health::Passing));
    all.await.unwrap();
}

fn registration(number: u64, addr: SocketAddr) -> Registration {
    let spec = Spec {
        id: InstanceId::new(&format!("web-{number}")).unwrap(),
        service: ServiceName::new("web").unwrap(),
        endpoints: vec![Endpoint { port: 80, addr, protocol: AppProtocol::Http }],
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    let check = Check {
        name: "web".into(),
        probe: Probe::Http { addr, path: "/health".into(), host: None, any_status: false },
        interval: INTERVAL,
        timeout: Duration::from_secs(5),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(1),
        fall: 3,
        rise: 1,
    };
    Registration { spec, checks: vec![check], exec: Arc::new(NoExec), standing: None }
}

fn probes(handle: &Handle) -> u64 {
    let mut page = tutti_core::metrics::Page::default();
    handle.metrics().show(&mut page);
    let text = page.finish();
    let lines = text.lines().filter(|line| line.starts_with("tutti_registry_probes_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// CPU microseconds for a GET over a fresh connection with nothing around it.
async fn plain(addr: SocketAddr, count: u64) -> f64 {
    let limits = Limits { timeout: Duration::from_secs(5), body_bytes: 1 << 10 };
    let begin = Usage::now();
    for _ in 0..count {
        get(&addr.into(), "localhost", "/health", limits).await.unwrap();
    }
    (Usage::now().cpu - begin.cpu).as_secs_f64() * 1e6 / count as f64
}

/// What this process has used.
struct Usage {
    cpu: Duration,
    resident: u64,
}

impl Usage {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<i64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // Behind the name and the state (a letter): utime and stime are the 11th and 12th numbers, in ticks of 10 ms.
        let ticks = u64::try_from(fields.get(10).unwrap() + fields.get(11).unwrap()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        Self { cpu: Duration::from_millis(ticks * 10), resident: kib * 1024 }
    }
}
