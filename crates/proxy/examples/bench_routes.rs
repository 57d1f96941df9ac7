//! A data plane that changes, for `cargo xtask bench routes`.
//!
//! `bench_routes ROUTES CORE`: one worker with so many routes, in front of an upstream of its own. It prints where it listens, and then
//! does what it is told, line by line: `probe RATE SECONDS CHANGE` sends so many probes a second, and with CHANGE = 1 asks for a change of a
//! route [`LOOK`] before each, which the probe must see. Probes are as evenly spread with changes as without: changes are acknowledged several
//! at a time, and probes sent at that moment would come in bunches, for which other requests wait. Upstream, changes and probes run on CORE,
//! as they are not the data plane's work.
//!
//! It prints lines of `name=value`, times in microseconds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::{Addr, ListenOptions, Stream};
use tutti_ports::catalog::{
    AppProtocol, Catalog, CatalogError, Endpoint, Health, Instance, Registration, Report, Spec, Transition,
    View,
};
use tutti_ports::routing::{
    Backend, Filter, HeaderEdit, Listener, Match, PathMatch, Route, Routing, Serve, Transport,
};
use tutti_proxy::{Handle, Options, Proxy, RouteEdit};

/// A catalog that never changes.
struct Fixed(watch::Sender<Arc<View>>);

#[async_trait::async_trait]
impl Catalog for Fixed {
    async fn register(&self, _: Registration) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn drain(&self, _: &InstanceId, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn deregister(&self, _: &InstanceId, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn report(&self, _: &InstanceId, _: &str, _: Report, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    fn suspect(&self, _: &InstanceId, _: &str) {}
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.0.subscribe()
    }
    async fn history(&self, _: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError> {
        Ok(Vec::new())
    }
}

fn view(addr: SocketAddr) -> anyhow::Result<View> {
    let service = ServiceName::new("upstream")?;
    let spec = Spec {
        id: InstanceId::of(&service, 1),
        service: service.clone(),
        endpoints: vec![Endpoint { port: 80, addr, protocol: AppProtocol::Http }],
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    let (health, since) = (Health::Passing, SystemTime::now());
    let instance = Instance { spec: Arc::new(spec), health, reason: String::new(), since };
    Ok(View { generation: 1, services: BTreeMap::from([(service, vec![instance])]) })
}

/// A route of a path of its own, whose answers tell the number of its last change. Every second one has a host too.
fn route(at: usize, change: u64) -> anyhow::Result<Route> {
    let path = Some(PathMatch::Prefix(format!("/r{at}")));
    let edit = HeaderEdit { set: vec![("x-change".into(), change.to_string())], ..HeaderEdit::default() };
    let hosts = if at.is_multiple_of(2) { vec![format!("h{at}.test")] } else { Vec::new() };
    let backend = Backend::new(ServiceName::new("upstream")?, 80, AppProtocol::Http);
    let matches = vec![Match { path, ..Match::default() }];
    let filters = vec![Filter::ResponseHeaders(edit)];
    Ok(Route { hosts, matches, filters, ..Route::to(format!("r{at}"), backend) })
}

/// A connection that asks and reads one answer after the other.
struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = Stream::connect(&Addr::Tcp(address), Duration::from_secs(5)).await?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The number that the answer tells; an error unless it is a 200.
    async fn ask(&mut self, at: usize) -> anyhow::Result<u64> {
        let request = format!("GET /r{at}/x HTTP/1.1\r\nHost: h{at}.test\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the connection was closed");
            let text = std::str::from_utf8(&self.buffer)?;
            // The upstream's body is two bytes.
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if body.len() < 2 {
                continue;
            }
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
            let number = head.lines().find_map(|line| line.strip_prefix("x-change: "));
            return Ok(number.context("no x-change")?.trim().parse()?);
        }
    }
}

/// Answers everything with 200 and two bytes, in a thread of its own.
fn upstream(core: &str) -> anyhow::Result<SocketAddr> {
    let (told, address) = std::sync::mpsc::channel();
    let core = core.to_owned();
    std::thread::spawn(move || -> anyhow::Result<()> {
        pin(&core);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let any = Addr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
            let listener = tutti_net::Listener::bind(&any, &ListenOptions::default())?;
            told.send(listener.socket_addr().context("no address")?)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream));
            }
        })
    });
    Ok(address.recv()?)
}

async fn answer(mut stream: Stream) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let good = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(good).await.is_err() {
                return;
            }
        }
    }
}

