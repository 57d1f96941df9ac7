//! Which compose files are meant: those that are named, those of `COMPOSE_FILE`, or those of the nearest folder.

use std::path::{Path, PathBuf};

use tutti_core::code;

use super::environment::Environment;
use super::paths;
use crate::diagnostic::{Problem, Report};

/// The names of compose files, in Compose's order of preference.
pub(crate) const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The names of override files, in Compose's order of preference.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The files, the first and its overrides.
    pub files: Vec<PathBuf>,
    /// The project's folder.
    pub folder: PathBuf,
}

/// Finds the files. `files` are those named on the command line, relative to `start`.
pub(crate) fn discover(
    start: &Path,
    folder: Option<&Path>,
    files: &[PathBuf],
    env: &Environment,
    report: &mut Report,
) -> Option<Found> {
    let named: Vec<PathBuf> = if files.is_empty() {
        let separator = env.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty());
        let list = env.get("COMPOSE_FILE").filter(|text| !text.is_empty()).unwrap_or("");
        list.split(separator.unwrap_or(":")).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
    } else {
        files.to_vec()
    };
    if let Some(first) = named.first() {
        let paths: Vec<PathBuf> = named.iter().map(|path| paths::clean(&start.join(path))).collect();
        let base = paths::clean(&start.join(first));
        let folder = folder.map(Path::to_owned).or_else(|| base.parent().map(Path::to_owned));
        return Some(Found { files: paths, folder: folder.unwrap_or_else(|| start.to_owned()) });
    }
    search(folder.unwrap_or(start), folder.is_some(), report)
}

/// Looks in the folder, then in the folders above it.
fn search(start: &Path, fixed: bool, report: &mut Report) -> Option<Found> {
    for folder in start.ancestors() {
        let candidates: Vec<PathBuf> = NAMES
            .iter()
            .map(|name| folder.join(name))
            .filter(|path| report.sources.disk.exists(path))
            .collect();
        let Some(winner) = candidates.first() else { continue };
        if candidates.len() > 1 {
            let names: Vec<_> = candidates
                .iter()
                .filter_map(|path| path.file_name())
                .map(|name| name.to_string_lossy())
                .collect();
            let message =
                format!("there are several compose files, {}; {} is used", names.join(", "), names.first()?);
            report.add(Problem::warning(code::CONFLICT, message));
        }
        let overrides =
            OVERRIDES.iter().map(|name| folder.join(name)).find(|path| report.sources.disk.exists(path));
        let files = std::iter::once(winner.clone()).chain(overrides).collect();
        let folder = if fixed { start } else { folder };
        return Some(Found { files, folder: folder.to_owned() });
    }
    let message = format!("there is no compose file in {} or above it", start.display());
    let hint = format!("it is called {}; another name is given with `-f`", NAMES.join(", "));
    report.add(Problem::error(code::NO_COMPOSE_FILE, message).hint(hint));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn find(start: &Path, files: &[&str], vars: &[(&str, &str)]) -> Option<Found> {
        let env = Environment::new(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        discover(start, None, &files, &env, &mut Report::new(Sources::default()))
    }

    #[test]
    fn the_nearest_folder_above_wins() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(dir.path().join("compose.yml"), "").unwrap();
        std::fs::write(dir.path().join("docker-compose.yml"), "").unwrap();
        std::fs::write(dir.path().join("compose.override.yaml"), "").unwrap();
        let found = find(&deep, &[], &[]).unwrap();
        assert_eq!(found.folder, dir.path());
        assert_eq!(found.files, [dir.path().join("compose.yml"), dir.path().join("compose.override.yaml")]);
    }

    #[test]
    fn named_files_come_before_the_environment() {
        let start = Path::new("/p/q");
        let found = find(start, &["../x.yml", "y.yml"], &[("COMPOSE_FILE", "z.yml")]).unwrap();
        assert_eq!(found.files, [PathBuf::from("/p/x.yml"), PathBuf::from("/p/q/y.yml")]);
        assert_eq!(found.folder, PathBuf::from("/p"));
        let found =
            find(start, &[], &[("COMPOSE_FILE", "a.yml;b.yml"), ("COMPOSE_PATH_SEPARATOR", ";")]).unwrap();
        assert_eq!(found.files, [PathBuf::from("/p/q/a.yml"), PathBuf::from("/p/q/b.yml")]);
    }
}
