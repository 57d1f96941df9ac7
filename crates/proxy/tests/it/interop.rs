//! Against programs of others: `cargo xtask interop` installs them below `target/interop` and runs these tests. Where one
//! is not there, its test says so and is counted as skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::{Request, Response};
use tutti_net::Body;

use crate::harness::*;

/// A program that `cargo xtask interop` has installed.
fn program(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let program = root.join("target/interop").join(path);
    if program.exists() {
        return Some(program);
    }
    println!("skipped: {} is not there; `cargo xtask interop` installs it", program.display());
    None
}

/// Runs a program to its end, beside the servers of the test.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What h2spec expects otherwise, and why it is as it is.
///
/// - 3.5/2: an invalid preface is to end the connection without a word. What does not begin as HTTP/2 does is HTTP/1.1
///   here, one port speaking both, and gets its 400 before the connection ends.
const H2SPEC_DIFFERENCES: &[&str] = &["Sends invalid connection preface"];

#[tokio::test]
#[ignore = "needs a program of others"]
async fn h2spec() {
    let Some(h2spec) = program("go/bin/h2spec") else { return };
    let upstream = upstream(|request: Request<Body>| async move {
        let answer = request.into_body().collect(1 << 20).await.unwrap().0;
        Response::new(if answer.is_empty() { Body::from("hello") } else { Body::from(answer) })
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    let port = tutti.edge.port().to_string();
    let mut command = Command::new(h2spec);
    command.args(["--host", "127.0.0.1", "--port", &port, "--strict", "--timeout", "5"]);
    let output = run(command).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = text.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_default();
    println!("h2spec, strict: {summary}");
    assert!(summary.starts_with("146 tests, "), "{text}");
    let failed: std::collections::BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.split_once("\u{d7} ").and_then(|(_, case)| case.split_once(": ")))
        .map(|(_, title)| title.trim().to_owned())
        .collect();
    let expected = H2SPEC_DIFFERENCES.iter().map(|title| (*title).to_owned()).collect();
    assert_eq!(failed, expected, "{text}");
}

#[tokio::test]
#[ignore = "starts nginx, HAProxy and Envoy"]
async fn smuggling() {
    crate::strict::differential::smuggling().await;
}
