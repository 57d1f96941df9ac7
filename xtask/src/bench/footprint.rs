//! `cargo xtask bench footprint`: what Tutti adds to ten services: time to ready beyond their own start-up, resident memory
//! when idle, and the size of the program.
//!
//! The peer of the start-up time is the same ten processes started by hand, all at once, in the same minutes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Options of the measurement.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; by hand and by Tutti once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Services.
    #[arg(long, default_value_t = 10)]
    services: usize,
    /// How long each service takes until it listens, in milliseconds.
    #[arg(long, default_value_t = 300)]
    delay: u64,
    /// Seconds of rest before memory is looked at.
    #[arg(long, default_value_t = 10)]
    idle: u64,
}

/// Seconds that Tutti may add to the services' own start-up.
const READY_SECONDS: f64 = 1.0;
/// Resident memory of Tutti's processes together, and size of the program.
const BYTES: u64 = 40 << 20;

/// Runs the measurement; fails when a bar is not met.
pub fn run(args: &Args) -> Result<ExitCode> {
    println!("building (profile release)");
    let build = ["build", "--release", "--package", "tutti", "--bin", "tutti", "--example", "fixture"];
    if !shell::succeeds(shell::cargo().args(build))? {
        bail!("it does not build");
    }
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    let release = metadata.target_directory.join("release").into_std_path_buf();
    let folder = std::env::temp_dir().join(format!("tutti-footprint-{}", std::process::id()));
    let project = Project {
        tutti: release.join("tutti"),
        fixture: release.join("examples").join("fixture"),
        folder: folder.join("ten"),
    };
    project.write(args)?;
    let measured = measure(args, &project);
    // The temporary folder is the system's to remove if we cannot.
    let _ = fs::remove_dir_all(&folder);
    report(args, &measured?)
}

/// What was measured.
struct Measured {
    by_hand: Vec<Duration>,
    by_tutti: Vec<Duration>,
    processes: Vec<Memory>,
    program: u64,
}

/// Memory of a process in bytes.
struct Memory {
    name: &'static str,
    resident: u64,
    /// Its share of what it has in common with others (`Pss`).
    proportional: u64,
}

/// A project of so many services, and the programs.
struct Project {
    tutti: PathBuf,
    fixture: PathBuf,
    folder: PathBuf,
}

/// Takes the application down, however the measurement ends.
struct Running<'a>(&'a Project);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // If it does not go down, the next `up` there says so.
        let _ = self.0.command(&["down"]).status();
    }
}

impl Project {
    fn write(&self, args: &Args) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let (mut compose, mut overlay) = (String::from("services:\n"), String::from("services:\n"));
        let fixture = serde_json::to_string(&self.fixture)?;
        for n in 1..=args.services {
            compose.push_str(&format!("  s{n}: {{ image: x, ports: ['127.0.0.1::80'] }}\n"));
            overlay.push_str(&format!(
                "  s{n}: {{ run: [{fixture}], health: /healthz, env: {{ START_DELAY_MS: {} }} }}\n",
                args.delay
            ));
        }
        fs::write(self.folder.join("compose.yaml"), compose)?;
        fs::write(self.folder.join("tutti.yaml"), overlay)?;
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.tutti);
        command.current_dir(&self.folder).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts the services without Tutti; how long until the last one listens.
    fn by_hand(&self, args: &Args) -> Result<Duration> {
        let begun = Instant::now();
        let mut started = Vec::new();
        for _ in 0..args.services {
            let child = Command::new(&self.fixture)
                .envs([("PORT", "0".to_owned()), ("START_DELAY_MS", args.delay.to_string())])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {}", self.fixture.display()))?;
            started.push(Killed(child));
        }
        for child in &mut started {
            let out = child.0.stdout.take().context("there is no output")?;
            let first = BufReader::new(out).lines().next().context("it ended")??;
            anyhow::ensure!(first.contains("listening"), "{first}");
        }
        Ok(begun.elapsed())
    }

    /// Starts the services with Tutti; how long until `up -d` says that all are ready.
    fn by_tutti(&self) -> Result<(Duration, Running<'_>)> {
        let begun = Instant::now();
        let running = Running(self);
        let status = self.command(&["up", "-d"]).status().context("cannot start tutti")?;
        let took = begun.elapsed();
        anyhow::ensure!(status.success(), "`tutti up -d` failed: {status}");
        Ok((took, running))
    }

    /// The memory of Tutti and its keeper.
    fn memory(&self) -> Result<Vec<Memory>> {
        let text = shell::output(self.command(&["ps", "--json"]).stdout(Stdio::piped()))?;
        let status: serde_json::Value = serde_json::from_str(&text)?;
        let pid = status.get("pid").and_then(serde_json::Value::as_u64).context("ps tells no pid")?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let keeper = children.context("cannot see its children")?;
        let keeper: u64 = keeper.split_whitespace().next().context("there is no keeper")?.parse()?;
        Ok(vec![Memory::of("tutti", pid)?, Memory::of("keeper", keeper)?])
    }
}

