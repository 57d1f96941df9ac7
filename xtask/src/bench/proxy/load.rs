//! Load from wrk, h2load and a program of handshakes, and what it cost the server under load.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::scenario::Scenario;
use crate::shell;

/// What one run of load measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// CPU time of the server, user and system, in microseconds for each request.
    pub cpu_us: f64,
    /// The 99th percentile of the latency in milliseconds.
    pub p99_ms: f64,
    /// Requests for each second.
    pub rate: f64,
}

/// What a program that makes load said.
#[derive(Clone, Copy, Debug)]
struct Told {
    requests: f64,
    p99_ms: f64,
}

/// How load is made.
pub struct Load<'a> {
    /// The core that makes it.
    pub core: usize,
    /// Connections that are kept busy.
    pub connections: u32,
    /// For how long.
    pub length: Duration,
    /// A token for who asks for one.
    pub token: &'a str,
    /// The program that makes handshakes.
    pub handshakes: &'a Path,
    /// A gRPC message of a hundred bytes.
    pub message: &'a Path,
}

impl Load<'_> {
    /// Puts a server to a scenario and weighs the server's process.
    pub fn run(&self, scenario: Scenario, url: &str, pid: u32) -> Result<Measured> {
        let before = cpu(pid)?;
        let text = shell::output(&mut self.command(scenario, url))?;
        let spent = cpu(pid)? - before;
        let told = match scenario {
            Scenario::H2 | Scenario::Grpc => parse_h2load(&text),
            _ => parse_wrk(&text),
        };
        let told =
            told.with_context(|| format!("what made the load said what is not understood:\n{text}"))?;
        Ok(Measured {
            cpu_us: spent.as_secs_f64() * 1e6 / told.requests,
            p99_ms: told.p99_ms,
            rate: told.requests / self.length.as_secs_f64(),
        })
    }

    fn command(&self, scenario: Scenario, url: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core.to_string()]);
        let seconds = self.length.as_secs().to_string();
        let connections = self.connections.to_string();
        match scenario {
            Scenario::H2 => {
                command.args(["h2load", "-t", "1", "-c", "8", "-m", "100", "-D", &seconds]);
            }
            Scenario::Grpc => {
                command.args(["h2load", "-t", "1", "-c", "8", "-m", "100", "-D", &seconds, "-d"]);
                command.arg(self.message).args([
                    "-H",
                    "content-type: application/grpc",
                    "-H",
                    "te: trailers",
                ]);
            }
            Scenario::Handshake | Scenario::Resumed => {
                command.arg(self.handshakes).args([scenario.name(), &connections, &seconds]);
            }
            _ => {
                command.args([
                    "wrk",
                    "--latency",
                    "-t",
                    "1",
                    "-c",
                    &connections,
                    "-d",
                    &format!("{seconds}s"),
                ]);
                if scenario == Scenario::Fresh {
                    command.args(["-H", "Connection: close"]);
                }
                if scenario == Scenario::Jwt {
                    command.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
                }
            }
        }
        command.arg(url);
        command
    }

    /// The latency at a rate that the server keeps up with: p50, p99 and p99.9 in milliseconds.
    pub fn paced(&self, url: &str, rate: f64, log: &Path) -> Result<[f64; 3]> {
        // It appends.
        let _ = fs::remove_file(log);
        let each = (rate / f64::from(self.connections)).max(1.0);
        let text = shell::output(
            Command::new("taskset")
                .args(["-c", &self.core.to_string(), "h2load", "--h1", "-t", "1"])
                .args(["-c", &self.connections.to_string(), "-D", &self.length.as_secs().to_string()])
                .arg(format!("--rps={each:.0}"))
                .arg(format!("--log-file={}", log.display()))
                .arg(url),
        )?;
        parse_h2load(&text)?;
        let lines = fs::read_to_string(log)?;
        let mut times: Vec<u64> =
            lines.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
        times.sort_unstable();
        let at = |part: f64| {
            let at = (times.len() as f64 * part) as usize;
            times.get(at).map(|us| *us as f64 / 1e3).context("no request was logged")
        };
        Ok([at(0.5)?, at(0.99)?, at(0.999)?])
    }
}

/// The CPU time that a process has used so far, all its threads together (proc(5), fields 14 and 15 of `stat`).
fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
    // The name in the second field may hold anything, so counting begins behind its bracket.
    let rest = text.rsplit_once(')').context("stat has no name")?.1;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else { bail!("stat is too short") };
    let each: u64 = shell::output(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
    Ok(Duration::from_micros((user + system) * 1_000_000 / each))
}

/// Reads h2load's report; a run with failed requests is no measurement. It tells no percentiles.
fn parse_h2load(text: &str) -> Result<Told> {
    let line = text.lines().find(|line| line.starts_with("requests:")).context("no line of requests")?;
    let number = |what: &str| -> Result<f64> {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what).context("a number is missing")?;
        Ok(words.get(at.saturating_sub(1)).context("a number is missing")?.parse()?)
    };
    let (good, failed, errored) = (number("succeeded")?, number("failed")?, number("errored")?);
    if good < 1.0 || failed + errored > 0.0 {
        bail!("requests failed: {line}");
    }
    Ok(Told { requests: good, p99_ms: f64::NAN })
}

/// Reads wrk's report; a run with failed requests is no measurement.
fn parse_wrk(text: &str) -> Result<Told> {
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("requests failed: {}", line.trim());
    }
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let of = |end: &str| text.lines().find(|line| line.contains(end)).map(words).unwrap_or_default();
    let requests: f64 = of(" requests in ").first().context("no number of requests")?.parse()?;
    let p99 = of(" 99%").get(1).cloned().context("no p99")?;
    if requests < 1.0 {
        bail!("no request was answered");
    }
    Ok(Told { requests, p99_ms: milliseconds(&p99)? })
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0)] {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            return Ok(number * factor);
        }
    }
    bail!("{text:?} is no time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 4s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Latency Distribution\n\
        \x20    50%    1.20ms\n     99%  950.00us\n  40000 requests in 4.00s, 49.06MB read\nRequests/sec:  10000.00\n";

    #[test]
    fn h2load_is_read() {
        let line =
            "requests: 500 total, 480 started, 450 done, 450 succeeded, 0 failed, 0 errored, 0 timeout\n";
        assert!((parse_h2load(line).unwrap().requests - 450.0).abs() < 1e-9);
        assert!(parse_h2load(&line.replace("0 failed", "1 failed")).is_err());
        assert!(parse_h2load("").is_err());
    }

    #[test]
    fn a_report_is_read() {
        let told = parse_wrk(REPORT).unwrap();
        assert!((told.requests - 40_000.0).abs() < 1e-9 && (told.p99_ms - 0.95).abs() < 1e-9, "{told:?}");
        assert!(parse_wrk(&format!("{REPORT}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(parse_wrk("").is_err());
        assert!((milliseconds("1.50s").unwrap() - 1_500.0).abs() < 1e-9);
        assert!(milliseconds("fast").is_err());
    }
}
