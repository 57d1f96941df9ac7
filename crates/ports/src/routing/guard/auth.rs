//! Credentials: who asks, and how that is proven.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which credentials a route takes: any one of them is enough, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// Requests without any credential pass, too, as nobody. One that is there must be good.
    pub optional: bool,
    /// A token of an identity provider.
    pub jwt: Option<Jwt>,
    /// A key that a program was given.
    pub api_key: Option<ApiKeys>,
    /// A name and a password (RFC 7617).
    pub basic: Option<Basic>,
}

/// Where a credential stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In a header field; in `authorization` after `Bearer`. The name is in lower case.
    Header(String),
    /// In a parameter of the query.
    Query(String),
    /// In a cookie.
    Cookie(String),
}

/// Keys of programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeys {
    /// Where a key stands; the first place where there is one counts.
    pub from: Vec<Place>,
    /// The keys, hashed, as `sha256:HEX` or `blake3:HEX`, by the name of who has them.
    pub keys: BTreeMap<String, String>,
    /// A file of more: lines of `NAME HASH`, `#` begins a comment.
    pub file: Option<PathBuf>,
}

/// Names and passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basic {
    /// Lines of `NAME:HASH` as in htpasswd, with hashes of Argon2 (`$argon2id$…`).
    pub file: PathBuf,
    /// What a browser shows.
    pub realm: String,
}

/// Tokens of an identity provider (RFC 7519, signed by RFC 7515).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwt {
    /// Who must have issued them; `None`: whoever has the key.
    pub issuer: Option<String>,
    /// Where the keys are.
    pub keys: KeySource,
    /// For whom they must be issued: any of these; empty: anybody.
    pub audiences: Vec<String>,
    /// Which signatures count, such as `RS256`.
    pub algorithms: Vec<String>,
    /// How much the clocks may differ.
    pub leeway: Duration,
    /// Where a token stands; the first place where there is one counts.
    pub from: Vec<Place>,
    /// Claims that the service is told, by the name of the header field.
    pub headers: BTreeMap<String, String>,
    /// Scopes that must all be in `scope` or `scp`.
    pub scopes: Vec<String>,
    /// Claims that must have, or as a list hold, one of these values.
    pub claims: BTreeMap<String, Vec<String>>,
}

/// Where keys for signatures are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeySource {
    /// Where the issuer's discovery document says (OpenID Connect Discovery 1.0 section 4).
    Issuer(String),
    /// A JWK Set (RFC 7517 section 5) at a URL.
    Url(String),
    /// A JWK Set in a file.
    File(PathBuf),
}
