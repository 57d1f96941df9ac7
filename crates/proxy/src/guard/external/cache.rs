//! Permissions that are remembered for a moment.
//!
//! What a service was shown is what tells requests apart: every header field that it could have looked at, and the parts of the request
//! that the route names. So no permission ever counts for somebody who brought another credential.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;
use tutti_core::limits;
use tutti_ports::routing::{CachePart, ExternalCache};

use super::{About, Allowed, ExternalPlan};
use crate::model::forwarded;

/// The permissions of one route.
pub struct Cache {
    ttl: Duration,
    key: Vec<CachePart>,
    known: Mutex<HashMap<Key, (Instant, Arc<Allowed>)>>,
}

/// The hash of all that matters.
pub type Key = [u8; 32];

/// Fields that are new with each request, and that nobody is let in by.
const NEW: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

impl Cache {
    /// An empty one.
    pub fn new(rules: &ExternalCache) -> Self {
        Self { ttl: rules.ttl, key: rules.key.clone(), known: Mutex::default() }
    }

    /// What tells a request from others.
    pub fn key(&self, plan: &ExternalPlan, about: &About<'_>) -> Key {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        let has = |part| self.key.contains(&part);
        let uri = about.request.uri();
        for part in &self.key {
            match part {
                CachePart::Method => add(about.request.method().as_str().as_bytes()),
                CachePart::Host => {
                    add(about.request.headers().get("host").map_or(&[][..], |host| host.as_bytes()));
                }
                CachePart::Path => add(uri.path().as_bytes()),
                CachePart::Query => add(uri.query().unwrap_or_default().as_bytes()),
                CachePart::Address => add(about.client.to_string().as_bytes()),
            }
        }
        let client = about.tls.and_then(|tls| tls.client.as_ref());
        add(client.map_or(&[][..], |client| client.fingerprint.as_bytes()));
        let counts = |name: &HeaderName| {
            let name = name.as_str();
            let of_address = matches!(name, "x-forwarded-for" | "forwarded");
            let of_host = matches!(name, "x-forwarded-host" | "forwarded" | "host");
            !NEW.contains(&name)
                && (!of_address || has(CachePart::Address))
                && (!of_host || has(CachePart::Host))
        };
        let headers = about.request.headers();
        // In no order that a client could choose: two requests that differ only in it ask for the same.
        let mut names: Vec<&HeaderName> = headers.keys().collect();
        names.sort_by_key(|name| name.as_str());
        for name in names {
            if (plan.shows(name) || forwarded::is_claim(name.as_str())) && counts(name) {
                for value in headers.get_all(name) {
                    add(name.as_str().as_bytes());
                    add(value.as_bytes());
                }
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// A permission that still counts.
    pub fn get(&self, key: &Key) -> Option<Arc<Allowed>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, allowed)| Arc::clone(allowed))
    }

    /// Remembers a permission.
    pub fn put(&self, key: Key, allowed: Arc<Allowed>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::EXTERNAL_REMEMBERED {
            let now = Instant::now();
            known.retain(|_, (until, _)| *until > now);
            if known.len() >= limits::EXTERNAL_REMEMBERED {
                known.clear();
            }
        }
        known.insert(key, (Instant::now() + self.ttl, allowed));
    }
}
