//! A limit of rate: how often, and who counts as one.

use serde::{Deserialize, Serialize};

use crate::rate::Policy;

/// How often a caller may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// What callers are told it is called.
    pub label: String,
    /// How often. Its name must tell it from all others: those of one name count together.
    pub policy: Policy,
    /// What tells one caller from another, all parts together; empty: all callers count as one.
    pub key: Vec<KeyPart>,
    /// What happens when whoever counts does not answer.
    pub unavailable: Unavailable,
}

/// A part of what tells one caller from another. A caller that has not what it names is told apart by its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyPart {
    /// Its address; of IPv6 the first 64 bits, since that is what one customer has at least (RFC 6177 section 2).
    Address,
    /// A header field; of several values the joined value. The name is in lower case.
    Header(String),
    /// The route that is taken.
    Route,
    /// Who has the API key.
    ApiKey,
    /// A claim of the token, by name or path.
    Claim(String),
}

/// What happens to requests while whoever counts them does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unavailable {
    /// They pass, uncounted.
    #[default]
    Open,
    /// They are refused.
    Closed,
}
