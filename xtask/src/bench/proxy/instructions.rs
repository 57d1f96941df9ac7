//! What a request costs in instructions of the program itself. Times vary with what else a machine does, by a fifth where it is shared; this is the
//! same in every run, and leaves out the kernel, whose part nearly the same reads and writes cause in every proxy.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use super::peers::{Place, Running};
use super::scenario::Scenario;

/// Few and many requests: what does not come from requests is the same in both, and falls out of the difference.
const REQUESTS: [u64; 2] = [2_000, 12_000];

/// Tutti and those that can be counted: compiled programs of one process.
pub fn run(place: &Place<'_>, tutti: &Path) -> Result<ExitCode> {
    type Begin<'a> = &'a dyn Fn() -> Result<Running>;
    let peers: [(&str, Begin<'_>); 3] =
        [("tutti", &|| place.tutti(tutti)), ("nginx", &|| place.nginx()), ("haproxy", &|| place.haproxy())];
    let mut counted = Vec::new();
    for (name, begin) in peers {
        let mut totals = [0; 2];
        for (requests, total) in REQUESTS.into_iter().zip(&mut totals) {
            let running = begin()?;
            ask(&running.url(Scenario::Small), requests)?;
            drop(running);
            *total = collected(&std::fs::read_to_string(place.folder.join(format!("{name}.out")))?)
                .with_context(|| format!("{name} was not counted"))?;
        }
        let [few, many] = totals;
        let each = many.saturating_sub(few) as f64 / (REQUESTS[1] - REQUESTS[0]) as f64;
        println!("{name:8} {each:8.0} instructions/request");
        counted.push(each);
    }
    if let [tutti, nginx, haproxy] = counted[..] {
        println!("tutti: {:.2} x nginx, {:.2} x HAProxy", tutti / nginx, tutti / haproxy);
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(url: &str, requests: u64) -> Result<()> {
    let output = Command::new("h2load")
        .args(["--h1", "-t", "1", "-c", "16", "-n", &requests.to_string(), url])
        .output()
        .context("h2load does not run")?;
    let told = String::from_utf8_lossy(&output.stdout);
    if !told.contains(&format!("{requests} succeeded")) {
        bail!("not all of {requests} requests got an answer:\n{told}");
    }
    Ok(())
}

/// The total that callgrind tells at the end; the greatest, since a process that was forked tells one, too.
fn collected(told: &str) -> Option<u64> {
    told.lines().filter_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok()).max()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_is_read() {
        let told = "==7== Events    : Ir\n==7== Collected : 12\n==9== Collected : 602349460\n";
        assert_eq!(super::collected(told), Some(602_349_460));
        assert_eq!(super::collected("killed"), None);
    }
}
