//! The whole program against programs of others: `cargo xtask interop` installs them and runs these tests. Where one is not
//! there, its test says so and is counted as skipped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::app::{App, finish, free_port};

/// A program that is there, of these.
fn program(paths: &[&str], install: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    // An absolute path stays as it is.
    let found = paths.iter().map(|path| root.join("target/interop").join(path)).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {} is not there ({install})", paths[0]);
    }
    found
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop").join(name)
}

/// A gateway with HTTP/3 before a service in Python.
struct Gateway {
    app: App,
    ports: [u16; 2],
}

impl Gateway {
    fn configure(&self, http3: &str, more: &str) {
        let [plain, secure] = self.ports;
        let service = serde_json::to_string(&beside("http3_service.py")).unwrap();
        self.app.write(
            "tutti.yaml",
            &format!(
                "gateway:\n  listen: '127.0.0.1:{plain}'\n  https: '127.0.0.1:{secure}'\n  http3: {http3}\n  \
                 tls: {{ files: [{{ cert: shop.pem, key: shop.key }}] }}\n\
                 services: {{ web: {{ run: [python3, {service}] }} }}\n\
                 routes:\n  - {{ host: shop.test, path: /old, to: web, name: old }}\n{more}"
            ),
        );
    }

    /// Does what the client asks for.
    fn change(&self, what: &str) -> Option<std::process::Child> {
        let routes = |http3: &str| self.configure(http3, &served(&["", "new"]));
        match what {
            "routes" => routes("true"),
            "retry" => routes("{ retry: true }"),
            "off" => routes("false"),
            "on" => routes("true"),
            "upgrade" => {
                self.app.tutti(&["upgrade"]).ok();
                return None;
            }
            "end" => return Some(self.app.command(&["down"]).spawn().unwrap()),
            other => panic!("{other} cannot be done"),
        }
        self.app.up();
        None
    }
}

/// Routes of these groups.
fn served(groups: &[&str]) -> String {
    let paths = ["hello", "echo", "bytes", "slow", "count", "counts", "status", "fields", "hop", "deaf"];
    let all = groups.iter().flat_map(|group| match *group {
        "" => paths.to_vec(),
        other => vec![other],
    });
    all.map(|path| format!("  - {{ host: shop.test, path: /{path}, to: web, name: {path} }}\n")).collect()
}

/// aioquic means well, and ill: see `interop/http3_plain.py` and `interop/http3_hostile.py`.
#[test]
#[ignore = "needs a program of others"]
fn http3() {
    let Some(python) = program(&["aioquic/bin/python"], "cargo xtask interop http3") else { return };
    let app = App::new("services: { web: { image: x, expose: [80] } }", "");
    let gateway = Gateway { app, ports: [free_port(), free_port()] };
    let folder = gateway.app.folder().to_owned();
    let script = |mode: &str| {
        let mut command = Command::new(&python);
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(beside("http3.py")).arg(mode).arg(&folder);
        command
    };
    assert!(script("certificates").status().unwrap().success());
    gateway.configure("true", &served(&[""]));
    gateway.app.up();

    let (port, pid) = (gateway.ports[1].to_string(), gateway.app.daemon().to_string());
    let mut trial = script("try");
    trial.args([port, pid]).args(std::env::var("TUTTI_HTTP3_CASES").ok());
    let mut trial = trial.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = trial.stdin.take().unwrap();
    let (mut cases, mut failed, mut end) = (0, 0, None);
    for line in BufReader::new(trial.stdout.take().unwrap()).lines() {
        let said: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(what) = said["do"].as_str() {
            end = gateway.change(what);
            writeln!(answers, "done").unwrap();
            continue;
        }
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let passed = said["ok"] == true;
        (cases, failed) = (cases + 1, failed + usize::from(!passed));
        let mark = if passed { "passed" } else { "FAILED" };
        println!("| {} | {} | {mark} | {} |", text("group"), text("case"), text("seen"));
    }
    assert!(trial.wait().unwrap().success());
    if let Some(end) = end {
        finish(end).ok();
    }
    println!("http3: {cases} cases of aioquic, {failed} failed");
    assert!(failed == 0 && cases > 0);
}

/// What testssl.sh says of a listener as it is by default that is no weakness of it, and why.
const EXCUSED: &[(&str, &str)] = &[
    (
        "cert_expirationStatus",
        "certificates of the development authority live seven days and are renewed by themselves",
    ),
    ("cert_notAfter", "the same"),
    (
        "cert_revocation",
        "an authority on this machine alone publishes no list; what lives seven days needs none",
    ),
    ("DNS_CAArecord", "localhost has no records"),
    ("HSTS", "a promise for months that a team has to make itself: `security_headers` on its routes"),
    ("security_headers", "what a page may do is for the service to say, or for `security_headers`"),
];

/// testssl.sh (Debian) finds no weakness in the default settings.
#[test]
#[ignore = "needs a program of others, and takes minutes"]
fn testssl() {
    let Some(testssl) =
        program(&["/usr/bin/testssl", "/usr/local/bin/testssl.sh"], "Debian: apt install testssl.sh")
    else {
        return;
    };
    let (plain, secure) = (free_port(), free_port());
    let overlay = format!(
        "gateway: {{ listen: '127.0.0.1:{plain}', https: '127.0.0.1:{secure}' }}\n\
         services: {{ web: {{ run: [FIXTURE] }} }}\nroutes:\n  - {{ path: /, to: web }}\n"
    );
    let home = tempfile::tempdir().unwrap();
    let app = App::new("services: { web: { image: x, expose: [80] } }", &overlay)
        .env("XDG_DATA_HOME", &home.path().display().to_string());
    app.up();
    let found = home.path().join("found.json");
    let mut command = Command::new(testssl);
    command.args(["--warnings", "off", "--quiet", "--color", "0", "--ip", "127.0.0.1"]);
    command.arg("--add-ca").arg(home.path().join("tutti/authority/root.pem"));
    command.arg("--jsonfile").arg(&found).arg(format!("localhost:{secure}"));
    let output = command.output().unwrap();
    let found = std::fs::read(&found).unwrap();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("testssl.json");
    std::fs::write(&all, &found).unwrap();
    println!("testssl.sh: all that it says is in {}", all.display());
    let found: Value = serde_json::from_slice(&found).unwrap();
    let found = found.as_array().unwrap();
    let is_weak = |finding: &&Value| !["OK", "INFO"].iter().any(|fine| finding["severity"] == *fine);
    let mut weak = Vec::new();
    for finding in found.iter().filter(is_weak) {
        match EXCUSED.iter().find(|(id, _)| finding["id"] == *id) {
            Some((id, reason)) => println!("testssl.sh: {id} is excused: {reason}"),
            None => weak.push(finding),
        }
    }
    println!("testssl.sh: {} findings, {} weaknesses", found.len(), weak.len());
    assert!(found.len() > 100, "{}", String::from_utf8_lossy(&output.stdout));
    assert!(weak.is_empty(), "{weak:#?}");
}
