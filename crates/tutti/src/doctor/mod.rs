//! Finds out why something does not start: each finding says what was looked at, what is wrong, and what to do.

mod certificates;
mod listeners;
mod running;
mod standing;

use serde::Serialize;

pub(crate) use certificates::examine as examine_certificates;
pub(crate) use listeners::owner_of;
pub(crate) use running::examine as examine_running;
pub(crate) use standing::{elsewhere, examine as examine_standing};

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// It works, and deserves a look.
    Look,
    /// It does not work.
    Bad,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was looked at: a service, a port, a file.
    pub(crate) subject: String,
    /// What was seen.
    pub(crate) text: String,
    /// What to do; empty if nothing.
    pub(crate) remedy: String,
}

impl Finding {
    pub(crate) fn good(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, subject: subject.into(), text: text.into(), remedy: String::new() }
    }

    pub(crate) fn look(
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Look, subject: subject.into(), text: text.into(), remedy: remedy.into() }
    }

    pub(crate) fn bad(
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Bad, subject: subject.into(), text: text.into(), remedy: remedy.into() }
    }
}
