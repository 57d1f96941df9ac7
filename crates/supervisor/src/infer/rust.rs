//! Rust: `Cargo.toml`, also as a member of a workspace further up.

use std::path::PathBuf;

use tutti_model::app::Command;

use super::{Folder, Kind, Program, Tool};

const REMEDY: &str = "install Rust (https://rustup.rs)";

pub(super) fn detect(folder: &Folder) -> Option<Kind> {
    let manifest = folder.read("Cargo.toml")?;
    let name = binary_name(&manifest)?;
    let mut argv = vec!["cargo", "build", "--release"];
    if workspace_has_lock(folder) {
        argv.push("--locked");
    }
    Some(Kind {
        because: "Cargo.toml",
        tools: vec![Tool::new("cargo", REMEDY)],
        steps: vec![folder.step(&argv, folder.everything(), Vec::new())],
        habit: Some(Program::Built {
            before: Vec::new(),
            candidates: target_folders(folder)
                .into_iter()
                .map(|dir| dir.join("release").join(&name))
                .collect(),
            except: Vec::new(),
            after: Vec::new(),
        }),
        commands: vec!["cargo"],
        env: Vec::new(),
        path: Vec::new(),
    })
}

/// Whether a command is `cargo run` of the package's own binary, which the build step has made already.
pub(super) fn runs_default(command: &Command) -> bool {
    let words: Vec<&str> = match command {
        Command::Args(args) => args.iter().map(String::as_str).collect(),
        Command::Shell(line) => line.split_whitespace().collect(),
    };
    let (["cargo", "run", options @ ..] | ["exec", "cargo", "run", options @ ..]) = words.as_slice() else {
        return false;
    };
    const HARMLESS: &[&str] = &["--release", "-r", "--offline", "--locked", "--frozen", "--quiet", "-q"];
    options.iter().all(|option| HARMLESS.contains(option))
}

/// The binary that `cargo run` would start: `default-run`, the only `[[bin]]`, else the package's name
/// (Cargo book, "Cargo Targets"). A light reading of the manifest: values of these keys are plain strings.
fn binary_name(manifest: &str) -> Option<String> {
    let (mut section, mut package, mut default_run, mut bins) = (String::new(), None, None, Vec::new());
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim().split('"').nth(1).map(str::to_owned);
        match (section.as_str(), key.trim()) {
            ("package", "name") => package = value,
            ("package", "default-run") => default_run = value,
            ("bin", "name") => bins.extend(value),
            _ => {}
        }
    }
    default_run.or_else(|| bins.first().cloned()).or(package)
}

/// `target` folders that cargo may use: `CARGO_TARGET_DIR`, the package's own, and those of folders above, of which one
/// may be the workspace's root.
fn target_folders(folder: &Folder) -> Vec<PathBuf> {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.into_iter().chain(folder.path.ancestors().map(|dir| dir.join("target"))).collect()
}

fn workspace_has_lock(folder: &Folder) -> bool {
    folder.has("Cargo.lock")
}
