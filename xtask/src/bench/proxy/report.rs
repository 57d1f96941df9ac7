//! The tables, and whether Tutti is over a bar.

use super::load::Measured;
use super::median;
use super::scenario::Scenario;

/// What a request may cost Tutti at most, as a multiple of a peer.
const BARS: [(Scenario, &str, f64); 6] = [
    (Scenario::Small, "nginx", 1.0),
    (Scenario::Small, "envoy", 0.4),
    (Scenario::H2, "envoy", 0.6),
    (Scenario::Handshake, "envoy", 0.6),
    (Scenario::Resumed, "envoy", 0.6),
    (Scenario::Grpc, "envoy", 0.6),
];

/// Most bytes of one idle connection.
const IDLE_BYTES: u64 = 12 << 10;

fn verdict(what: &str, value: f64, bar: f64) -> bool {
    let over = value > bar;
    println!("{what}: {value:.2}, at most {bar}: {}", if over { "OVER" } else { "ok" });
    over
}

/// CPU for each request in microseconds, and Tutti's as a multiple of each peer's.
pub fn cpu(names: &[&str], rows: &[(Scenario, Vec<Vec<Measured>>)]) -> bool {
    print!("\n{:28}", "CPU, µs/request (tutti ÷ it)");
    names.iter().for_each(|name| print!("{name:>17}"));
    println!();
    let mut over = false;
    for (scenario, measured) in rows {
        let medians: Vec<f64> =
            measured.iter().map(|of_peer| median(of_peer.iter().map(|one| one.cpu_us))).collect();
        let ours = medians.first().copied().unwrap_or(f64::NAN);
        print!("{:28}", scenario.name());
        for of_peer in &medians {
            let shown = if of_peer.is_nan() {
                "–".to_owned()
            } else {
                format!("{of_peer:.2} ({:.2})", ours / of_peer)
            };
            print!("{shown:>17}");
        }
        println!();
    }
    println!();
    for (scenario, peer, bar) in BARS {
        let row = rows.iter().find(|(one, _)| *one == scenario);
        let at = names.iter().position(|name| *name == peer);
        let (Some((_, measured)), Some(at)) = (row, at) else { continue };
        let of = |at: usize| {
            let list = measured.get(at).map(Vec::as_slice).unwrap_or_default();
            median(list.iter().map(|one| one.cpu_us))
        };
        let ratio = of(0) / of(at);
        if ratio.is_nan() {
            println!("{}: not measured against {peer}", scenario.name());
        } else {
            over |= verdict(&format!("{}: CPU as a multiple of {peer}", scenario.name()), ratio, bar);
        }
    }
    over
}

/// Latency in milliseconds; Tutti's p99 must not be greater than nginx's.
pub fn latency(names: &[&str], measured: &[Vec<[f64; 3]>]) -> bool {
    println!("{:10}{:>10}{:>10}{:>10}", "ms", "p50", "p99", "p99.9");
    let mut p99 = Vec::new();
    for (name, of_peer) in names.iter().zip(measured) {
        let [a, b, c] = [0, 1, 2].map(|at| median(of_peer.iter().filter_map(|one| one.get(at).copied())));
        println!("{name:10}{a:10.3}{b:10.3}{c:10.3}");
        p99.push(b);
    }
    let nginx = names.iter().position(|name| *name == "nginx").and_then(|at| p99.get(at));
    match (p99.first(), nginx) {
        (Some(ours), Some(nginx)) => verdict("p99 as a multiple of nginx", ours / nginx, 1.0),
        _ => false,
    }
}

/// Resident memory; what an idle connection costs.
pub fn memory(measured: &[(&str, [u64; 3])]) -> bool {
    println!("\n{:10}{:>12}{:>12}{:>12}{:>18}", "MiB at", "0", "1,000", "10,000", "bytes/connection");
    let mut over = false;
    for (name, [none, some, many]) in measured {
        let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
        let each = many.saturating_sub(*none) / 10_000;
        println!("{name:10}{:12.1}{:12.1}{:12.1}{each:18}", mib(none), mib(some), mib(many));
        if *name == "tutti" {
            over |= verdict("bytes of an idle connection", each as f64, IDLE_BYTES as f64);
        }
    }
    over
}
