//! What can go wrong with certificates.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tutti_core::{Classify, Code, Kind, Origin, Retry, code};
use tutti_ports::state::StateError;

/// Why a certificate could not be made, had or kept. No message holds a key.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of ours cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of ours holds something else than we wrote.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A certificate or a request for one could not be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// What should be a certificate is none.
    #[error("not a certificate: {0}")]
    NotACertificate(String),
    /// A sealed secret does not open: another key sealed it, or it was changed.
    #[error("the sealed secret `{0}` does not open with the key of this data directory")]
    Sealed(String),
    /// The state cannot be read or written.
    #[error("the certificates cannot be read from the state or written to it")]
    State(#[source] StateError),
    /// The authority said no.
    #[error("the authority refused: {0}")]
    Refused(String),
    /// The authority could not find out that a name is ours.
    #[error("the authority could not verify {name} by {challenge}: {why}")]
    Unverified {
        /// The name.
        name: String,
        /// How it tried.
        challenge: &'static str,
        /// What it says.
        why: String,
    },
    /// No way to prove a name is left: none was configured that the authority offers for it.
    #[error("the authority offers no configured challenge for {name} (it offers {offered})")]
    NoChallenge {
        /// The name.
        name: String,
        /// What it offers.
        offered: String,
    },
    /// The authority asks to wait.
    #[error("the authority asks to wait: {why}")]
    Wait {
        /// For how long, if it says so.
        after: Option<Duration>,
        /// What it says.
        why: String,
    },
    /// The authority does not answer, or not as RFC 8555 says.
    #[error("the authority cannot be reached: {0}")]
    Unreachable(String),
    /// The program that writes DNS records failed.
    #[error("the DNS hook `{command} {verb}` failed: {why}")]
    Hook {
        /// The program.
        command: String,
        /// What it was to do.
        verb: &'static str,
        /// What happened.
        why: String,
    },
    /// Another process orders the same certificate at this moment.
    #[error("another process is ordering this certificate")]
    Elsewhere,
}

impl TrustError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        TrustError::File { path: path.to_owned(), source }
    }

    /// The word for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            TrustError::File { .. } | TrustError::Damaged { .. } => "file",
            TrustError::Make(_) | TrustError::NotACertificate(_) => "certificate",
            TrustError::Sealed(_) => "seal",
            TrustError::State(_) => "state",
            TrustError::Refused(_) => "refused",
            TrustError::Unverified { .. } | TrustError::NoChallenge { .. } => "challenge",
            TrustError::Wait { .. } => "wait",
            TrustError::Unreachable(_) => "unreachable",
            TrustError::Hook { .. } => "hook",
            TrustError::Elsewhere => "elsewhere",
        }
    }
}

impl From<StateError> for TrustError {
    fn from(error: StateError) -> Self {
        TrustError::State(error)
    }
}

impl Classify for TrustError {
    fn kind(&self) -> Kind {
        match self {
            TrustError::File { .. } | TrustError::Unreachable(_) => Kind::Unavailable,
            TrustError::State(source) => source.kind(),
            TrustError::Refused(_) | TrustError::NoChallenge { .. } => Kind::Denied,
            TrustError::Wait { .. } => Kind::Exhausted,
            TrustError::Elsewhere => Kind::Conflict,
            TrustError::Unverified { .. } | TrustError::Hook { .. } => Kind::Unavailable,
            TrustError::Damaged { .. }
            | TrustError::Make(_)
            | TrustError::NotACertificate(_)
            | TrustError::Sealed(_) => Kind::Internal,
        }
    }

    fn origin(&self) -> Origin {
        match self {
            TrustError::Refused(_) | TrustError::Wait { .. } | TrustError::Unreachable(_) => Origin::Upstream,
            _ => Origin::Us,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Safe
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            TrustError::File { .. }
            | TrustError::Damaged { .. }
            | TrustError::Make(_)
            | TrustError::NotACertificate(_) => code::AUTHORITY,
            TrustError::Sealed(_) => code::SEAL,
            TrustError::State(source) => return source.code(),
            TrustError::Refused(_) => code::ACME_REFUSED,
            TrustError::Unverified { .. } | TrustError::NoChallenge { .. } => code::ACME_CHALLENGE,
            TrustError::Wait { .. } => code::ACME_WAIT,
            TrustError::Unreachable(_) => code::ACME_UNREACHABLE,
            TrustError::Hook { .. } => code::DNS_HOOK,
            TrustError::Elsewhere => return None,
        })
    }
}
