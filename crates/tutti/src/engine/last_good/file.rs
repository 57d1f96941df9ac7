//! The file: one line that says what it is, and one that is sealed.
//!
//! The first line is JSON and readable without a key, so that one can tell generation and format before anything is opened. It is
//! authenticated with the second one, which is sealed with the key of the data directory: whatever is changed or missing, it does not open.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tutti_core::limits::LAST_GOOD_BYTES;
use tutti_model::Origin;
use tutti_store::dir::write_atomic;
use tutti_trust::seal::Seal;

use super::{Described, LastGoodError};

/// The file's name in the data directory.
pub(crate) const NAME: &str = "last-good";

/// What it is called when something newer was in force that could not be kept.
const ASIDE: &str = "last-good.outdated";

/// Where the key is.
const KEY_FOLDER: &str = "trust";

/// The form of the file. It grows with every change that an older version would misunderstand.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    tutti: String,
    format: u32,
    /// Grows with each configuration that is put into force and differs from the one before.
    pub(super) generation: u64,
    /// Milliseconds since 1970.
    pub(super) kept_at_ms: u64,
    /// Who has written it.
    version: String,
}

/// The second line, opened.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) origin: Origin,
    #[serde(default)]
    pub(super) described: Described,
}

/// A whole file.
pub(super) struct Whole {
    pub(super) head: Head,
    pub(super) kept: Kept,
}

/// Whether there is one to start from, by its first line: its generation, and when it was kept.
pub(crate) fn found(data: &Path) -> Option<(u64, u64)> {
    let head = head(&data.join(NAME)).ok()?;
    Some((head.generation, head.kept_at_ms))
}

/// The newest generation that is known of in a data directory.
pub(super) fn generation(data: &Path) -> u64 {
    let heads = [NAME, ASIDE].into_iter().filter_map(|name| head(&data.join(name)).ok());
    heads.map(|head| head.generation).max().unwrap_or(0)
}

/// Reads the file whole.
pub(super) fn read(data: &Path) -> Result<Whole, LastGoodError> {
    let path = data.join(NAME);
    let text = match text(&path) {
        Err(LastGoodError::Nothing(_)) if data.join(ASIDE).exists() => {
            return Err(LastGoodError::Outdated(data.join(ASIDE)));
        }
        text => text?,
    };
    let (line, sealed) = split(&path, &text)?;
    let head = parse(&path, line)?;
    // Made if it is not there: then it is not the right one, and nothing opens.
    let seal = Seal::open(&data.join(KEY_FOLDER)).map_err(LastGoodError::Seal)?;
    let opened = seal.open_sealed(line, sealed);
    let opened =
        opened.map_err(|_| damaged(&path, "it does not open with the key of this data directory"))?;
    let kept = serde_json::from_slice(&opened).map_err(|error| damaged(&path, &error.to_string()))?;
    Ok(Whole { head, kept })
}

/// Writes the file; its path holds the old one or the whole new one.
pub(super) fn write(data: &Path, generation: u64, kept_at_ms: u64, kept: &Kept) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let head = Head { tutti: NAME.to_owned(), format: FORMAT, generation, kept_at_ms, version };
    let line = serde_json::to_string(&head)?;
    let sealed = Seal::open(&data.join(KEY_FOLDER))?.seal(&line, &serde_json::to_vec(kept)?)?;
    let whole = format!("{line}\n{sealed}\n");
    anyhow::ensure!(
        whole.len() as u64 <= LAST_GOOD_BYTES,
        "it has {} bytes; at most {LAST_GOOD_BYTES} are kept",
        whole.len()
    );
    write_atomic(&data.join(NAME), whole.as_bytes())?;
    // What was put aside is of no use any more; if it stays, nobody looks at it.
    let _ = std::fs::remove_file(data.join(ASIDE));
    Ok(())
}

