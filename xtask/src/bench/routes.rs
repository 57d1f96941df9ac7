//! `cargo xtask bench routes`: what many changes of routes do to requests, and how soon each is in force.
//!
//! The peer is the same program in the same run without changes: phases with and without alternate, and medians are compared. Nothing but
//! the changes differs: probes are sent in both. The files of `tutti.yaml` cannot be read a thousand times a second, so
//! the data plane runs as a program of its own (`crates/proxy/examples/bench_routes.rs`), changed through its public handle.
//! A change is in force when it is acknowledged; every probe that comes in through a socket after that must get the answer that the change
//! asks for, or it counts as failed.

mod load;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use self::load::Load;
use crate::shell;

/// Options of the benchmark.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds of changes for each number of routes, over all phases; as many without.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Phases with changes, and as many without.
    #[arg(long, default_value_t = 6)]
    phases: u64,
    /// Changes a second.
    #[arg(long, default_value_t = 1_000)]
    changes: u64,
    /// Requests a second, besides the probes.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Numbers of routes.
    #[arg(long, default_values_t = [1_000, 5_000])]
    routes: Vec<usize>,
    /// Use this program instead of building it.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Only the resident memory of the whole program with the greatest number of routes.
    #[arg(long)]
    memory_only: bool,
    /// Use this `tutti` instead of building it.
    #[arg(long)]
    tutti: Option<PathBuf>,
}

/// p99 with changes, as a multiple of p99 without.
const SLOWER: f64 = 1.10;
/// Microseconds until a change is in force.
const FORCE_US: u64 = 30_000;
/// Resident memory of the program.
const BYTES: u64 = 40 << 20;

/// Runs the benchmark; fails when a bar is missed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut good = true;
    if !args.memory_only {
        let program = match &args.program {
            Some(program) => program.clone(),
            None => {
                build(&["--package", "tutti-proxy", "--example", "bench_routes"], "examples/bench_routes")?
            }
        };
        for routes in &args.routes {
            good &= measure(args, &program, *routes)?;
        }
    }
    let tutti = match &args.tutti {
        Some(tutti) => tutti.clone(),
        None => build(&["--package", "tutti", "--bin", "tutti"], "tutti")?,
    };
    good &= memory(&tutti, args.routes.iter().copied().max().unwrap_or(5_000))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(what: &[&str], name: &str) -> Result<PathBuf> {
    println!("building {name} (profile release)");
    if !shell::succeeds(shell::cargo().args(["build", "--release"]).args(what))? {
        bail!("it does not build");
    }
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    Ok(metadata.target_directory.join("release").join(name).into_std_path_buf())
}

/// What a program said in a line of `name=value`.
struct Told(BTreeMap<String, String>);

impl Told {
    fn parse(line: &str) -> Self {
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("{name} was not told"))
    }

    fn number(&self, name: &str) -> Result<u64> {
        Ok(self.text(name)?.parse()?)
    }
}

/// The data plane.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &Path, routes: usize, cores: usize) -> Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args([&routes.to_string(), &(cores - 1).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the data plane")?;
        let out = BufReader::new(child.stdout.take().context("there is no output")?);
        Ok(Self { child, out })
    }

    fn read(&mut self) -> Result<Told> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the data plane has ended");
        Ok(Told::parse(&line))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("there is no input")?;
        Ok(writeln!(stdin, "{line}")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one number of routes gave.
#[derive(Default)]
struct Measured {
    quiet: Vec<u64>,
    busy: Vec<u64>,
    failed: u64,
    requests: u64,
    changes: u64,
    slowest: u64,
    force: Vec<u64>,
    generations: u64,
}

fn measure(args: &Args, program: &Path, routes: usize) -> Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut server = Server::start(program, routes, cores)?;
    let address: SocketAddr = server.read()?.text("address")?.parse()?;
    // The load is not the data plane's work.
    let own = std::process::id().to_string();
    shell::output(Command::new("taskset").args(["-apc", &(cores - 1).to_string(), &own]))?;
    let each = (args.seconds / args.phases.max(1)).max(1);
    let mut measured = Measured::default();
    println!("\n{routes} routes, {} changes a second, {} requests a second", args.changes, args.rate);
    for phase in 0..args.phases.max(1) * 2 {
        // Neither kind is always first.
        let busy = matches!(phase % 4, 1 | 2);
        let changes = u8::from(busy);
        server.tell(&format!("probe {} {each} {changes}", args.changes))?;
        let load = Load { address, routes, rate: args.rate.max(1), seconds: each };
        let (load, probes) = (load.run()?, server.read()?);
        measured.failed += load.failed + probes.number("failed")?;
        measured.requests += load.requests + probes.number("probes")?;
        let p99 = load.p99;
        if busy {
            measured.busy.push(p99);
            measured.changes += probes.number("probes")?;
            measured.generations += probes.number("generations")?;
            measured.slowest = measured.slowest.max(probes.number("max")?);
            measured.force.push(probes.number("p99")?);
        } else {
            measured.quiet.push(p99);
        }
        let (kind, p50) = (if busy { "changes" } else { "quiet" }, load.p50);
        println!("  {kind:8} p50 {p50} µs, p99 {p99} µs; probes at {} a second", probes.text("rate")?);
    }
    report(measured)
}

