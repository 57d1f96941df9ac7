//! The table of `services.NAME.upstream`, and of subsets.

use crate::compose::schema::values::TEXTS;
use crate::compose::schema::{Names, Object, Shape, field, object};

pub(in crate::overlay) static UPSTREAM: Object = object(
    "an upstream",
    &[
        field(
            "balance",
            Shape::OneOf(&["least_request", "round_robin", "random", "peak_ewma", "ring_hash", "maglev"]),
        ),
        field("hash_on", Shape::Either(&[Shape::OneOf(&["source", "path", "uri"]), Shape::Object(&HASH_ON)])),
        field("bounded_load", Shape::Int(101, 10_000)),
        field("sticky", Shape::Either(&[Shape::Checked(token), Shape::Object(&STICKY)])),
        field("slow_start", Shape::Either(&[Shape::Duration, Shape::Object(&SLOW_START)])),
        field("panic_threshold", Shape::Int(0, 100)),
        field("prefer_zone", Shape::Bool),
        field("overprovisioning", Shape::Int(100, 10_000)),
        field("failover", Shape::Text),
        field("retry_budget", Shape::Object(&super::resilience::RETRY_BUDGET)),
        field("concurrency", super::resilience::CONCURRENCY),
        field("adaptive", super::resilience::ADAPTIVE),
        field("outlier", Shape::Either(&[Shape::StrictBool, Shape::Object(&OUTLIER)])),
        field("breaker", Shape::Either(&[Shape::StrictBool, Shape::Object(&BREAKER)])),
        field("proxy_protocol", Shape::OneOf(&["v1", "v2"])),
        field("tls", Shape::Either(&[Shape::StrictBool, Shape::Object(&TLS)])),
        field("health_check", Shape::Object(&HEALTH_CHECK)),
        field("door", Shape::Object(&DOOR)),
    ],
);

const FILLED: Shape = Shape::Checked(super::not_empty);

static TLS: Object = object(
    "TLS to a service",
    &[
        field("ca", FILLED),
        field("server_name", FILLED),
        field("cert", FILLED),
        field("key", FILLED),
        field("min_version", Shape::Scalar),
        field("insecure_skip_verify", Shape::StrictBool),
    ],
);

static HEALTH_CHECK: Object = object(
    "what health checks speak",
    &[field("tls", Shape::StrictBool), field("proxy_protocol", Shape::StrictBool)],
);

static DOOR: Object = object(
    "a door",
    &[
        field("timeout", Shape::Duration),
        field("per_try_timeout", Shape::Duration),
        field("idle_timeout", Shape::Duration),
        field("retries", super::resilience::RETRIES),
        field("hedge", super::resilience::HEDGE),
    ],
);

const STREAK: Shape = Shape::Int(0, 10_000);
const COUNT: Shape = Shape::Int(1, 1_000_000);
const PERCENT: Shape = Shape::Int(1, 100);

static OUTLIER: Object = object(
    "the ejection of outliers",
    &[
        field("consecutive_5xx", STREAK),
        field("consecutive_gateway_errors", STREAK),
        field("consecutive_local_failures", STREAK),
        field("success_rate", Shape::Object(&SUCCESS_RATE)),
        field("failure_percentage", Shape::Object(&FAILURE_PERCENTAGE)),
        field("latency", Shape::Object(&LATENCY)),
        field("interval", Shape::Duration),
        field("base_ejection", Shape::Duration),
        field("max_ejection", Shape::Duration),
        field("max_ejection_percent", Shape::Int(0, 100)),
    ],
);

static SUCCESS_RATE: Object = object(
    "a success rate",
    &[field("stdev_factor", Shape::Number), field("minimum_hosts", COUNT), field("request_volume", COUNT)],
);

static FAILURE_PERCENTAGE: Object = object(
    "a failure percentage",
    &[field("threshold", PERCENT), field("minimum_hosts", COUNT), field("request_volume", COUNT)],
);

static LATENCY: Object = object(
    "a rule for latency",
    &[
        field("factor", Shape::Number),
        field("minimum", Shape::Duration),
        field("minimum_hosts", COUNT),
        field("request_volume", COUNT),
    ],
);

static BREAKER: Object = object(
    "a circuit breaker",
    &[
        field("window", Shape::Duration),
        field("minimum", COUNT),
        field("failure_percent", PERCENT),
        field("open", Shape::Duration),
        field("open_max", Shape::Duration),
        field("probes", Shape::Int(1, 1_000)),
    ],
);

static HASH_ON: Object = object(
    "what requests are placed by",
    &[
        field("header", Shape::Checked(token)),
        field("cookie", Shape::Checked(token)),
        field("query", Shape::Checked(super::not_empty)),
    ],
);

static STICKY: Object = object(
    "a sticky cookie",
    &[
        field("cookie", Shape::Checked(token)),
        field("ttl", Shape::Duration),
        field("path", Shape::Checked(cookie_path)),
        field("secure", Shape::Bool),
        field("same_site", Shape::OneOf(&["lax", "strict", "none"])),
    ],
);

static SLOW_START: Object =
    object("a slow start", &[field("window", Shape::Duration), field("minimum", Shape::Int(1, 100))])
        .requiring(&["window"]);

pub(super) static SUBSET: Object = object(
    "a subset",
    &[
        field("version", Shape::Scalar),
        field("tags", TEXTS),
        field("labels", Shape::Map(Names::Any, &Shape::Scalar)),
        field("fallback", Shape::OneOf(&["none", "any"])),
    ],
);

/// RFC 9110 section 5.6.2: names of header fields and of cookies are tokens.
fn token(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(format!("`{text}` is not a name: letters, digits and `-_.` make one"))
    }
}

/// RFC 6265 section 4.1.1: a path ends where the next attribute begins.
fn cookie_path(text: &str) -> Result<(), String> {
    if text.contains(';') { Err(format!("`{text}` has a `;`")) } else { super::path(text) }
}
