//! Go: `go.mod`, or a `main.go` alone. The binary goes into the data directory.

use std::path::Path;

use tutti_model::app::Service;

use super::{Dockerfile, Folder, Kind, Program, Tool, Workshop};

const REMEDY: &str = "install Go (https://go.dev/dl)";

pub(super) fn detect(
    folder: &Folder,
    service: &Service,
    workshop: &Workshop,
    dockerfile: &Dockerfile,
) -> Option<Kind> {
    let (because, package) = if folder.has("go.mod") {
        ("go.mod", main_package(folder, service.name.as_str(), dockerfile)?)
    } else {
        // A program of one file that only uses the standard library needs no module.
        let alone = folder.read("main.go")?.lines().any(|line| line.trim() == "package main");
        ("main.go", alone.then(|| "main.go".to_owned())?)
    };
    let binary = workshop.folder.join("bin").join(service.name.as_str());
    let binary_text = binary.display().to_string();
    let mut step = folder.step(
        &["go", "build", "-o", &binary_text, &package],
        folder.everything(),
        vec![binary.clone()],
    );
    step.name = format!("go build {package}");
    Some(Kind {
        because,
        tools: vec![Tool::new("go", REMEDY)],
        steps: vec![step],
        habit: Some(Program::Built {
            before: Vec::new(),
            candidates: vec![binary],
            except: Vec::new(),
            after: Vec::new(),
        }),
        commands: vec!["go"],
        env: Vec::new(),
        path: Vec::new(),
    })
}

/// The package with `func main`: what the Dockerfile builds, the root, `cmd/<service>`, or the only one below `cmd`.
fn main_package(folder: &Folder, service: &str, dockerfile: &Dockerfile) -> Option<String> {
    if let Some(package) = dockerfile.runs.iter().find_map(|line| built_package(line)) {
        return Some(package);
    }
    if is_main(&folder.path) {
        return Some(".".to_owned());
    }
    if is_main(&folder.path.join("cmd").join(service)) {
        return Some(format!("./cmd/{service}"));
    }
    let mut commands =
        std::fs::read_dir(folder.path.join("cmd")).ok()?.flatten().filter(|entry| is_main(&entry.path()));
    let only = commands.next()?;
    commands.next().is_none().then(|| format!("./cmd/{}", only.file_name().to_string_lossy()))
}

/// The package argument of a `go build` in a Dockerfile's `RUN`, if it is a relative path.
fn built_package(line: &str) -> Option<String> {
    let (_, arguments) = line.split_once("go build")?;
    let arguments = arguments.split(['&', ';', '|']).next()?;
    arguments
        .split_whitespace()
        .find(|word| word.starts_with("./"))
        .map(|word| word.trim_end_matches('/').to_owned())
}

fn is_main(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let source = name.ends_with(".go") && !name.ends_with("_test.go");
        source
            && super::read_bounded(&path)
                .is_some_and(|text| text.lines().any(|line| line.trim() == "package main"))
    })
}
