//! `cargo xtask demo`: the two minutes that a newcomer gives us.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Build Tutti, start the example shop behind its gateway, and print the address.
#[derive(clap::Args)]
pub struct Args {
    /// Further words for `tutti up`, say `-d` or the name of a service.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    up: Vec<OsString>,
}

/// What the shop's services need, and where it comes from.
const NEEDED: [(&str, &str); 3] = [
    ("node", "Node.js 20 or newer, with npm: https://nodejs.org"),
    ("npm", "npm, which comes with Node.js: https://nodejs.org"),
    ("python3", "Python 3.10 or newer, with venv: https://www.python.org"),
];

/// Builds and starts; `tutti up` itself prints the address once the shop can be used, and stays in the foreground.
pub fn run(args: &Args) -> Result<ExitCode> {
    let shop = shell::root().join("examples").join("shop");
    if !shop.join("compose.yaml").is_file() {
        bail!("examples/shop/compose.yaml is not there: is this a whole checkout?");
    }
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !exists(program)).map(|(_, where_from)| *where_from).collect();
    if !missing.is_empty() {
        bail!("the example shop needs, and this machine does not have:\n  {}", missing.join("\n  "));
    }
    println!("building tutti (release)");
    if !shell::succeeds(shell::cargo().args(["build", "--release", "--package", "tutti"]))? {
        bail!("tutti could not be built; the compiler's words are above");
    }
    let mut up = Command::new(binary()?);
    println!("starting the shop: tutti up, in examples/shop; Ctrl-C stops it");
    // In place of this process, so that Ctrl-C and the exit code are those of `tutti up`.
    let error = up.arg("up").args(&args.up).current_dir(shop).exec();
    Err(error).with_context(|| format!("cannot run {}", up.get_program().to_string_lossy()))
}

/// Where cargo puts the release binary, also with a target directory of the user's own.
fn binary() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    Ok(metadata.target_directory.join("release").join("tutti").into())
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
