//! What an application was read from: the same can be read from it again when the files are not there any more.
//!
//! While files are read, every look is written down: the text of a file, or that there was one, or none; and the names of the variables
//! that somebody asked for. [`Origin::load`] gives those looks back and touches nothing of the machine. What was never
//! looked at is not there, so a later version that looks at more finds nothing in what an earlier one has kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::diagnostic::Problems;
use crate::load::{LoadOptions, Loaded, load_from};
use crate::source::{self, ReadError};

/// How an application was read, and everything that was found. It may hold secrets, so it is kept sealed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// How it was read, with the variables that were asked for.
    pub options: LoadOptions,
    /// What was found.
    files: BTreeMap<PathBuf, Found>,
}

/// What was found at a path.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Found {
    /// Nothing.
    Nothing,
    /// A file that was not read.
    File,
    /// Something else, a folder for instance.
    Other,
    /// A file with this text.
    Text(Arc<str>),
}

impl Origin {
    /// The same application once more.
    pub fn load(&self) -> Result<Loaded, Problems> {
        load_from(&self.options, Disk { kept: Some(Arc::new(self.files.clone())), seen: Arc::default() })
    }

    /// The project's files that were read, and how many bytes they have.
    pub fn texts(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.files.iter().filter_map(|(path, found)| match found {
            Found::Text(text) => Some((path.as_path(), text.len())),
            Found::Nothing | Found::File | Found::Other => None,
        })
    }

    /// What was looked at by these options.
    pub(crate) fn new(options: &LoadOptions, asked: &BTreeSet<String>, disk: &Disk) -> Self {
        let env = options.env.iter().filter(|(name, _)| asked.contains(*name));
        let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { options: LoadOptions { env, ..options.clone() }, files: disk.seen().clone() }
    }
}

/// Shows no text and no value of a variable.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("files", &self.files.keys()).finish_non_exhaustive()
    }
}

/// The files of the machine, or those that were found before.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    kept: Option<Arc<BTreeMap<PathBuf, Found>>>,
    seen: Arc<Mutex<BTreeMap<PathBuf, Found>>>,
}

impl Disk {
    /// Whether there is anything.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        !matches!(self.look(path), Found::Nothing)
    }

    /// Whether there is a file.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        matches!(self.look(path), Found::File | Found::Text(_))
    }

    /// A whole file; see [`source::read_text`].
    pub(crate) fn read(&self, path: &Path) -> Result<Arc<str>, (ReadError, Vec<u8>)> {
        let text: Arc<str> = match &self.kept {
            None => Arc::from(source::read_text(path)?),
            Some(kept) => match kept.get(path) {
                Some(Found::Text(text)) => Arc::clone(text),
                _ => return Err((ReadError::Io(std::io::ErrorKind::NotFound.into()), Vec::new())),
            },
        };
        self.seen().insert(path.to_owned(), Found::Text(Arc::clone(&text)));
        Ok(text)
    }

    fn look(&self, path: &Path) -> Found {
        let found = match &self.kept {
            Some(kept) => kept.get(path).cloned().unwrap_or(Found::Nothing),
            None => match std::fs::metadata(path) {
                Ok(meta) if meta.is_file() => Found::File,
                Ok(_) => Found::Other,
                Err(_) => Found::Nothing,
            },
        };
        // A text that was read says more than a look.
        self.seen().entry(path.to_owned()).or_insert_with(|| match &found {
            Found::Text(_) => Found::File,
            other => other.clone(),
        });
        found
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Found>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("kept", &self.kept.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "
services:
  web:
    image: x:${TAG:-1}
    env_file: [web.env, { path: none.env, required: false }]
    environment: [FROM_SHELL]
    ports: ['127.0.0.1:${PORT}:80']
";

    fn project() -> (tempfile::TempDir, LoadOptions) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("compose.yaml", COMPOSE);
        write("compose.override.yaml", "services: { web: { labels: { a: b } } }");
        write("tutti.yaml", "services: { web: { run: [x], env: { LATE: '${LATE}' } } }");
        write("web.env", "KEY=of-the-file\n");
        write(".env", "PORT=8080\n");
        let env = [("TAG", "7"), ("FROM_SHELL", "f"), ("LATE", "l"), ("UNRELATED", "nobody-asks")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = LoadOptions { folder: folder.path().to_owned(), env, ..LoadOptions::default() };
        (folder, options)
    }

    #[test]
    fn what_was_read_is_read_again_without_the_files_and_holds_no_more_than_was_asked_for() {
        let (folder, options) = project();
        let first = crate::load(&options).unwrap();
        let kept = serde_json::to_string(&first.origin).unwrap();
        assert!(kept.contains("of-the-file") && !kept.contains("nobody-asks"), "{kept}");
        let shown = format!("{:?}", first.origin);
        assert!(shown.contains("web.env") && !shown.contains("of-the-file"), "{shown}");
        // Other files, broken ones, and one more that would count if anybody looked.
        for (name, text) in [("compose.yaml", "servic: ["), ("none.env", "KEY=changed"), (".env", "=")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::remove_file(folder.path().join("web.env")).unwrap();
        let origin: Origin = serde_json::from_str(&kept).unwrap();
        assert_eq!(origin, first.origin);
        for _ in 0..2 {
            let again = origin.load().unwrap();
            assert_eq!(again.model, first.model);
            assert_eq!(again.application.services, first.application.services);
            assert_eq!(again.application.routing, first.application.routing);
            assert_eq!(
                (again.application.folder, again.origin),
                (first.application.folder.clone(), origin.clone())
            );
            folder
                .path()
                .join("compose.yaml")
                .exists()
                .then(|| std::fs::remove_dir_all(folder.path()).unwrap());
        }
    }

    #[test]
    fn what_nobody_looked_at_is_not_there() {
        let (_folder, options) = project();
        let mut origin = crate::load(&options).unwrap().origin;
        origin.files.retain(|path, _| !path.ends_with("web.env"));
        let problems = origin.load().unwrap_err().render(false);
        assert!(problems.contains("web.env") && problems.contains("no such file"), "{problems}");
    }
}
