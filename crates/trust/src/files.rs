//! Files that only their owner reads, and that are whole or absent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::TrustError;

/// Makes a folder (mode 0700) and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), TrustError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| TrustError::file(path, error))
}

/// The content of a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, TrustError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TrustError::file(path, error)),
    }
}

/// Writes a file with a mode so that its path holds the old content or the whole new one, durably.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| TrustError::file(path, error))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a process with our number left behind when it was killed is of no use.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Refuses a secret that others may read.
pub(crate) fn refuse_open(path: &Path) -> Result<(), TrustError> {
    let meta = fs::metadata(path).map_err(|error| TrustError::file(path, error))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let what = format!("others may read it (mode {mode:04o}); `chmod 600` it, or delete it if they may have");
    Err(TrustError::Damaged { path: path.to_owned(), what })
}

/// Holds a folder for this process while the value lives.
pub(crate) fn lock(folder: &Path) -> Result<File, TrustError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let held = opened.and_then(|file| file.lock().map(|()| file));
    held.map_err(|error| TrustError::file(&path, error))
}
