//! What routes match and do beyond paths and fields: gRPC methods and mirrors.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Condition;

/// One or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T: Clone> OneOrMany<T> {
    /// All of them.
    pub(crate) fn list(this: Option<&Self>) -> Vec<T> {
        match this {
            None => Vec::new(),
            Some(Self::One(one)) => vec![one.clone()],
            Some(Self::Many(list)) => list.clone(),
        }
    }
}

/// A gRPC method; what is not said may be any.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcMatch {
    /// The full name of the service, such as `shop.v1.Catalog`.
    pub service: Option<Condition>,
    /// The method.
    pub method: Option<Condition>,
}

/// Where copies of requests go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Mirror {
    /// `service` or `service:port`: of every request.
    Short(String),
    /// Of some.
    Long(MirrorShare),
}

/// A mirror, and how many requests are copied.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorShare {
    /// `service` or `service:port`.
    pub to: String,
    /// How many of a hundred requests; 100 if neither is said.
    pub percent: Option<u32>,
    /// How many of so many requests.
    pub fraction: Option<Fraction>,
    /// Edits of the copy's header.
    pub request_headers: Option<super::HeaderEdit>,
}

/// So many of so many.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fraction {
    /// So many.
    pub numerator: u32,
    /// Of so many; 100 if it is not said.
    pub denominator: Option<u32>,
}
