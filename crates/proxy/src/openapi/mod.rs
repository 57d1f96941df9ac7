//! Requests and answers against an OpenAPI description (3.0 and 3.1).
//!
//! | file | what |
//! |---|---|
//! | [`files`] | a description and the files that it refers to, all in the project's folder |
//! | [`yaml`], [`json`] | texts as trees, within bounds |
//! | [`dialect`] | schemas of either version as JSON Schema 2020-12 |
//! | [`api`], [`shape`] | the description, compiled |
//! | [`paths`] | which path a request means |
//! | [`style`] | parameters as they are written |
//! | [`check`], [`steps`] | what is wrong, within bounds |
//! | [`document`] | descriptions in use, read again when their files change |
//! | [`collect`] | bodies, held until they are whole |
//!
//! It runs in [`crate::phase::openapi`]. A route without a description pays one branch.

pub mod api;
pub mod check;
pub mod collect;
pub mod dialect;
pub mod document;
pub mod files;
pub mod json;
pub mod paths;
pub mod shape;
pub mod steps;
pub mod style;
pub mod yaml;

use std::sync::Arc;

use tutti_core::metrics::Counter;
use tutti_ports::routing::OpenApi;

use crate::metrics::Metrics;
use document::{Document, Documents};

/// What a route does with its description.
pub struct OpenApiPlan {
    /// The description.
    pub document: Arc<Document>,
    /// What it does.
    pub rules: OpenApi,
    /// Requests that were not as described.
    pub requests: Arc<Counter>,
    /// Answers that were not as described.
    pub responses: Arc<Counter>,
    /// Bodies that were too long, or coded, to be looked at.
    pub unchecked: Arc<Counter>,
}

impl OpenApiPlan {
    /// Compiles. The error is a sentence.
    pub fn compile(
        route: &str,
        rules: &OpenApi,
        documents: &mut Documents,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let document = documents.get(rules)?;
        let count = |what| metrics.described.with(&[("route", route), ("what", what)]);
        let (requests, responses, unchecked) = (count("request"), count("response"), count("unchecked"));
        Ok(Self { document, rules: rules.clone(), requests, responses, unchecked })
    }
}

#[cfg(test)]
mod tests;
