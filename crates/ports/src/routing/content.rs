//! What requests and responses may hold, and how they are written: sizes, types, compression, validation, CORS.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What requests and responses may hold. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The methods that are taken, in capitals; empty: every one. Others are answered 405.
    pub methods: Vec<String>,
    /// The media types that a request's body may have: `application/json`, `image/*`, `application/*+json`; empty:
    /// every one. Others are answered 415.
    pub types: Vec<String>,
    /// How large requests may be.
    pub request: RequestLimits,
    /// Longest body of a response, as the client gets it before it is compressed.
    pub response_bytes: Option<u64>,
    /// Which pages of other origins may read the answers (Fetch standard, "CORS protocol").
    pub cors: Option<Cors>,
    /// Fields that tell browsers to be careful.
    pub security: Option<SecurityHeaders>,
    /// Compression of responses.
    pub compression: Option<Compression>,
    /// Decompression of requests' bodies.
    pub decompression: Option<Decompression>,
    /// Whether requests of gRPC-Web become requests of gRPC; `None`: where the services or the matches are of gRPC.
    pub grpc_web: Option<bool>,
    /// A description that requests and answers are held against.
    pub openapi: Option<OpenApi>,
}

/// A description of a service in OpenAPI 3.0 or 3.1, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenApi {
    /// The file.
    pub file: PathBuf,
    /// Nothing outside of this folder is read.
    pub folder: PathBuf,
    /// What stands before the paths of the description; `None`: the paths of its `servers`.
    pub base_path: Option<String>,
    /// What becomes of requests that are not as described.
    pub requests: OpenApiMode,
    /// What becomes of such answers.
    pub responses: OpenApiMode,
    /// Whether requests pass for which there is no operation.
    pub unknown_pass: bool,
    /// Longest body that is looked at.
    pub max_body: u64,
}

/// What becomes of messages that are not as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenApiMode {
    /// Nobody looks.
    Off,
    /// They are counted and pass.
    Report,
    /// They are refused.
    Enforce,
}

/// How large requests may be; beyond what every request is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimits {
    /// Longest body, in bytes, as it is sent on.
    pub body: Option<u64>,
    /// Most header fields.
    pub fields: Option<u32>,
    /// Most bytes of all header fields, names and values.
    pub header_bytes: Option<u32>,
    /// Longest path and query together.
    pub uri_bytes: Option<u32>,
    /// Longest query.
    pub query_bytes: Option<u32>,
    /// Most parameters in the query.
    pub query_parameters: Option<u32>,
}

impl RequestLimits {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins: `https://shop.example`, `https://*.shop.example` (one label or more), `http://localhost:*`, or `*`.
    pub origins: Vec<String>,
    /// Methods; `*`: every one. GET, HEAD and POST need not be named.
    pub methods: Vec<String>,
    /// Request fields; `*`: every one.
    pub headers: Vec<String>,
    /// Response fields that pages may read; `*`: every one.
    pub expose: Vec<String>,
    /// Whether cookies and other credentials may be sent. Not with the origin `*`.
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight, in seconds.
    pub max_age_s: u32,
    /// Whether pages of public networks may ask (`Access-Control-Request-Private-Network`).
    pub private_network: bool,
}

/// Fields that tell browsers to be careful. What a service says itself stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security` (RFC 6797), where the client came by TLS only.
    pub hsts: Option<String>,
    /// `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// `X-Frame-Options`.
    pub frame_options: Option<String>,
    /// `Content-Security-Policy`.
    pub content_security_policy: Option<String>,
    /// `Referrer-Policy`.
    pub referrer_policy: Option<String>,
    /// `Permissions-Policy`.
    pub permissions_policy: Option<String>,
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// `br` (RFC 7932).
    Br,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// As `Content-Encoding` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Br => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// From a token of `Content-Encoding` or `Accept-Encoding`, in any case.
    pub fn of(token: &[u8]) -> Option<Self> {
        let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("br") => Some(Coding::Br),
            () if is("zstd") => Some(Coding::Zstd),
            () if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            () => None,
        }
    }
}

/// Compression of responses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// The codings, the preferred one first.
    pub codings: Vec<Coding>,
    /// Shorter bodies are left alone, if their length is known.
    pub min_bytes: u64,
    /// The media types that are compressed.
    pub types: Vec<String>,
    /// 1 (fast) to 9 (small), for every coding.
    pub level: u32,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "application/*+xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Self {
            codings: vec![Coding::Br, Coding::Zstd, Coding::Gzip],
            min_bytes: 1_024,
            types: types.map(str::to_owned).to_vec(),
            level: 4,
        }
    }
}

/// Decompression of requests' bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decompression {
    /// Longest body when it is decompressed.
    pub max_bytes: u64,
    /// How many times longer than what came it may be.
    pub max_ratio: u32,
}

impl Default for Decompression {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_ratio: 200 }
    }
}
