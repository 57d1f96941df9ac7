//! What kind of failure, whose fault it is, and whether trying again is safe.
//!
//! Each room has its own error enum; what crosses a room's edge is classified once, by
//! [`Classify`], and mapped once, here, to HTTP and gRPC.

use crate::Code;

/// The kind of a failure: decides the status a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request or the file is wrong; sending it again unchanged is pointless.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or changed in between.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// A named limit was reached.
    Exhausted,
    /// Something needed is not there now, and may be later.
    Unavailable,
    /// It took longer than allowed.
    Timeout,
    /// A defect of ours, or a broken environment.
    Internal,
}

impl Kind {
    /// The HTTP status code (RFC 9110 section 15) for a failure of this kind that is ours.
    pub const fn http_status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::Denied => 403,
            Kind::Exhausted => 429,
            Kind::Unavailable => 503,
            Kind::Timeout => 504,
            Kind::Internal => 500,
        }
    }

    /// The gRPC status code (grpc/grpc doc/statuscodes.md) for a failure of this kind.
    pub const fn grpc_status(self) -> u8 {
        match self {
            Kind::Invalid => 3,
            Kind::NotFound => 5,
            Kind::Conflict => 10,
            Kind::Denied => 7,
            Kind::Exhausted => 8,
            Kind::Unavailable => 14,
            Kind::Timeout => 4,
            Kind::Internal => 13,
        }
    }

    /// The lower-case name used in JSON errors, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::NotFound => "not_found",
            Kind::Conflict => "conflict",
            Kind::Denied => "denied",
            Kind::Exhausted => "exhausted",
            Kind::Unavailable => "unavailable",
            Kind::Timeout => "timeout",
            Kind::Internal => "internal",
        }
    }
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Whoever called us.
    Client,
    /// Tutti itself.
    Us,
    /// The service or engine that we called.
    Upstream,
}

impl Origin {
    /// The lower-case name used in JSON errors, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Client => "client",
            Origin::Us => "tutti",
            Origin::Upstream => "upstream",
        }
    }
}

/// Whether the same operation may be sent again without being carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing has been carried out.
    Safe,
    /// Something may have been carried out.
    Unsafe,
}

/// Says of an error what the code that meets it has to know. Decided where the error is made.
pub trait Classify: std::error::Error {
    /// The kind.
    fn kind(&self) -> Kind;

    /// Who is at fault; ours unless said otherwise.
    fn origin(&self) -> Origin {
        Origin::Us
    }

    /// Whether a retry is safe; not, unless said otherwise.
    fn retry(&self) -> Retry {
        Retry::Unsafe
    }

    /// The stable code with a page of cause and remedy, if an operator may meet this error.
    fn code(&self) -> Option<Code> {
        None
    }
}

/// The error and its sources, once each, joined by `: `. For logs and for the last line of a command.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the data directory")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("permission denied")]
    struct Inner;

    #[test]
    fn a_chain_names_every_link_once() {
        assert_eq!(chain(&Outer(Inner)), "cannot open the data directory: permission denied");
    }
}
