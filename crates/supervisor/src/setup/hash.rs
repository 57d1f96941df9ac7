//! What a build step depends on, as one hash.
//!
//! A folder is read as git sees it (`.gitignore` counts, also outside a repository) and without what builds leave behind. A folder
//! that is too large to hash has no key: its steps always run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::infer::{Inputs, Step, show};

/// Most files of one folder that are hashed.
const FILES: usize = 50_000;
/// Most bytes of one folder that are hashed.
const BYTES: u64 = 1 << 30;

/// Names of folders that hold what tools make or keep, in any language.
const MADE: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".tutti",
    "node_modules",
    "target",
    "dist",
    "build",
    "out",
    ".next",
    ".nuxt",
    ".venv",
    "venv",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".gradle",
    ".idea",
    ".vscode",
    ".cache",
    "coverage",
    "bin",
    "obj",
];

/// Endings of files that running services write beside their source.
const WRITTEN: &[&str] =
    &["log", "pid", "sock", "db", "db-wal", "db-shm", "db-journal", "sqlite", "sqlite3", "pyc", "tmp"];

/// The hash of a step's command and inputs; none when there is too much to hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepKey(Option<String>);

impl StepKey {
    /// The hash in hexadecimal.
    pub fn hash(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// What a step does, without its inputs: two steps with the same identity are the same work.
    pub fn identity(step: &Step) -> String {
        let env: Vec<String> = step.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{}\0{}\0{}", step.cwd.display(), show(&step.command), env.join("\0"))
    }
}

/// The key of a step, off the async threads: it reads files.
pub(super) async fn key_of(step: &Step) -> StepKey {
    let step = step.clone();
    let hashed = tokio::task::spawn_blocking(move || hash(&step)).await;
    StepKey(hashed.ok().and_then(Result::ok).flatten())
}

fn hash(step: &Step) -> io::Result<Option<String>> {
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, StepKey::identity(step).as_bytes());
    let files = match &step.inputs {
        Inputs::Files(files) => files.clone(),
        Inputs::Folder(folder) => match list(folder)? {
            Some(files) => files,
            None => return Ok(None),
        },
    };
    let mut left = BYTES;
    for path in &files {
        add(&mut hasher, path.as_os_str().as_encoded_bytes());
        left = match left.checked_sub(add_file(&mut hasher, path)?) {
            Some(left) => left,
            None => return Ok(None),
        };
    }
    Ok(Some(hasher.finalize().to_hex().to_string()))
}

/// A length before each part keeps `ab` + `c` apart from `a` + `bc`.
fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// The file's content; a file that is not there counts as empty. Answers its size.
fn add_file(hasher: &mut blake3::Hasher, path: &Path) -> io::Result<u64> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            add(hasher, b"");
            return Ok(0);
        }
        opened => opened?,
    };
    let length = file.metadata()?.len();
    hasher.update(&length.to_le_bytes());
    hasher.update_reader(file)?;
    Ok(length)
}

/// The files of a folder in order; `None` if there are too many.
fn list(folder: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let walk = WalkBuilder::new(folder)
        .hidden(false)
        .require_git(false)
        .git_global(false)
        .parents(false)
        .filter_entry(|entry| {
            let made = entry.depth() > 0 && entry.file_type().is_some_and(|kind| kind.is_dir());
            !(made && entry.file_name().to_str().is_some_and(|name| MADE.contains(&name)))
        })
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(io::Error::other)?;
        let written = entry
            .path()
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| WRITTEN.contains(&ending));
        if entry.file_type().is_some_and(|kind| kind.is_file()) && !written {
            files.push(entry.into_path());
        }
        if files.len() > FILES {
            return Ok(None);
        }
    }
    files.sort();
    Ok(Some(files))
}
