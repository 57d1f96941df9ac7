//! The Autobahn test suite: 517 cases of WebSocket (RFC 6455, and compression by RFC 7692).
//!
//! What it judges is a server. The same server is asked three times: directly, through Tutti, and through two of them that speak
//! HTTP/2 between them (RFC 8441). Tutti carries bytes, so it may change no verdict.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tutti_ports::catalog::{AppProtocol, Health};

use super::{program, run};
use crate::harness::*;

/// Its number of cases.
const CASES: usize = 517;

/// A server for Python 3, which ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server, and where it listens.
fn server(libraries: &Path) -> (Server, SocketAddr) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop/echo.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(script).env("PYTHONPATH", libraries).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
    (Server(child), addr)
}

/// The suite against a server: for each case what it did, and how it closed.
async fn verdicts(agent: &'static str, addr: SocketAddr, cases: &str) -> BTreeMap<String, (String, String)> {
    let python = program("autobahn/python2").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    let spec = serde_json::json!({
        "outdir": reports, "servers": [{"agent": agent, "url": format!("ws://{addr}/")}],
        "cases": cases.split(',').collect::<Vec<_>>(), "exclude-cases": [], "exclude-agent-cases": {},
    });
    let file = folder.path().join("spec.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    let mut command = Command::new(python);
    let suite = program("autobahn/suite").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop/autobahn.py");
    command.arg(script).arg(suite).args(["--mode", "fuzzingclient", "--spec"]).arg(file);
    let output = run(command).await;
    let index = std::fs::read_to_string(reports.join("index.json"));
    assert!(index.is_ok(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = index.unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let judged = index[agent].as_object().unwrap().iter();
    judged.map(|(case, is)| (case.clone(), (text(&is["behavior"]), text(&is["behaviorClose"])))).collect()
}

/// How often each verdict was given.
fn counted(verdicts: &BTreeMap<String, (String, String)>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (behaviour, _) in verdicts.values() {
        *counts.entry(behaviour).or_default() += 1;
    }
    counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Autobahn test suite, which needs Python 2.7"]
async fn autobahn() {
    let (Some(_), Some(libraries)) = (program("autobahn/python2"), program("autobahn/server")) else {
        return;
    };
    let (_server, addr) = server(&libraries);
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let instances = vec![speaking(AppProtocol::H2c, "b", 1, tutti.edge, Health::Passing)];
    let over_http2 = Tutti::start(options(), vec![to("b")], instances).await;
    // Some of them, for whoever looks for what a failure is about: `TUTTI_AUTOBAHN=9.1.*,12.*`.
    let chosen = std::env::var("TUTTI_AUTOBAHN").ok();
    let cases = chosen.as_deref().unwrap_or("*");
    let (direct, through, twice) = tokio::join!(
        verdicts("direct", addr, cases),
        verdicts("tutti", tutti.edge, cases),
        verdicts("tutti-http2", over_http2.edge, cases),
    );
    println!("autobahn, {} cases: the server itself: {}", direct.len(), counted(&direct));
    assert!(chosen.is_some() || direct.len() == CASES, "{} cases", direct.len());
    for (way, verdicts) in [("through Tutti", through), ("over HTTP/2 between two", twice)] {
        println!("autobahn, {} cases {way}: {}", verdicts.len(), counted(&verdicts));
        let differ: Vec<_> = direct
            .iter()
            .filter(|(case, verdict)| verdicts.get(*case) != Some(*verdict))
            .map(|(case, verdict)| format!("{case}: {verdict:?}, {way} {:?}", verdicts.get(case)))
            .collect();
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }
}
