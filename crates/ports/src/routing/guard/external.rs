//! Another service decides who may ask: what it is told, and what is done with its answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Unavailable;
use crate::routing::Backend;

/// A service that is asked whether a request may pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct External {
    /// The service.
    pub to: Backend,
    /// How it is asked.
    pub ask: ExternalAsk,
    /// How long its answer is waited for.
    pub timeout: Duration,
    /// What happens when it gives none.
    pub unavailable: Unavailable,
    /// The header fields of the request that it is shown; `None`: all. `authorization` is always among them. Names are in lower
    /// case, here and below; one that ends with `*` stands for all that begin so.
    pub headers: Option<Vec<String>>,
    /// Fields of its answer that the service behind gets. Nobody else may set them.
    pub upstream_headers: Vec<String>,
    /// Fields of a refusal that the client gets; `None`: all.
    pub client_headers: Option<Vec<String>>,
    /// Fields of a permission that the client gets with the service's answer.
    pub client_headers_on_success: Vec<String>,
    /// Where a browser is sent that is refused with 401; `{url}` stands for where it wanted to go.
    pub sign_in: Option<String>,
    /// How much of the request's body it is shown.
    pub body: Option<ExternalBody>,
    /// How long a permission counts for requests that are alike.
    pub cache: Option<ExternalCache>,
}

/// How an authorization service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExternalAsk {
    /// With GET at this path, as nginx and Traefik do; the request's own method and path are told in header fields.
    Path(String),
    /// With the request's own method, at this prefix and the request's own path, as Envoy does.
    Prefix(String),
    /// By `envoy.service.auth.v3.Authorization/Check`, with these extensions of the context.
    Grpc(BTreeMap<String, String>),
}

/// How much of a request's body an authorization service is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalBody {
    /// At most so much.
    pub max_bytes: usize,
    /// Of a longer body the beginning is shown; otherwise it is refused.
    pub partial: bool,
    /// Over gRPC, as bytes and not as text.
    pub raw: bool,
}

/// How long a permission counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalCache {
    /// So long.
    pub ttl: Duration,
    /// In what requests must be alike, beside all header fields that the service is shown.
    pub key: Vec<CachePart>,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl CachePart {
    /// All of them.
    pub const ALL: [CachePart; 5] =
        [CachePart::Method, CachePart::Host, CachePart::Path, CachePart::Query, CachePart::Address];
}
