//! What is in the directory, and how an older layout becomes the present one.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::atomic::{self, write_atomic};
use super::error::DirError;

/// One step from a format to the next.
pub(super) type Step = fn(&Path) -> Result<(), DirError>;

/// Step n makes format n + 1 of format n; format 0 is the empty directory. Each may be carried out
/// again after it was interrupted.
const STEPS: &[Step] = &[first_layout];

/// The version of the layout that this version of Tutti makes and reads.
pub const FORMAT: u32 = STEPS.len() as u32;

const FOLDERS: [&str; 4] = ["logs", "run", "volumes", "setup"];
const FORMAT_FILE: &str = "format";
const GITIGNORE: &str = ".gitignore";
const LOCK_FILE: &str = "lock";

/// Refuses a directory that has things in it which a directory of ours has not.
pub fn refuse_foreign(dir: &Path) -> Result<(), DirError> {
    if dir.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).map_err(|error| DirError::io(dir, error))? {
        let name = entry.map_err(|error| DirError::io(dir, error))?.file_name();
        let name = name.to_string_lossy();
        let ours = FOLDERS.contains(&&*name) || [GITIGNORE, LOCK_FILE].contains(&&*name);
        if !ours && !atomic::is_temporary(&name) {
            return Err(DirError::Foreign { path: dir.to_owned(), example: name.into_owned() });
        }
    }
    Ok(())
}

/// Brings the directory to this version's format; the lock must be held.
pub fn bring_up(dir: &Path) -> Result<(), DirError> {
    bring_up_by(dir, STEPS)
}

/// Refuses a directory whose format is not this version's own.
pub fn require(dir: &Path) -> Result<(), DirError> {
    match read_format(dir, FORMAT)? {
        FORMAT => Ok(()),
        found => Err(DirError::Format { path: dir.to_owned(), found: found.to_string(), known: FORMAT }),
    }
}

pub(super) fn bring_up_by(dir: &Path, steps: &[Step]) -> Result<(), DirError> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found = read_format(dir, known)?;
    for (step, format) in steps.iter().zip(1_u32..).filter(|(_, format)| *format > found) {
        step(dir)?;
        write_atomic(&dir.join(FORMAT_FILE), format!("{format}\n").as_bytes())?;
    }
    Ok(())
}

fn read_format(dir: &Path, known: u32) -> Result<u32, DirError> {
    let path = dir.join(FORMAT_FILE);
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).chars().take(40).collect::<String>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(DirError::io(&path, error)),
    };
    match text.trim().parse() {
        Ok(found) if (1..=known).contains(&found) => Ok(found),
        _ => Err(DirError::Format { path: dir.to_owned(), found: text.trim().to_owned(), known }),
    }
}

fn first_layout(dir: &Path) -> Result<(), DirError> {
    write_atomic(&dir.join(GITIGNORE), b"*\n")?;
    for folder in FOLDERS {
        let path = dir.join(folder);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| DirError::io(&path, error))?;
    }
    Ok(())
}
