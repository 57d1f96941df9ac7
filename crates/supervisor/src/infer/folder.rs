//! The folder of a service's source, and what is read there.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use tutti_model::app::{Build, Command, Service};

use super::{Cannot, Inputs, Step, foreign};

/// Files of a user larger than this are not read for hints.
const HINT_BYTES: u64 = 1 << 20;

pub(super) fn read_bounded(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > HINT_BYTES {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The files that a language is known by.
const MARKS: &[&str] = &[
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "setup.py",
    "Pipfile",
    "Cargo.toml",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
];

/// The folder of a build: its context, unless its Dockerfile lies in a folder below with a language's mark, as in repositories
/// of many services that build all of them from the top.
fn build_folder(build: &Build) -> PathBuf {
    let own = build.dockerfile.as_deref().and_then(Path::parent);
    let own = own.filter(|folder| *folder != build.context && folder.starts_with(&build.context));
    let source = |folder: &Path| MARKS.iter().any(|mark| folder.join(mark).is_file()) || foreign::is(folder);
    let marked = own.filter(|folder| source(folder));
    marked.unwrap_or(&build.context).to_owned()
}

/// The folder of a service's source.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    /// `dir:` of the overlay, else the folder of the build, else (with `run:`) none.
    pub(super) fn of(service: &Service, project: &Path) -> Result<Option<Self>, Cannot> {
        let given = service.dir.clone().or_else(|| service.build.as_ref().map(build_folder));
        let Some(path) = given.map(|path| project.join(path)) else {
            return Ok(None);
        };
        if !path.is_dir() {
            return Err(Cannot::NoFolder { service: service.name.to_string(), folder: path });
        }
        Ok(Some(Self { path }))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        read_bounded(&self.path.join(name))
    }

    /// A step in this folder.
    pub(super) fn step(&self, argv: &[&str], inputs: Inputs, outputs: Vec<PathBuf>) -> Step {
        let command = Command::Args(argv.iter().map(|word| (*word).to_owned()).collect());
        Step {
            name: argv.join(" "),
            command,
            cwd: self.path.clone(),
            env: IndexMap::new(),
            inputs,
            outputs,
            group: None,
        }
    }

    pub(super) fn everything(&self) -> Inputs {
        Inputs::Folder(self.path.clone())
    }

    pub(super) fn files(&self, names: &[&str]) -> Inputs {
        Inputs::Files(names.iter().map(|name| self.path.join(name)).collect())
    }
}