/// A process that is killed when it is not needed any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Memory {
    /// From `/proc/PID/smaps_rollup` (proc_pid_smaps(5)).
    fn of(name: &'static str, pid: u64) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
        let field = |key| bytes_of(&text, key).with_context(|| format!("{path} has no {key}"));
        Ok(Self { name, resident: field("Rss:")?, proportional: field("Pss:")? })
    }
}

/// The bytes in a line such as `Rss:    1234 kB`.
fn bytes_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

fn measure(args: &Args, project: &Project) -> Result<Measured> {
    let mut measured = Measured {
        by_hand: Vec::new(),
        by_tutti: Vec::new(),
        processes: Vec::new(),
        program: fs::metadata(&project.tutti)?.len(),
    };
    for round in 1..=args.rounds.max(1) {
        let by_hand = project.by_hand(args)?;
        let (by_tutti, running) = project.by_tutti()?;
        println!("round {round}: by hand {by_hand:.0?}, by tutti {by_tutti:.0?}");
        measured.by_hand.push(by_hand);
        measured.by_tutti.push(by_tutti);
        if round == args.rounds.max(1) {
            std::thread::sleep(Duration::from_secs(args.idle));
            measured.processes = project.memory()?;
        }
        drop(running);
    }
    Ok(measured)
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

fn report(args: &Args, measured: &Measured) -> Result<ExitCode> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (own, with) = (median(&measured.by_hand), median(&measured.by_tutti));
    let mut good = true;
    let mut line = |ok: bool, text: String| {
        good &= ok;
        println!("{text} {}", if ok { "ok" } else { "OVER" });
    };
    println!(
        "\n{} services that take {} ms each; medians of {}",
        args.services,
        args.delay,
        measured.by_hand.len()
    );
    line(
        with - own <= READY_SECONDS,
        format!(
            "ready: by hand {own:.3} s, by tutti {with:.3} s, {:.2} ×; {:.3} s more, at most {READY_SECONDS}:",
            with / own,
            with - own
        ),
    );
    for process in &measured.processes {
        let (resident, share) = (mib(process.resident), mib(process.proportional));
        println!("{}: resident {resident:.1} MiB, proportional share {share:.1} MiB", process.name);
    }
    let resident: u64 = measured.processes.iter().map(|process| process.resident).sum();
    line(
        resident <= BYTES,
        format!("idle: resident {:.1} MiB together, at most {}:", mib(resident), mib(BYTES)),
    );
    let program = measured.program;
    line(program <= BYTES, format!("program: {:.1} MiB, at most {}:", mib(program), mib(BYTES)));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "00400000-7fff r--p [rollup]\nRss:                2048 kB\nPss:                 512 kB\n";
        assert_eq!(bytes_of(text, "Rss:"), Some(2 << 20));
        assert_eq!(bytes_of(text, "Pss:"), Some(512 << 10));
        assert_eq!(bytes_of(text, "Swap:"), None);
    }
}
