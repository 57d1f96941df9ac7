//! What is done when things go wrong, as a table.

use crate::compose::schema::{Object, Shape, field, object};

/// `deadline` of a route.
pub(super) const DEADLINE: Shape = Shape::OneOf(&["honour", "propagate", "ignore"]);
/// `retries` of a route.
pub(super) const RETRIES: Shape = Shape::Either(&[Shape::Int(0, 9), Shape::Object(&RETRY_RULES)]);

static RETRY_RULES: Object = object(
    "a route's retries",
    &[
        field("attempts", Shape::Int(0, 9)),
        field("on", Shape::List(&Shape::Scalar)),
        field("backoff", Shape::Duration),
        field("max_backoff", Shape::Duration),
        field("max_retry_after", Shape::Duration),
        field("idempotent", Shape::Bool),
        field("idempotency_key", Shape::Bool),
        field("buffer", Shape::Bytes),
    ],
);

/// `retry_budget` of an upstream.
pub(super) static RETRY_BUDGET: Object = object(
    "a retry budget",
    &[field("percent", Shape::Int(0, 100)), field("min_per_second", Shape::Int(0, 10_000))],
);
