//! Load from wrk, and what it cost the server under load.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

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

/// What wrk said.
#[derive(Clone, Copy, Debug)]
struct Told {
    requests: f64,
    p99_ms: f64,
}

/// Runs wrk against a server and weighs the server's process.
pub fn run(core: usize, url: &str, connections: u32, length: Duration, pid: u32) -> Result<Measured> {
    let before = cpu(pid)?;
    let text = shell::output(
        Command::new("taskset")
            .args(["-c", &core.to_string(), "wrk", "--latency", "-t", "1"])
            .args(["-c", &connections.to_string(), "-d", &format!("{}s", length.as_secs())])
            .arg(url),
    )?;
    let spent = cpu(pid)? - before;
    let told = parse(&text).with_context(|| format!("wrk said what is not understood:\n{text}"))?;
    Ok(Measured {
        cpu_us: spent.as_secs_f64() * 1e6 / told.requests,
        p99_ms: told.p99_ms,
        rate: told.requests / length.as_secs_f64(),
    })
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

/// Reads wrk's report; a run with failed requests is no measurement.
fn parse(text: &str) -> Result<Told> {
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
    fn a_report_is_read() {
        let told = parse(REPORT).unwrap();
        assert!((told.requests - 40_000.0).abs() < 1e-9 && (told.p99_ms - 0.95).abs() < 1e-9, "{told:?}");
        assert!(parse(&format!("{REPORT}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(parse("").is_err());
        assert!((milliseconds("1.50s").unwrap() - 1_500.0).abs() < 1e-9);
        assert!(milliseconds("fast").is_err());
    }
}