/// Puts the file aside: nothing starts from it, and it is not lost. Nothing is to be done if there is none.
pub(super) fn put_aside(data: &Path) -> std::io::Result<()> {
    match std::fs::rename(data.join(NAME), data.join(ASIDE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn head(path: &Path) -> Result<Head, LastGoodError> {
    let mut start = String::new();
    let file = open(path)?;
    // The head has some 150 bytes; the sealed text that follows is ASCII, too.
    let read = file.take(1_024).read_to_string(&mut start);
    read.map_err(|source| LastGoodError::Io { path: path.to_owned(), source })?;
    parse(path, start.lines().next().unwrap_or_default())
}

fn parse(path: &Path, line: &str) -> Result<Head, LastGoodError> {
    /// What every format has.
    #[derive(Deserialize)]
    struct Any {
        tutti: String,
        format: u32,
        version: String,
    }
    let any: Any =
        serde_json::from_str(line).map_err(|_| damaged(path, "its first line is not to be read"))?;
    if any.tutti != NAME {
        return Err(damaged(path, "it is something else"));
    }
    if any.format != FORMAT {
        let (path, format, version) = (path.to_owned(), any.format, any.version);
        return Err(LastGoodError::Newer { path, format, version });
    }
    serde_json::from_str(line).map_err(|_| damaged(path, "its first line is not to be read"))
}

fn split<'a>(path: &Path, text: &'a str) -> Result<(&'a str, &'a str), LastGoodError> {
    let lines = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
    lines.ok_or_else(|| damaged(path, "a part of it is missing"))
}

fn text(path: &Path) -> Result<String, LastGoodError> {
    let mut text = String::new();
    // One byte more than allowed shows that it is too large.
    let read = open(path)?.take(LAST_GOOD_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() as u64 > LAST_GOOD_BYTES => Err(damaged(path, "it is too large")),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(damaged(path, "it is no text")),
        Err(source) => Err(LastGoodError::Io { path: path.to_owned(), source }),
    }
}

fn open(path: &Path) -> Result<std::fs::File, LastGoodError> {
    std::fs::File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => {
            LastGoodError::Nothing(path.parent().map_or_else(PathBuf::new, Path::to_owned))
        }
        _ => LastGoodError::Io { path: path.to_owned(), source },
    })
}

fn damaged(path: &Path, what: &str) -> LastGoodError {
    LastGoodError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> (tempfile::TempDir, Kept) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("compose.yaml"),
            "services: { a: { image: x, environment: [P=hunter2] } }",
        )
        .unwrap();
        let options = tutti_model::LoadOptions {
            folder: folder.path().to_owned(),
            ..tutti_model::LoadOptions::default()
        };
        let origin = tutti_model::load(&options).unwrap().origin;
        std::fs::create_dir(folder.path().join("data")).unwrap();
        (folder, Kept { origin, described: Described::default() })
    }

    #[test]
    fn what_was_kept_is_read_whole_and_shows_no_secret() {
        let (folder, kept) = kept();
        let data = folder.path().join("data");
        assert!(matches!(read(&data), Err(LastGoodError::Nothing(_))));
        write(&data, 7, 1_000, &kept).unwrap();
        let text = std::fs::read_to_string(data.join(NAME)).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("compose.yaml"), "{text}");
        let whole = read(&data).unwrap();
        assert!(whole.kept == kept && whole.head.generation == 7);
        assert_eq!(found(&data), Some((7, 1_000)));
        put_aside(&data).unwrap();
        assert!(matches!(read(&data), Err(LastGoodError::Outdated(_))));
        assert_eq!((found(&data), generation(&data)), (None, 7));
        write(&data, 8, 1_000, &kept).unwrap();
        assert!(read(&data).is_ok() && !data.join(ASIDE).exists());
    }

    #[test]
    fn whatever_is_changed_or_missing_it_is_not_used() {
        let (folder, kept) = kept();
        let data = folder.path().join("data");
        write(&data, 7, 1_000, &kept).unwrap();
        let whole = std::fs::read(data.join(NAME)).unwrap();
        let damages = |bytes: &[u8]| {
            std::fs::write(data.join(NAME), bytes).unwrap();
            let error = read(&data).map(drop).unwrap_err();
            assert!(matches!(error, LastGoodError::Damaged { .. } | LastGoodError::Newer { .. }), "{error}");
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            damages(&bytes);
            if at % 32 == 0 {
                damages(&whole[..at]);
            }
        }
        damages(&whole[..whole.len() - 1]);
        let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"format\":1", "\"format\":2", 1);
        std::fs::write(data.join(NAME), newer).unwrap();
        assert!(matches!(read(&data).map(drop), Err(LastGoodError::Newer { format: 2, .. })));
        std::fs::write(data.join(NAME), &whole).unwrap();
        assert!(read(&data).is_ok());
        std::fs::remove_file(data.join("trust/seal.key")).unwrap();
        assert!(
            matches!(read(&data).map(drop), Err(LastGoodError::Damaged { .. })),
            "another key opens nothing"
        );
    }
}
