//! What is executed, as far as it is known before the build: a command, or a file that the build makes.

use std::path::{Path, PathBuf};

use tutti_model::app::Command;

/// What is executed. In arguments, [`OWN_PORT`] stands for the instance's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A command that is known now.
    Command(Command),
    /// The first of these files that exists when the steps are done, in a command made of `before`, the file, `after`.
    /// A `*` in the last part of a path stands for anything but `/`.
    Built {
        /// The program that takes the file, such as `java -jar`; empty if the file is the program.
        before: Vec<String>,
        /// Where the file may be, in order.
        candidates: Vec<PathBuf>,
        /// Last parts of paths that do not count, such as `*-sources.jar`.
        except: Vec<String>,
        /// Arguments after it.
        after: Vec<String>,
    },
}

/// Stands for the port of the instance in inferred arguments and environment values.
pub const OWN_PORT: &str = "${PORT}";

/// A command as a person would type it.
pub fn show(command: &Command) -> String {
    match command {
        Command::Shell(line) => line.clone(),
        Command::Args(args) => args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" "),
    }
}

fn quote(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,${}*".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

/// A program as a person would type it.
pub fn show_program(program: &Program) -> String {
    match program {
        Program::Command(command) => show(command),
        Program::Built { before, candidates, after, .. } => {
            let file = candidates.first().map(|path| path.display().to_string());
            before.iter().cloned().chain(file).chain(after.iter().cloned()).collect::<Vec<_>>().join(" ")
        }
    }
}

impl Program {
    /// The command, now that the steps are done; `None` if what should have been built is not there.
    pub fn resolve(&self) -> Option<Command> {
        let (before, candidates, except, after) = match self {
            Program::Command(command) => return Some(command.clone()),
            Program::Built { before, candidates, except, after } => (before, candidates, except, after),
        };
        let file = candidates.iter().find_map(|pattern| newest_match(pattern, except))?;
        let words = before.iter().cloned().chain([file.display().to_string()]).chain(after.iter().cloned());
        Some(Command::Args(words.collect()))
    }
}

/// The newest file that matches a path whose last part may hold `*`.
fn newest_match(pattern: &Path, except: &[String]) -> Option<PathBuf> {
    let name = pattern.file_name()?.to_str()?;
    if !name.contains('*') {
        return pattern.is_file().then(|| pattern.to_owned());
    }
    let entries = std::fs::read_dir(pattern.parent()?).ok()?;
    let fits = |file: &str| wildcard(name, file) && !except.iter().any(|pattern| wildcard(pattern, file));
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(fits) && entry.path().is_file())
        .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok())
        .map(|entry| entry.path())
}

/// Whether a text matches a pattern in which each `*` stands for any characters.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pattern.rsplit('*').next().filter(|_| pattern.contains('*')) else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    text.ends_with(last)
}
