//! Programs that builds need, and whether they are installed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A program that a build or a service needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, looked up on `PATH`, or an absolute path.
    pub name: String,
    /// What to do when it is not there.
    pub remedy: &'static str,
}

impl Tool {
    /// A tool by name.
    pub(crate) fn new(name: &str, remedy: &'static str) -> Self {
        Self { name: name.to_owned(), remedy }
    }
}

/// What is installed on this machine: looks along a search path and remembers.
#[derive(Debug)]
pub struct Toolbox {
    path: OsString,
    known: Mutex<HashMap<String, Option<PathBuf>>>,
}

impl Toolbox {
    /// The tools along a search path, in the form of `PATH`.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self { path: path.into(), known: Mutex::new(HashMap::new()) }
    }

    /// Where a program is.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.to_owned()).or_insert_with(|| look_up(name, &self.path)).clone()
    }

    pub(crate) fn has(&self, tool: &Tool) -> bool {
        self.find(&tool.name).is_some()
    }
}

fn look_up(name: &str, path: &OsString) -> Option<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return is_executable(&path).then_some(path);
    }
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
