//! Why a service cannot be run as a process, in words that say what to do.

use std::path::PathBuf;

/// Why a service cannot be run as a process, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cannot {
    /// A program that its language needs is not installed.
    #[error("{service} needs `{tool}` ({why}), which is not on PATH")]
    Toolchain {
        /// The service.
        service: String,
        /// The program.
        tool: String,
        /// What asks for it, such as `package.json`.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It is an image of an engine that this version does not start.
    #[error("{service} is the image {image}, {what}, which this version does not start")]
    Engine {
        /// The service.
        service: String,
        /// The image.
        image: String,
        /// What it is, such as `a PostgreSQL database`.
        what: &'static str,
        /// What to do.
        remedy: String,
    },
    /// It is an image, and nothing says how to run it without one.
    #[error("{service} is the image {image}; nothing says how to run it as a process")]
    Image {
        /// The service.
        service: String,
        /// The image.
        image: String,
        /// What to do.
        remedy: String,
    },
    /// There is a folder of a language that this version has no habit for.
    #[error("{service} is {what} ({file}), which this version does not know how to build and run")]
    Foreign {
        /// The service.
        service: String,
        /// What it is, such as `a .NET project`.
        what: &'static str,
        /// The file that gave it away.
        file: String,
        /// What to do.
        remedy: String,
    },
    /// There is a folder, but nothing in it that we know.
    #[error("nothing in {folder} says how to run {service} without its image: {found}")]
    NoIdea {
        /// The service.
        service: String,
        /// The folder.
        folder: PathBuf,
        /// What was there, or what was looked for.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// The folder does not exist.
    #[error("the folder {folder} of {service} does not exist")]
    NoFolder {
        /// The service.
        service: String,
        /// The folder.
        folder: PathBuf,
    },
}

impl Cannot {
    /// What to do, in words for a person.
    pub fn remedy(&self) -> &str {
        match self {
            Cannot::Toolchain { remedy, .. }
            | Cannot::Engine { remedy, .. }
            | Cannot::Image { remedy, .. }
            | Cannot::Foreign { remedy, .. }
            | Cannot::NoIdea { remedy, .. } => remedy,
            Cannot::NoFolder { .. } => "correct `build:` in the compose file or `dir:` in tutti.yaml",
        }
    }
}
