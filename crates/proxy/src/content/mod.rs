//! What requests and responses may hold, and how they are written.
//!
//! | file | rule |
//! |---|---|
//! | [`media`] | which media types are meant |
//! | [`cors`] | which pages may read an answer |
//! | [`secure`] | fields for careful browsers |
//! | [`size`] | bodies that end when they are too long |
//! | [`coding`] | which content coding a client wants |
//! | [`encode`], [`decode`] | bodies that are compressed and decompressed as they pass |
//!
//! It runs in [`crate::phase::content`]. A route that says nothing of its content has no plan and pays one branch.

pub mod coding;
pub mod cors;
pub mod decode;
pub mod encode;
pub mod media;
pub mod secure;
pub mod size;

use http::{HeaderValue, Method};
use tutti_ports::routing::{Compression, Content, Decompression, RequestLimits};

use cors::CorsPlan;
use media::Types;
use secure::SecurityPlan;

use crate::openapi::OpenApiPlan;

/// What a route says of content, compiled.
pub struct ContentPlan {
    /// The methods that are taken, and the `Allow` that the others hear of.
    pub methods: Option<(Vec<Method>, HeaderValue)>,
    /// The types of requests' bodies that are taken.
    pub types: Option<Types>,
    /// How large requests may be.
    pub request: Option<RequestLimits>,
    /// How long bodies of responses may be.
    pub response_bytes: Option<u64>,
    /// Which pages may read the answers.
    pub cors: Option<CorsPlan>,
    /// Fields for browsers.
    pub security: Option<SecurityPlan>,
    /// Compression, and the types that are compressed.
    pub compression: Option<(Compression, Types)>,
    /// Decompression.
    pub decompression: Option<Decompression>,
    /// The description that requests and answers are held against.
    pub openapi: Option<OpenApiPlan>,
}

impl ContentPlan {
    /// Compiles; `None` when nothing is said. `web`: pages speak gRPC-Web with the route. The error is a sentence.
    pub fn compile(
        content: &Content,
        web: bool,
        openapi: Option<OpenApiPlan>,
    ) -> Result<Option<Box<Self>>, String> {
        if *content == Content::default() {
            return Ok(None);
        }
        let compression = match &content.compression {
            None => None,
            Some(compression) => Some((compression.clone(), Types::compile(&compression.types)?)),
        };
        let types = if content.types.is_empty() { None } else { Some(Types::compile(&content.types)?) };
        Ok(Some(Box::new(Self {
            methods: methods(&content.methods)?,
            types,
            request: content.request.any().then_some(content.request),
            response_bytes: content.response_bytes,
            cors: content.cors.as_ref().map(|rules| CorsPlan::compile(rules, web)).transpose()?,
            security: content.security.as_ref().map(SecurityPlan::compile).transpose()?,
            compression,
            decompression: content.decompression,
            openapi,
        })))
    }
}

fn methods(names: &[String]) -> Result<Option<(Vec<Method>, HeaderValue)>, String> {
    if names.is_empty() {
        return Ok(None);
    }
    let parse =
        |name: &String| Method::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a method"));
    let methods: Vec<Method> = names.iter().map(parse).collect::<Result<_, _>>()?;
    let allow = HeaderValue::from_str(&names.join(", ")).map_err(|_| "a method is not one".to_owned())?;
    Ok(Some((methods, allow)))
}
