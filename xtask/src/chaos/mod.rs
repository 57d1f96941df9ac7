//! `cargo xtask chaos`: what people see of the example shop while one instance of a service, or all of them, is killed, hangs, is slow or resets
//! connections, with Tutti's policies off, as they are by default, and all of them on.
//!
//! Every service runs twice, each instance behind a [`relay`] that can misbehave; the shop's own code is unchanged. For each
//! cell of the table the shop is started anew, so that nothing is remembered of the one before.

mod load;
mod policies;
mod relay;
mod report;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::load::Fate;
use self::policies::Policies;
use crate::shell;

/// Options of the experiment.
#[derive(clap::Args)]
pub struct Args {
    /// Requests a second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds for which a service misbehaves.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Only these services.
    #[arg(long, default_values = SERVICES.map(|(name, _)| name))]
    service: Vec<String>,
    /// Only these faults.
    #[arg(long, value_enum, default_values_t = Fault::ALL)]
    fault: Vec<Fault>,
    /// Only these parts of a service.
    #[arg(long, value_enum, default_values_t = Scope::ALL)]
    scope: Vec<Scope>,
    /// The profile to compile `tutti` with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Use this `tutti` instead of building it.
    #[arg(long)]
    tutti: Option<PathBuf>,
    /// Write the table into docs/resilience.md.
    #[arg(long)]
    write: bool,
    /// Run a service that misbehaves as files in this folder say.
    #[arg(long, hide = true)]
    relay: Option<PathBuf>,
    /// The service.
    #[arg(last = true, hide = true)]
    command: Vec<OsString>,
}

/// The services of the shop, and how each is run.
const SERVICES: [(&str, &[&str]); 4] = [
    ("web", &["node", "src/main.js"]),
    ("catalog", &["target/release/catalog"]),
    ("cart", &["node", "src/main.js"]),
    ("orders", &["python", "-m", "orders"]),
];

/// Instances of each service.
const REPLICAS: usize = 2;
/// How long the shop is used before something happens: hedging has to know how long a request takes.
const BEFORE: Duration = Duration::from_secs(3);

/// The number of the first request that counts.
const FIRST: usize = 10_000;

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// It is killed, and started again by Tutti.
    Kill,
    /// It takes connections and requests, and does nothing.
    Hang,
    /// Each request takes 800 ms longer.
    Slow,
    /// The connection of every second request is reset.
    Reset,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Hang, Self::Slow, Self::Reset];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::Reset => "reset",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How much of a service it is that misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// One instance.
    One,
    /// Every instance.
    All,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::All];

    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::One => "one of two",
            Self::All => "both",
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::All => "all",
        })
    }
}

/// What misbehaves in a cell, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The service.
    pub service: String,
    /// How much of it.
    pub scope: Scope,
    /// What it does.
    pub fault: Fault,
}

/// What people saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// How many requests there were.
    pub requests: usize,
    /// How many got what they asked for.
    pub good: usize,
    /// How many got a fallback.
    pub fallback: usize,
    /// The time of the 99th of a hundred, failures included.
    pub p99: Duration,
}

impl Seen {
    fn of(shots: &[load::Shot]) -> Self {
        let count = |fate| shots.iter().filter(|(own, _)| *own == fate).count();
        let mut times: Vec<Duration> = shots.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        let p99 = times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        Self { requests: shots.len(), good: count(Fate::Good), fallback: count(Fate::Fallback), p99 }
    }
}

/// One line of the table: what misbehaved, and what people saw with each of the [`Policies`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `None`: nothing did.
    pub trouble: Option<Trouble>,
    /// In the order of [`Policies::ALL`].
    pub seen: Vec<Seen>,
}

/// What there is to tell.
pub struct Results {
    /// Where the numbers come from, in words.
    pub how: String,
    /// The table.
    pub rows: Vec<Row>,
    /// What failed with everything on, and how often, for each scope.
    pub failures: Vec<(Scope, BTreeMap<String, usize>)>,
}

/// Runs the experiment.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(folder) = &args.relay {
        return relay::run(folder, &args.command);
    }
    let shop = Shop::new(args)?;
    let mut troubles = vec![None];
    for (scope, service) in
        args.scope.iter().flat_map(|scope| args.service.iter().map(move |own| (*scope, own)))
    {
        let trouble = |fault: &Fault| Trouble { service: service.clone(), scope, fault: *fault };
        troubles.extend(args.fault.iter().map(trouble).map(Some));
    }
    println!("{} cells of the table, each about 20 s", troubles.len() * Policies::ALL.len());
    let (begun, mut rows, mut failures) = (Instant::now(), Vec::new(), Vec::new());
    for trouble in troubles {
        let mut seen = Vec::new();
        for policies in Policies::ALL {
            let (one, failed) = shop.cell(args, policies, trouble.as_ref())?;
            seen.push(one);
            if let Some(trouble) = trouble.as_ref().filter(|_| policies == Policies::On) {
                add(&mut failures, trouble.scope, failed);
            }
        }
        rows.push(Row { trouble, seen });
    }
    let of =
        if args.tutti.is_some() { "a given binary".to_owned() } else { format!("profile {}", args.profile) };
    let how = format!(
        "One run of {} min, {of}, {} requests a second for {} s in each cell",
        begun.elapsed().as_secs().div_ceil(60),
        args.rate,
        args.seconds
    );
    let table = report::table(&Results { how, rows, failures });
    println!("\n{table}");
    if args.write {
        report::write(&table)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn add(all: &mut Vec<(Scope, BTreeMap<String, usize>)>, scope: Scope, failed: BTreeMap<String, usize>) {
    if all.last().is_none_or(|(last, _)| *last != scope) {
        all.push((scope, BTreeMap::new()));
    }
    if let Some((_, counts)) = all.last_mut() {
        failed.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
}

/// A copy of the shop whose services can be made to misbehave.
struct Shop {
    folder: PathBuf,
    tutti: PathBuf,
    address: SocketAddr,
}

/// Takes the shop down, however the cell ends.
struct Running<'a>(&'a Shop);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // If it does not go down, the next `up` there says so.
        let _ = self.0.command(&["down"]).stderr(Stdio::null()).status();
    }
}

