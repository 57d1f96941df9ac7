//! What `tutti.yaml` may say, as a table: problems are found by it, all at once and with their places.
//!
//! A test holds it against the types that the JSON Schema is made from.

mod acme;
mod auth;
mod content;
mod external;
mod filters;
mod gateway;
mod guard;
mod limits;
mod observe;
mod resilience;
mod streams;
mod upstream;

use crate::compose::schema::values::TEXTS;
use crate::compose::schema::{Names, Object, Shape, field, object};

const PORT: Shape = Shape::Int(1, 65_535);
const LINE: Shape = Shape::Either(&[Shape::Checked(not_empty), TEXTS]);
const SEVERAL: Shape = Shape::Either(&[Shape::Text, TEXTS]);
const VALUE: Shape = Shape::OrNull(&Shape::Either(&[Shape::Scalar, Shape::StrictBool]));
const WORDS: &[&str] = &["http", "h2c", "grpc", "tcp"];

pub(super) static OVERLAY: Object = object(
    "an overlay",
    &[
        field("mode", Shape::OneOf(&["development", "production"])),
        field("services", Shape::Map(Names::Resource, &Shape::OrNull(&Shape::Object(&SERVICE)))),
        field("gateway", Shape::Object(&gateway::GATEWAY)),
        field("routes", Shape::List(&Shape::Object(&ROUTE))),
        field("tcp_routes", Shape::List(&Shape::Object(&streams::TCP_ROUTE))),
        field("tls_routes", Shape::List(&Shape::Object(&streams::TLS_ROUTE))),
    ],
);

static SERVICE: Object = object(
    "a service of the overlay",
    &[
        field("run", LINE),
        field("setup", Shape::List(&LINE)),
        field("dir", Shape::Text),
        field("env", Shape::Map(Names::Any, &VALUE)),
        field("port", PORT),
        field(
            "protocol",
            Shape::Either(&[Shape::OneOf(WORDS), Shape::Map(Names::Any, &Shape::OneOf(WORDS))]),
        ),
        field("health", Shape::Either(&[Shape::Checked(short_health), Shape::Object(&HEALTH)])),
        field("uses", Shape::Set(&Shape::Text)),
        field("skip", Shape::Bool),
        field(
            "external",
            Shape::Either(&[Shape::Checked(address), Shape::Map(Names::Any, &Shape::Checked(address))]),
        ),
        field("replicas", Shape::Int(0, 1_000)),
        field("version", Shape::Scalar),
        field("zone", Shape::Checked(not_empty)),
        field("tags", TEXTS),
        field("weight", Shape::Int(0, 1_000_000)),
        field("upstream", Shape::Object(&upstream::UPSTREAM)),
        field("openapi", content::OPENAPI),
    ],
);

static HEALTH: Object = object(
    "a health check",
    &[
        field("http", Shape::Checked(path)),
        field("tcp", Shape::StrictBool),
        field("grpc", Shape::Text),
        field("command", LINE),
        field("port", PORT),
        field("interval", Shape::Duration),
        field("timeout", Shape::Duration),
        field("retries", Shape::Int(1, 1_000)),
        field("start_period", Shape::Duration),
    ],
);

/// Where a route goes.
const TO: Shape = Shape::Either(&[
    Shape::Text,
    Shape::Object(&WEIGHTED),
    Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&WEIGHTED)])),
]);

static ROUTE: Object = object(
    "a route",
    &[
        field("name", Shape::Checked(not_empty)),
        field("host", SEVERAL),
        field("path", SEVERAL),
        field("path_exact", SEVERAL),
        field("path_regex", SEVERAL),
        field("grpc", filters::GRPC),
        field("method", SEVERAL),
        field("headers", Shape::Map(Names::Any, &CONDITION)),
        field("query", Shape::Map(Names::Any, &CONDITION)),
        field("when", Shape::Checked(crate::overlay::auth::when)),
        field("to", TO),
        field("strip_prefix", Shape::Bool),
        field("rewrite", Shape::Object(&REWRITE)),
        field("redirect", Shape::Object(&REDIRECT)),
        field("mirror", filters::MIRROR),
        field("request_headers", Shape::Object(&HEADERS)),
        field("response_headers", Shape::Object(&HEADERS)),
        field("allow_methods", SEVERAL),
        field("allow_content_types", SEVERAL),
        field("max_request_body", Shape::Bytes),
        field("max_response_body", Shape::Bytes),
        field("max_header_fields", content::COUNT),
        field("max_header_bytes", Shape::Bytes),
        field("max_uri_bytes", Shape::Bytes),
        field("max_query_bytes", Shape::Bytes),
        field("max_query_parameters", content::COUNT),
        field("cors", content::CORS),
        field("security_headers", content::SECURITY),
        field("compression", content::COMPRESSION),
        field("decompress", content::DECOMPRESSION),
        field("grpc_web", Shape::StrictBool),
        field("openapi", content::OPENAPI),
        field("timeout", Shape::Duration),
        field("per_try_timeout", Shape::Duration),
        field("idle_timeout", Shape::Duration),
        field("allow", guard::RANGES),
        field("deny", guard::RANGES),
        field("rate_limit", guard::RATE_LIMITS),
        field("deadline", resilience::DEADLINE),
        field("retries", resilience::RETRIES),
        field("hedge", resilience::HEDGE),
        field("auth", Shape::Object(&auth::AUTH)),
        field("authorize", Shape::Checked(crate::overlay::auth::condition)),
        field("external_auth", external::OF_ROUTE),
        field("access_log", Shape::Bool),
        field("priority", resilience::PRIORITY),
        field("concurrency", resilience::CONCURRENCY),
        field("fallback", Shape::Object(&resilience::FALLBACK)),
        field("fault", Shape::Object(&resilience::FAULT)),
    ],
);

