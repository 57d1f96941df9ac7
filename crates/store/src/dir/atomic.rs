//! Files that are whole or absent, also after a crash or on a full disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::DirError;

const TEMPORARY: &str = ".tutti-tmp-";

/// Writes a file (mode 0600) so that its path holds the old content or the whole new one, durably.
///
/// The bytes go to a temporary file in the same folder, which is synced and renamed; then the folder is synced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DirError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
    let result = write_new(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if result.is_err() {
        // Nothing to be done if that fails too; the next start sweeps.
        let _ = std::fs::remove_file(&temporary);
    }
    result.map_err(|error| DirError::io(path, error))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), io::Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether a file name is one of ours that was to be renamed.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Removes what writers that were killed left in the directory and in the folders right below it; the
/// lock must be held.
pub fn sweep(dir: &Path) -> Result<(), DirError> {
    for folder in [dir.to_owned(), dir.join("run"), dir.join("setup")] {
        for entry in std::fs::read_dir(&folder).map_err(|error| DirError::io(&folder, error))? {
            let entry = entry.map_err(|error| DirError::io(&folder, error))?;
            if is_temporary(&entry.file_name().to_string_lossy()) {
                std::fs::remove_file(entry.path()).map_err(|error| DirError::io(&entry.path(), error))?;
            }
        }
    }
    Ok(())
}
