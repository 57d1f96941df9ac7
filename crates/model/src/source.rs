//! The files that were read, and where in them something stands.
//!
//! A [`Span`] is small and copied into every node of a tree; the text of its file is kept here once, for showing.
//! Reading is bounded: only regular files, at most [`MODEL_FILE_BYTES`] each and [`MODEL_FILES`] in all.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tutti_core::limits::{MODEL_FILE_BYTES, MODEL_FILES};

use crate::origin::Disk;

/// The number of a file in [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u16);

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The line from 1; 0 means the file as a whole.
    pub line: u32,
    /// The column from 1, in characters.
    pub column: u32,
    /// The length in characters, within the line; 0 means "from here".
    pub length: u32,
}

impl Span {
    /// The file as a whole.
    pub fn whole(file: FileId) -> Self {
        Self { file, ..Self::default() }
    }
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("{}", why(.0))]
    Io(#[source] std::io::Error),
    /// A folder, pipe, socket or device.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// Too large.
    #[error("it has {0} bytes; at most {MODEL_FILE_BYTES} are read")]
    TooLarge(u64),
    /// Not UTF-8; the position of the first bad byte.
    #[error("it is not UTF-8: the byte 0x{byte:02x}")]
    Encoding {
        /// The line from 1.
        line: u32,
        /// The column from 1.
        column: u32,
        /// The byte.
        byte: u8,
        /// It begins with the byte order mark of UTF-16.
        utf16: bool,
    },
    /// More files than we read for one application.
    #[error("more than {MODEL_FILES} files are read for one application")]
    TooMany,
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// One file.
#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    shown: String,
    text: Arc<str>,
    /// Byte offsets at which lines begin.
    lines: Arc<[u32]>,
}

/// Every file of one load, in the order of reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    base: PathBuf,
    /// Where they are read from.
    pub(crate) disk: Disk,
}

impl Sources {
    /// No files yet. Paths below `base` are shown relative to it.
    pub fn new(base: &Path) -> Self {
        Self::of(base, Disk::default())
    }

    /// The same, read from elsewhere.
    pub(crate) fn of(base: &Path, disk: Disk) -> Self {
        Self { files: Vec::new(), base: base.to_owned(), disk }
    }

    /// Names a file without reading it, so that a problem can speak of it.
    pub fn declare(&mut self, path: &Path) -> FileId {
        self.add(path, Arc::from(""))
    }

    /// Adds a text.
    pub fn add(&mut self, path: &Path, text: Arc<str>) -> FileId {
        if let Some(at) = self.files.iter().position(|file| file.path == path && file.text == text) {
            return FileId(u16::try_from(at).unwrap_or(u16::MAX));
        }
        let id = FileId(u16::try_from(self.files.len()).unwrap_or(u16::MAX));
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX)),
        );
        let shown = path.strip_prefix(&self.base).unwrap_or(path).display().to_string();
        self.files.push(Source { path: path.to_owned(), shown, text, lines: lines.into() });
        id
    }

    /// Reads a file. On failure the id still names it.
    pub fn read(&mut self, path: &Path) -> (FileId, Result<Arc<str>, ReadError>) {
        if self.files.len() >= MODEL_FILES {
            return (self.declare(path), Err(ReadError::TooMany));
        }
        match self.disk.read(path) {
            Ok(text) => (self.add(path, Arc::clone(&text)), Ok(text)),
            // The line is shown with a mark in the place of what cannot be shown.
            Err((error, bytes)) => (self.add(path, Arc::from(String::from_utf8_lossy(&bytes))), Err(error)),
        }
    }

    /// The path of a file, as it was given to [`Sources::read`].
    pub fn path(&self, file: FileId) -> &Path {
        self.files.get(usize::from(file.0)).map_or(Path::new(""), |file| &file.path)
    }

    /// The path as it is shown to people.
    pub fn shown(&self, file: FileId) -> &str {
        self.files.get(usize::from(file.0)).map_or("", |file| &file.shown)
    }

    /// The text of a line from 1, without its end.
    pub fn line(&self, file: FileId, line: u32) -> Option<&str> {
        let file = self.files.get(usize::from(file.0))?;
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = usize::try_from(*file.lines.get(at)?).ok()?;
        let end = file.lines.get(at + 1).map_or(Some(file.text.len()), |end| usize::try_from(*end).ok())?;
        let text = file.text.get(start..end)?;
        Some(text.trim_end_matches(['\n', '\r']))
    }

    /// The place of the `nth` occurrence of `needle` at or after the beginning of `span`, at most `lines` further
    /// down. Finds a variable inside a scalar, whatever its quotes and folding.
    pub fn locate(&self, span: Span, needle: &str, nth: usize, lines: u32) -> Option<Span> {
        let mut left = nth;
        for line in span.line..=span.line.saturating_add(lines) {
            let text = self.line(span.file, line)?;
            let skip = if line == span.line { usize::try_from(span.column).unwrap_or(1) - 1 } else { 0 };
            let from = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
            for (at, _) in text.match_indices(needle).filter(|(at, _)| *at >= from) {
                if left == 0 {
                    let column = text.get(..at)?.chars().count() + 1;
                    return Some(Span {
                        line,
                        column: u32::try_from(column).unwrap_or(u32::MAX),
                        length: u32::try_from(needle.chars().count()).unwrap_or(0),
                        ..span
                    });
                }
                left -= 1;
            }
        }
        None
    }

    /// Every file that was read, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

/// Reads a whole regular file as text, within the limit; a byte order mark is taken off. With an error come the bytes
/// that are no text.
pub(crate) fn read_text(path: &Path) -> Result<String, (ReadError, Vec<u8>)> {
    let bytes = read_bytes(path).map_err(|error| (error, Vec::new()))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => Err((encoding(error.as_bytes()), error.into_bytes())),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let meta = std::fs::metadata(path).map_err(ReadError::Io)?;
    if !meta.is_file() {
        return Err(ReadError::NotRegular(if meta.is_dir() {
            "a folder"
        } else {
            "a pipe, socket or device"
        }));
    }
    if meta.len() > MODEL_FILE_BYTES as u64 {
        return Err(ReadError::TooLarge(meta.len()));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed shows that the file grew in between.
    let limit = MODEL_FILE_BYTES as u64 + 1;
    File::open(path).map_err(ReadError::Io)?.take(limit).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() > MODEL_FILE_BYTES {
        return Err(ReadError::TooLarge(bytes.len() as u64));
    }
    Ok(bytes)
}

fn encoding(bytes: &[u8]) -> ReadError {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let before = bytes.get(..valid).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("");
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    ReadError::Encoding {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        byte: bytes.get(valid).copied().unwrap_or(0),
        utf16,
    }
}
