//! Credentials.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Several;

/// Which credentials are taken: any one of those that are named is enough.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Requests without any credential pass, too. One that is there must be good.
    pub optional: bool,
    /// Tokens of an identity provider, such as Keycloak, Entra ID, Okta or Auth0.
    pub jwt: Option<Jwt>,
    /// Keys that programs were given.
    pub api_key: Option<ApiKey>,
    /// Names and passwords.
    pub basic: Option<Basic>,
}

/// Tokens of an identity provider. One of `issuer`, `jwks` and `jwks_file` says where the keys are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// Who must have issued them. Without `jwks`, its discovery document says where its keys are.
    pub issuer: Option<String>,
    /// The URL of the keys (a JWK Set).
    pub jwks: Option<String>,
    /// A file of the keys.
    pub jwks_file: Option<String>,
    /// For whom they must be: any of these.
    pub audience: Option<Several>,
    /// Which signatures count. Default: RS256, ES256 and EdDSA.
    pub algorithms: Option<Vec<String>>,
    /// How much the clocks may differ. Default: `30s`.
    pub leeway: Option<String>,
    /// Where a token stands: `header:NAME`, `cookie:NAME`, `query:NAME`. Default: `header:authorization`, after `Bearer`.
    pub from: Option<Several>,
    /// Header fields that the service gets, by name, with the claim that each holds.
    pub headers: BTreeMap<String, String>,
    /// Scopes that a token must all have.
    pub scopes: Vec<String>,
    /// Claims that a token must have: the value, or any of several.
    pub claims: BTreeMap<String, Several>,
}

/// Keys that programs were given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKey {
    /// Where a key stands: `header:NAME`, `cookie:NAME`, `query:NAME`. Default: `header:x-api-key`.
    pub from: Option<Several>,
    /// Their hashes, `sha256:HEX` or `blake3:HEX`, by the name of who has the key.
    pub keys: BTreeMap<String, String>,
    /// A file of more: lines of `NAME HASH`.
    pub file: Option<String>,
}

/// Names and passwords.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Basic {
    /// A file of lines `NAME:HASH`, with hashes of Argon2.
    pub file: String,
    /// What a browser shows. Default: `Tutti`.
    pub realm: Option<String>,
}
