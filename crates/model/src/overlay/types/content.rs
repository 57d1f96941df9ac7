//! What requests and responses of a route may hold, and how they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Several;

/// A number of bytes, or a text such as `10M`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(i64),
    /// A text such as `512K` or `10M`.
    Text(String),
}

impl Size {
    /// The number; 0 if it is none, which the table has not let pass.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Size::Bytes(bytes) => u64::try_from(*bytes).unwrap_or(0),
            Size::Text(text) => crate::value::bytes::parse(text).unwrap_or(0),
        }
    }
}

/// Off, on with the defaults, or in detail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Switch<T> {
    /// Off, or on with the defaults.
    Short(bool),
    /// On, in detail.
    Long(T),
}

impl<T: Clone + Default> Switch<T> {
    /// The details, if it is on.
    pub(crate) fn on(this: Option<&Self>) -> Option<T> {
        match this {
            None | Some(Switch::Short(false)) => None,
            Some(Switch::Short(true)) => Some(T::default()),
            Some(Switch::Long(details)) => Some(details.clone()),
        }
    }
}

/// Which pages of other origins may read the answers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins: `https://shop.example`, `https://*.shop.example`, `http://localhost:*`, or `*`.
    pub origins: Option<Several>,
    /// Methods that pages may use; `*`: every one. Default: GET, HEAD and POST.
    pub methods: Option<Several>,
    /// Header fields that pages may send; `*`: every one.
    pub headers: Option<Several>,
    /// Header fields of answers that pages may read.
    pub expose: Option<Several>,
    /// Cookies and other credentials may be sent. Not with the origin `*`.
    pub credentials: bool,
    /// How long browsers may remember what is allowed. Default: `10m`.
    pub max_age: Option<String>,
    /// Pages of public networks may ask.
    pub private_network: bool,
}

/// Header fields that tell browsers to be careful. `none` leaves one out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security`, sent over TLS only. Default: `max-age=31536000`.
    pub hsts: Option<String>,
    /// `X-Content-Type-Options: nosniff`. Default: true.
    pub nosniff: Option<bool>,
    /// `X-Frame-Options`. Default: `SAMEORIGIN`.
    pub frame_options: Option<String>,
    /// `Content-Security-Policy`. Default: none.
    pub content_security_policy: Option<String>,
    /// `Referrer-Policy`. Default: `strict-origin-when-cross-origin`.
    pub referrer_policy: Option<String>,
    /// `Permissions-Policy`. Default: none.
    pub permissions_policy: Option<String>,
}

/// How responses are compressed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// The codings, the preferred one first. Default: `[br, zstd, gzip]`.
    pub codings: Option<Vec<Coding>>,
    /// Shorter bodies are left alone. Default: 1024.
    pub min_size: Option<Size>,
    /// The media types that are compressed, such as `text/*` or `application/*+json`.
    pub types: Option<Several>,
    /// 1 (fast) to 9 (small). Default: 4.
    pub level: Option<u32>,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
}

/// How bodies of requests are decompressed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decompression {
    /// Longest body when it is decompressed. Default: `16M`.
    pub max_size: Option<Size>,
    /// How many times longer than what came it may be. Default: 200.
    pub max_ratio: Option<u32>,
}

/// A description in OpenAPI: its file, or the whole.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OpenApi {
    /// The file.
    File(String),
    /// The whole.
    Long(OpenApiRules),
}

/// A description in OpenAPI 3.0 or 3.1, and what is done with it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpenApiRules {
    /// The file, in YAML or JSON, relative to the project's folder and in it.
    pub file: String,
    /// What stands before the paths of the description. Default: the paths of its `servers`.
    pub base_path: Option<String>,
    /// What becomes of requests that are not as described. Default: `enforce`.
    pub requests: Option<OpenApiMode>,
    /// What becomes of answers that are not as described. Default: `off`.
    pub responses: Option<OpenApiMode>,
    /// What becomes of requests for which there is no operation. Default: `refuse`.
    pub unknown_paths: Option<UnknownPaths>,
    /// Longest body that is looked at; longer ones are answered 413. Default: `1M`, and at most `16M`.
    pub max_body: Option<Size>,
}

/// What becomes of messages that are not as described.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpenApiMode {
    /// Nobody looks.
    Off,
    /// They are counted and pass.
    Report,
    /// They are refused.
    Enforce,
}

/// What becomes of requests for which there is no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownPaths {
    /// They are answered 404 or 405.
    Refuse,
    /// They pass.
    Pass,
}