fn percentile(times: &mut [u64], part: f64) -> u64 {
    times.sort_unstable();
    let at = (times.len() as f64 * part) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[allow(clippy::print_stdout)]
fn say(text: &str) -> anyhow::Result<()> {
    println!("{text}");
    Ok(std::io::stdout().flush()?)
}

/// Moves the thread that asks to a core.
fn pin(core: &str) {
    if let Ok(path) = std::fs::read_link("/proc/thread-self")
        && let Some(thread) = path.file_name()
    {
        // Without taskset everything shares the cores, and says less.
        let _ = std::process::Command::new("taskset").args(["-pc", core]).arg(thread).output();
    }
}

fn serve(routes: usize, core: &str) -> anyhow::Result<()> {
    let upstream = upstream(core)?;
    let all = (0..routes).map(|at| route(at, 0)).collect::<Result<Vec<_>, _>>()?;
    let (bind, serve) = (SocketAddr::from(([127, 0, 0, 1], 0)), Serve::http(all));
    let listener = Listener { name: "bench".to_owned(), bind, transport: Transport::default(), serve };
    let routing = Routing { listeners: vec![listener], ..Routing::default() };
    let options = Options { workers: 1, ..Options::default() };
    let catalog = Arc::new(Fixed(watch::channel(Arc::new(view(upstream)?)).0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (proxy, handle) = runtime.block_on(Proxy::start(options, routing, catalog, None))?;
    let address = handle.describe().listeners.first().context("no listener")?.address;
    pin(core);
    say(&format!("address={address}"))?;
    let mut number = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["probe", rate, seconds, change] = words[..] else { bail!("{line:?} is not understood") };
        let probes = Probes {
            routes,
            address,
            rate: rate.parse()?,
            seconds: seconds.parse()?,
            changes: change == "1",
        };
        let told = runtime.block_on(probes.run(&handle, &mut number))?;
        say(&told)?;
    }
    runtime.block_on(proxy.shutdown());
    Ok(())
}

/// A change, or the lack of one, and the look at it.
struct Probes {
    routes: usize,
    address: SocketAddr,
    rate: u64,
    seconds: u64,
    changes: bool,
}

/// Connections that probe.
const PROBERS: usize = 16;

/// How long after a change was asked for a probe looks at it, or later if it is not acknowledged by then.
const LOOK: Duration = Duration::from_millis(20);

impl Probes {
    async fn run(&self, handle: &Handle, number: &mut u64) -> anyhow::Result<String> {
        let generation = handle.describe().generation;
        let (jobs, inbox) = mpsc::channel::<Job>(4096);
        let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
        let mut probers = JoinSet::new();
        for _ in 0..PROBERS {
            probers.spawn(prober(self.address, Arc::clone(&inbox)));
        }
        let (begun, mut tasks, mut times) = (Instant::now(), JoinSet::new(), Vec::new());
        for at in 0..self.rate * self.seconds {
            let due = begun + Duration::from_nanos(at * 1_000_000_000 / self.rate);
            tokio::time::sleep_until(due.into()).await;
            *number += 1;
            let (place, wanted) = (usize::try_from(*number)? % self.routes, *number);
            let (handle, jobs, changes) = (handle.clone(), jobs.clone(), self.changes);
            let edit = RouteEdit::Put(Box::new(route(place, wanted)?));
            tasks.spawn(async move {
                let asked = Instant::now();
                if changes {
                    handle.edit("bench", vec![edit]).await?;
                }
                let took = asked.elapsed();
                tokio::time::sleep_until((due + LOOK).into()).await;
                jobs.try_send((place, if changes { wanted } else { 0 }))
                    .context("the probers do not keep up")?;
                anyhow::Ok(u64::try_from(took.as_micros())?)
            });
            while let Some(ended) = tasks.try_join_next() {
                times.push(ended??);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            times.push(ended??);
        }
        let took = begun.elapsed();
        drop(jobs);
        let mut failed = 0;
        while let Some(ended) = probers.join_next().await {
            failed += ended?;
        }
        let (p99, greatest) = (percentile(&mut times, 0.99), times.last().copied().unwrap_or(0));
        let made = handle.describe().generation - generation;
        let rate = times.len() as f64 / took.as_secs_f64();
        Ok(format!(
            "probes={} failed={failed} rate={rate:.0} p99={p99} max={greatest} generations={made}",
            times.len()
        ))
    }
}

/// A route, and the number that it must tell at least.
type Job = (usize, u64);

/// How many probes failed or saw something older.
async fn prober(address: SocketAddr, jobs: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>) -> usize {
    let mut failed = 0;
    let mut connection = Connection::open(address).await;
    loop {
        let job = jobs.lock().await.recv().await;
        let Some((place, wanted)) = job else { return failed };
        let seen = match &mut connection {
            Ok(connection) => connection.ask(place).await,
            Err(_) => Err(anyhow::anyhow!("no connection")),
        };
        if !seen.is_ok_and(|seen| seen >= wanted) {
            failed += 1;
            connection = Connection::open(address).await;
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let routes = arguments.next().context("the number of routes is missing")?.parse()?;
    serve(routes, &arguments.next().context("the core is missing")?)
}