impl Shop {
    fn new(args: &Args) -> Result<Self> {
        let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
        let target = metadata.target_directory.into_std_path_buf();
        let tutti = match &args.tutti {
            Some(tutti) => tutti.clone(),
            None => {
                let profile = args.profile.as_str();
                println!("building tutti (profile {profile})");
                let build = ["build", "--profile", profile, "--package", "tutti", "--bin", "tutti"];
                if !shell::succeeds(shell::cargo().args(build))? {
                    bail!("it does not build");
                }
                target.join(if profile == "dev" { "debug" } else { profile }).join("tutti")
            }
        };
        // A copy, so that the databases of the one that people play with stay as they are.
        let folder = target.join("chaos");
        fs::create_dir_all(&folder)?;
        let source = shell::root().join("examples").join("shop");
        if !shell::succeeds(Command::new("cp").arg("-r").arg(source).arg(&folder))? {
            bail!("the shop cannot be copied");
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self { folder: folder.join("shop"), tutti, address })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.tutti);
        command.current_dir(&self.folder).args(["-f", "compose.yaml", "-f", "chaos.yaml"]).args(words);
        // The shop's catalog is compiled where it lies.
        command.env_remove("CARGO_TARGET_DIR").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn start(&self, policies: Policies) -> Result<Running<'_>> {
        let relay = std::env::current_exe()?;
        fs::write(self.folder.join("chaos.yaml"), "services: { web: { ports: !reset [] } }\n")?;
        let moods = self.folder.join("moods");
        // There is none before the first run.
        let _ = fs::remove_dir_all(&moods);
        let run = |name: &str, words: &[&str]| -> Result<String> {
            let folder = moods.join(name);
            let relay =
                [relay.as_os_str(), "chaos".as_ref(), "--relay".as_ref(), folder.as_os_str(), "--".as_ref()];
            let mut all: Vec<String> = relay.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            all.extend(words.iter().map(|word| (*word).to_owned()));
            Ok(serde_json::to_string(&all)?)
        };
        let mut overlay = format!("gateway: {{ listen: \"{}\" }}\nservices:\n", self.address);
        for (name, words) in SERVICES {
            let upstream = policies.upstream();
            let run = run(name, words)?;
            overlay.push_str(&format!("  {name}: {{ run: {run}, replicas: {REPLICAS}, health: {{ http: /readyz, port: 8080 }}{upstream} }}\n"));
        }
        overlay.push_str(policies.routes());
        fs::write(self.folder.join("tutti.yaml"), overlay)?;
        let running = Running(self);
        let mut up = self.command(&["up", "-d"]);
        let output = up.stderr(Stdio::piped()).output().context("cannot start tutti")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(running)
    }

    /// One cell: the shop is started, used, and used on while something misbehaves.
    fn cell(
        &self,
        args: &Args,
        policies: Policies,
        trouble: Option<&Trouble>,
    ) -> Result<(Seen, BTreeMap<String, usize>)> {
        let _running = self.start(policies)?;
        self.warm()?;
        load::run(self.address, args.rate, BEFORE, 0);
        if let Some(Trouble { service, scope, fault }) = trouble {
            let moods = fs::read_dir(self.folder.join("moods").join(service))?;
            let mut moods: Vec<PathBuf> = moods.flatten().map(|entry| entry.path()).collect();
            moods.sort_unstable();
            anyhow::ensure!(moods.len() == REPLICAS, "of {service} run {}", moods.len());
            let some = if *scope == Scope::All { REPLICAS } else { 1 };
            moods.iter().take(some).try_for_each(|mood| fs::write(mood, fault.name()))?;
        }
        let shots = load::run(self.address, args.rate, Duration::from_secs(args.seconds.into()), FIRST);
        let (seen, failed) = (Seen::of(&shots), load::failures(&shots, FIRST));
        println!("{trouble:?}, {policies}: {seen:?} {failed:?}");
        Ok((seen, failed))
    }

    /// Waits until everything has been answered well twice in a row.
    fn warm(&self) -> Result<()> {
        let begun = Instant::now();
        let mut row = 0;
        for number in 0.. {
            let (fate, _) = load::one(self.address, number);
            row = if fate == Fate::Good { row + 1 } else { 0 };
            if row == 12 {
                break;
            }
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "the shop is not well: {fate:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_has_a_tail() {
        let shots: Vec<load::Shot> = (1..=100)
            .map(|n| (if n > 90 { Fate::Broken } else { Fate::Good }, Duration::from_millis(n)))
            .collect();
        let p99 = Duration::from_millis(99);
        assert_eq!(Seen::of(&shots), Seen { requests: 100, good: 90, fallback: 0, p99 });
    }
}
