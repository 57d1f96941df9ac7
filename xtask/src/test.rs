//! `cargo xtask test`: every test of the workspace, with one line at the end that counts them.
//!
//! A test that cannot run here prints a line that begins with `skipped:` and its reason; that line is shown and counted.

use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::{interop, oracle, shell};

/// Run every test and count.
#[derive(clap::Args)]
pub struct Args {
    /// Also the long tests, which are ignored otherwise, and the reference programs that can be installed.
    #[arg(long)]
    all: bool,
    /// Only the tests of these packages.
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.all {
        oracle::install();
        oracle::install_pebble();
        interop::install();
    }
    let mut command = shell::cargo();
    command.args(["test", "--no-fail-fast"]);
    if args.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &args.package {
        command.args(["--package", package]);
    }
    command.args(["--", "--show-output"]);
    if args.all {
        command.arg("--include-ignored");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read what cargo test prints")?;
            if tally.line(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait().context("cargo test was lost")?;
    println!("\n{}", tally.summary());
    Ok(if status.success() && tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts from what the test programs print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Tests that found that they cannot run here; the test program counts them as passed.
    skipped: usize,
    /// Inside the output of tests that passed, which nobody wants to read.
    quiet: bool,
}

impl Tally {
    /// Takes in a line; whether to show it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.quiet = false;
            for part in result.split([';', '.']) {
                let Some((count, what)) = part.trim().split_once(' ') else { continue };
                let count = count.parse().unwrap_or(0);
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
            return true;
        }
        if line == "successes:" || line == "failures:" {
            self.quiet = line == "successes:";
            return !self.quiet;
        }
        if self.quiet && line.starts_with("skipped:") {
            self.skipped += 1;
            return true;
        }
        !self.quiet
    }

    fn summary(&self) -> String {
        let passed = self.passed.saturating_sub(self.skipped);
        format!("{passed} passed, {} failed, {} skipped", self.failed, self.skipped + self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_a_skipped_test_is_not_a_passed_one() {
        let output = "running 3 tests\ntest a ... ok\n\nsuccesses:\n\n---- a stdout ----\nskipped: no network\nnoise\n\n\
            successes:\n    a\n\nfailures:\n\n---- b stdout ----\nwhy\n\n\
            test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let mut tally = Tally::default();
        let shown: Vec<&str> = output.lines().filter(|line| tally.line(line)).collect();
        assert_eq!(tally.summary(), "11 passed, 1 failed, 5 skipped");
        assert!(shown.contains(&"skipped: no network") && shown.contains(&"why"));
        assert!(!shown.contains(&"noise") && !shown.contains(&"    a"));
    }
}
