//! Another service that decides who may ask.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::content::Size;
use super::{Several, Unavailable};

/// A service that is asked whether a request may pass. One of `service` and `url` says which.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalAuth {
    /// The service: `service` or `service:port`.
    pub service: Option<String>,
    /// The same with the path: `http://authelia:9091/api/authz/forward-auth`.
    pub url: Option<String>,
    /// What is spoken with it. Default: `http`.
    pub protocol: Option<ExternalProtocol>,
    /// It is asked with GET at this path, as nginx (`auth_request`) and Traefik (`forwardAuth`) do.
    pub path: Option<String>,
    /// It is asked with the request's own method, at this prefix and the request's own path, as Envoy (`ext_authz`) does. That is what
    /// is done, without a prefix, if neither this nor `path` nor `url` is there.
    pub path_prefix: Option<String>,
    /// How long it is waited for. Default: `2s`.
    pub timeout: Option<String>,
    /// What happens to requests when it gives no decision. Default: `closed`.
    pub when_unavailable: Option<Unavailable>,
    /// The header fields of the request that it is shown, beside `authorization`. Default: all. A name that ends with `*` stands for all
    /// that begin so; here and below.
    pub allowed_headers: Option<Several>,
    /// Fields of its answer that the service behind gets. No client can set them.
    pub allowed_upstream_headers: Option<Several>,
    /// Fields of a refusal that the client gets, beside `location`, `www-authenticate`, `content-type` and `set-cookie`. Default: all.
    pub allowed_client_headers: Option<Several>,
    /// Fields of a permission that the client gets with the answer.
    pub allowed_client_headers_on_success: Option<Several>,
    /// Where browsers are sent that it refuses with 401, such as `/oauth2/sign_in?rd={url}`; `{url}` is where they wanted to go.
    pub sign_in: Option<String>,
    /// Show it the request's body.
    pub with_request_body: Option<ExternalBody>,
    /// Remember permissions.
    pub cache: Option<ExternalCache>,
    /// What it is told beside the request, with `protocol: grpc`.
    pub context_extensions: BTreeMap<String, String>,
}

/// What is spoken with an authorization service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExternalProtocol {
    /// A request of its own.
    #[default]
    Http,
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}

/// How much of a request's body an authorization service is shown.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalBody {
    /// At most so much, such as `8K`; at most `1M`.
    pub max_request_bytes: Option<Size>,
    /// Of a longer body the beginning is shown; otherwise it is answered 413.
    pub allow_partial_message: bool,
    /// Over gRPC, as bytes and not as text.
    pub pack_as_bytes: bool,
}

/// How long permissions are remembered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalCache {
    /// So long; at most `1h`.
    pub ttl: String,
    /// In what requests must be alike beside all fields of `allowed_headers`: `method`, `host`, `path`, `query`, `address`. Default: all.
    pub key: Option<Vec<CachePart>>,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CachePart {
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The client's address.
    Address,
}