const CONDITION: Shape = Shape::Either(&[Shape::Scalar, Shape::Object(&PATTERN)]);
static PATTERN: Object = object("a condition", &[field("regex", Shape::Text)]).requiring(&["regex"]);
static WEIGHTED: Object = object(
    "a target",
    &[
        field("service", Shape::Text),
        field("weight", Shape::Int(0, 1_000_000)),
        field("request_headers", Shape::Object(&HEADERS)),
        field("response_headers", Shape::Object(&HEADERS)),
        field("subset", Shape::Object(&upstream::SUBSET)),
    ],
)
.requiring(&["service"]);
static REWRITE: Object = object(
    "a rewrite",
    &[field("host", Shape::Text), field("path", Shape::Checked(path)), field("prefix", Shape::Checked(path))],
);
static REDIRECT: Object = object(
    "a redirect",
    &[
        field("scheme", Shape::OneOf(&["http", "https"])),
        field("host", Shape::Text),
        field("port", PORT),
        field("path", Shape::Checked(path)),
        field("prefix", Shape::Checked(path)),
        field("status", Shape::Int(301, 308)),
    ],
);
static HEADERS: Object = object(
    "an edit of headers",
    &[
        field("set", Shape::Map(Names::Any, &Shape::Scalar)),
        field("add", Shape::Map(Names::Any, &Shape::Scalar)),
        field("remove", TEXTS),
    ],
);

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}

fn path(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_graphic() && c != '#';
    if text.starts_with('/') && text.chars().all(plain) {
        Ok(())
    } else {
        Err(format!("`{text}` is not a path: it begins with `/` and has neither spaces nor `#`"))
    }
}

fn short_health(text: &str) -> Result<(), String> {
    if text == "none" { Ok(()) } else { path(text).map_err(|why| format!("{why}, or is `none`")) }
}

/// `host:port`.
fn address(text: &str) -> Result<(), String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(()),
        _ => Err(format!("`{text}` is not an address: it is written `host:port`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;
    use std::collections::BTreeSet;

    fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
        match schema["$ref"].as_str() {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    /// Every object in a schema that can be reached without going through a mapping of the user's names.
    fn objects<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a Json> {
        let schema = resolve(root, schema);
        if schema["properties"].is_object() {
            return vec![schema];
        }
        let parts = schema["anyOf"].as_array().into_iter().flatten();
        let inner = [&schema["items"], &schema["additionalProperties"]];
        parts.chain(inner).filter(|part| part.is_object()).flat_map(|part| objects(root, part)).collect()
    }

    fn inner(shape: &'static Shape) -> Vec<&'static Object> {
        match shape {
            Shape::Object(object) => vec![object],
            Shape::OrNull(shape) | Shape::List(shape) | Shape::Set(shape) | Shape::Map(_, shape) => {
                inner(shape)
            }
            Shape::Either(shapes) => shapes.iter().flat_map(inner).collect(),
            _ => Vec::new(),
        }
    }

    fn same(root: &Json, object: &'static Object, schema: &Json) {
        let schema = resolve(root, schema);
        let words: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let keys: BTreeSet<&str> = object.fields.iter().map(|field| field.name).collect();
        assert_eq!(words, keys, "{}", object.what);
        for field in object.fields {
            let schemas = objects(root, &schema["properties"][field.name]);
            let shapes = inner(&field.shape);
            assert_eq!(schemas.len(), shapes.len(), "{} of {}", field.name, object.what);
            shapes.iter().zip(schemas).for_each(|(object, schema)| same(root, object, schema));
        }
    }

    #[test]
    fn the_table_and_the_types_have_the_same_keys() {
        let schema = crate::overlay::schema();
        same(&schema, &OVERLAY, &schema);
    }
}