fn median(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| *time as f64)
}

fn report(measured: Measured) -> Result<bool> {
    let mut good = true;
    let mut line = |ok: bool, text: String| {
        good &= ok;
        println!("{text}: {}", if ok { "ok" } else { "OVER" });
    };
    let (quiet, busy) = (median(measured.quiet), median(measured.busy));
    let ratio = busy / quiet;
    line(
        ratio <= SLOWER,
        format!("p99 {quiet:.0} µs, with changes {busy:.0} µs: {ratio:.2}, at most {SLOWER}"),
    );
    line(
        measured.slowest <= FORCE_US,
        format!(
            "{} changes in {} snapshots, in force within {:.1} ms (median of the phases' p99 {:.1} ms), at most {} ms",
            measured.changes,
            measured.generations,
            measured.slowest as f64 / 1e3,
            median(measured.force) / 1e3,
            FORCE_US / 1000
        ),
    );
    line(
        measured.failed == 0,
        format!("{} of {} requests failed, none may", measured.failed, measured.requests),
    );
    Ok(good)
}

/// The memory of the program as it is installed, with so many routes in `tutti.yaml`.
fn memory(tutti: &Path, routes: usize) -> Result<bool> {
    let folder = std::env::temp_dir().join(format!("tutti-routes-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("compose.yaml"), "name: bench\nservices:\n  u: { image: u, expose: [80] }\n")?;
    let lines: String = (0..routes).map(|n| format!("  - {{ path: /r{n}/, to: u }}\n")).collect();
    let overlay = format!(
        "gateway: {{ listen: \"127.0.0.1:0\" }}\nservices: {{ u: {{ external: \"127.0.0.1:9\" }} }}\nroutes:\n{lines}"
    );
    fs::write(folder.join("tutti.yaml"), overlay)?;
    let measured = resident(tutti, &folder);
    // The temporary folder is the system's to remove if we cannot.
    let _ = fs::remove_dir_all(&folder);
    let bytes = measured?;
    let ok = bytes <= BYTES;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let verdict = if ok { "ok" } else { "OVER" };
    println!(
        "\ntutti with {routes} routes: {:.1} MiB resident, at most {}: {verdict}",
        mib(bytes),
        mib(BYTES)
    );
    Ok(ok)
}

fn resident(tutti: &Path, folder: &Path) -> Result<u64> {
    let command = |verb: &[&str]| {
        let mut command = Command::new(tutti);
        command.current_dir(folder).args(verb).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let started = command(&["up", "-d"]).stdout(Stdio::null()).status()?;
    let told = shell::output(&mut command(&["ps", "--json"]));
    let measured = told.and_then(|text| {
        anyhow::ensure!(started.success(), "`tutti up -d` failed: {started}");
        let status: serde_json::Value = serde_json::from_str(&text)?;
        let pid = status.get("pid").and_then(serde_json::Value::as_u64).context("ps tells no pid")?;
        super::proxy::resident(u32::try_from(pid)?)
    });
    let down = command(&["down"]).stdout(Stdio::null()).status();
    let bytes = measured?;
    anyhow::ensure!(down?.success(), "`tutti down` failed");
    Ok(bytes)
}
