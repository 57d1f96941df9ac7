//! The fuzz targets of `fuzz/`, each for as long as is asked, with coverage guidance.
//!
//! libFuzzer does the work. The compiler's own instrumentation is all that it needs, so a stable compiler builds the targets, as
//! `cargo fuzz` would do with a nightly one. What a run has learnt is kept in `fuzz/corpus`, and what it has found in
//! `fuzz/artifacts`; neither is in the repository.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Let the parsers read what nobody would send.
#[derive(clap::Args)]
pub struct Args {
    /// Only these targets.
    target: Vec<String>,
    /// How long each of them runs: `90s`, `10m`, `1h`.
    #[arg(long, default_value = "60s", value_parser = seconds)]
    time: u64,
    /// How many run at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// What makes libFuzzer see where the code has been.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// The longest input. Heads and chunks are read within less in what they are tried with.
const LONGEST: usize = 8 << 10;

/// An input that takes longer is a finding. Far more than any does, since the machine may have other work.
const HANGS: u64 = 60;

/// Runs the targets and prints a line for each.
pub fn run(args: &Args) -> Result<ExitCode> {
    let targets = targets()?;
    if let Some(unknown) = args.target.iter().find(|name| !targets.contains(name)) {
        bail!("there is no target {unknown:?}; known: {}", targets.join(", "));
    }
    let programs = build()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.target.is_empty() || args.target.contains(name)).collect();
    let mut broken = Vec::new();
    println!(
        "{:<16} {:>14} {:>12} {:>8} {:>8} {:>8}",
        "target", "executions", "CPU minutes", "edges", "before", "corpus"
    );
    for group in chosen.chunks(args.jobs.max(1)) {
        let start = |name: &&String| start(&programs.join(name.as_str()), name, args.time);
        let running: Vec<Child> = group.iter().map(start).collect::<Result<_>>()?;
        // Each is listened to all the time, or it would wait for that.
        let fine: Vec<_> = std::thread::scope(|scope| {
            let listening: Vec<_> = group
                .iter()
                .zip(running)
                .map(|(name, child)| scope.spawn(move || report(name.as_str(), child)))
                .collect();
            listening.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for (name, fine) in group.iter().zip(fine) {
            if !fine.map_err(|_| anyhow::anyhow!("{name} could not be listened to"))?? {
                broken.push(name.as_str());
            }
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("findings: {} (see fuzz/artifacts)", broken.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The targets, by their files.
fn targets() -> Result<Vec<String>> {
    let folder = shell::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all of them; where they are.
fn build() -> Result<PathBuf> {
    let fuzz = shell::root().join("fuzz");
    // The same dependencies as everywhere; cargo adds what only the targets need.
    std::fs::copy(shell::root().join("Cargo.lock"), fuzz.join("Cargo.lock"))?;
    let host = shell::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let output =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
    let output = output.join("fuzz");
    let mut cargo = shell::cargo();
    // With a target, what runs while building is not instrumented.
    cargo.current_dir(&fuzz).env("RUSTFLAGS", INSTRUMENTED).env("CARGO_TARGET_DIR", &output);
    if !shell::succeeds(cargo.args(["build", "--quiet", "--release", "--target", host]))? {
        bail!("the targets cannot be built");
    }
    Ok(output.join(host).join("release"))
}

fn start(program: &Path, name: &str, time: u64) -> Result<Child> {
    let fuzz = shell::root().join("fuzz");
    let (corpus, found) = (fuzz.join("corpus").join(name), fuzz.join("artifacts").join(name));
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&found)?;
    let mut command = Command::new(program);
    command.args([
        format!("-max_total_time={time}"),
        format!("-max_len={LONGEST}"),
        format!("-timeout={HANGS}"),
        "-rss_limit_mb=1024".to_owned(),
        "-use_value_profile=1".to_owned(),
        "-print_final_stats=1".to_owned(),
        format!("-artifact_prefix={}/", found.display()),
    ]);
    // Some targets read their input as choices, for which there is nothing to begin with.
    let seeds = Some(fuzz.join("seeds").join(name)).filter(|seeds| seeds.is_dir());
    command.arg(corpus).args(seeds).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("cannot run {}", program.display()))
}

/// Waits for a target and says what became of it; whether it found nothing.
fn report(name: &str, mut child: Child) -> Result<bool> {
    let mut told = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_end(&mut told)?;
    }
    // Before it is waited for, since the system forgets it then.
    let minutes =
        cpu_seconds(child.id()).map_or_else(|| "?".to_owned(), |seconds| format!("{:.1}", seconds / 60.0));
    let fine = child.wait()?.success();
    let text = String::from_utf8_lossy(&told);
    if !fine {
        let from = text.find("panicked at").or_else(|| text.find("ERROR: libFuzzer")).unwrap_or_default();
        println!("{name}, after {minutes} CPU minutes:\n{}", text.get(from..).unwrap_or(&text).trim_end());
        return Ok(false);
    }
    let word = |line: &str, after: &str| {
        let found = line.split_once(after)?.1;
        found.split_whitespace().next().map(str::to_owned)
    };
    let unknown = || "?".to_owned();
    let first = |after| text.lines().find_map(|line| word(line, after)).unwrap_or_else(unknown);
    let last = |after| text.lines().rev().find_map(|line| word(line, after)).unwrap_or_else(unknown);
    println!(
        "{name:<16} {:>14} {minutes:>12} {:>8} {:>8} {:>8}",
        last("number_of_executed_units:"),
        last(" cov: "),
        first(" cov: "),
        last(" corp: "),
    );
    Ok(true)
}

/// The time of the processor that a process has taken; nothing where the system has no `/proc`.
fn cpu_seconds(id: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The fields after the name, which may have blanks: user and system time are the 14th and 15th of all, in hundredths of a second.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut hundredths = || fields.next()?.parse::<f64>().ok();
    Some((hundredths()? + hundredths()?) / 100.0)
}

/// A length of time in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        _ => return Err("a number and s, m or h, as in 60s".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number and s, m or h, as in 60s".to_owned())?;
    number.checked_mul(factor).filter(|time| *time > 0).ok_or_else(|| "a time above zero".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read() {
        let read = |text| super::seconds(text).ok();
        assert_eq!(
            [read("90s"), read("90"), read("10m"), read("1h")],
            [Some(90), Some(90), Some(600), Some(3600)]
        );
        assert_eq!([read("0s"), read("1d"), read("h"), read(""), read("1.5h")], [None; 5]);
    }
}
