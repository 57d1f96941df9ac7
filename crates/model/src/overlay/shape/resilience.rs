//! What is done when things go wrong, as a table.

use crate::compose::schema::{Names, Object, Shape, field, object};
use crate::overlay::routes::resilience::hedge_after;

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

/// `priority` of a route.
pub(super) const PRIORITY: Shape =
    Shape::Either(&[Shape::OneOf(&["critical", "high", "normal", "low"]), Shape::Int(0, 255)]);
/// `concurrency` of a route or an upstream.
pub(super) const CONCURRENCY: Shape =
    Shape::Either(&[Shape::Int(1, 100_000), Shape::Object(&CONCURRENCY_RULES)]);
/// `adaptive` of an upstream.
pub(super) const ADAPTIVE: Shape =
    Shape::Either(&[Shape::OneOf(&["gradient", "aimd"]), Shape::Object(&ADAPTIVE_RULES)]);

static CONCURRENCY_RULES: Object = object(
    "a limit of concurrency",
    &[
        field("limit", Shape::Int(1, 100_000)),
        field("queue", Shape::Int(0, 100_000)),
        field("queue_timeout", Shape::Duration),
    ],
);

static ADAPTIVE_RULES: Object = object(
    "a limit that is found out",
    &[
        field("rule", Shape::OneOf(&["gradient", "aimd"])),
        field("initial", Shape::Int(1, 100_000)),
        field("min", Shape::Int(1, 100_000)),
        field("max", Shape::Int(1, 100_000)),
        field("timeout", Shape::Duration),
    ],
);

/// `fallback` of a route.
pub(super) static FALLBACK: Object = object(
    "a fallback",
    &[
        field("on", Shape::List(&Shape::Scalar)),
        field("service", Shape::Text),
        field("status", Shape::Int(200, 599)),
        field("body", Shape::Text),
        field("file", Shape::Text),
        field("content_type", Shape::Text),
    ],
);

/// `fault` of a route.
pub(super) static FAULT: Object = object(
    "a fault on purpose",
    &[
        field("percent", Shape::Number),
        field("headers", Shape::Map(Names::Any, &Shape::Scalar)),
        field("delay", Shape::Either(&[Shape::Duration, Shape::Object(&BETWEEN)])),
        field("abort", Shape::Scalar),
        field("reset", Shape::Bool),
        field("throttle", Shape::Bytes),
        field("corrupt", Shape::Bool),
        field("in_production", Shape::Bool),
    ],
);

static BETWEEN: Object = object("a delay", &[field("min", Shape::Duration), field("max", Shape::Duration)])
    .requiring(&["min", "max"]);

/// A second instance that is asked as well.
pub(super) const HEDGE: Shape = Shape::Either(&[Shape::Checked(hedge_after), Shape::Object(&HEDGE_RULES)]);

static HEDGE_RULES: Object = object(
    "a hedge",
    &[
        field("after", Shape::Checked(hedge_after)),
        field("max_extra", Shape::Int(1, tutti_core::limits::HEDGES as i64)),
        field("idempotent", Shape::StrictBool),
    ],
)
.requiring(&["after"]);
