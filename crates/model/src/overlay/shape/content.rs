//! The shapes of what requests and responses of a route may hold.

use super::{SEVERAL, not_empty};
use crate::compose::schema::{Object, Shape, field, object};

pub(super) const COUNT: Shape = Shape::Int(1, 1_000_000);
pub(super) const CORS: Shape = Shape::Object(&CORS_RULES);
pub(super) const SECURITY: Shape = Shape::Either(&[Shape::StrictBool, Shape::Object(&SECURITY_HEADERS)]);
pub(super) const COMPRESSION: Shape = Shape::Either(&[Shape::StrictBool, Shape::Object(&COMPRESSION_RULES)]);
pub(super) const DECOMPRESSION: Shape =
    Shape::Either(&[Shape::StrictBool, Shape::Object(&DECOMPRESSION_LIMITS)]);

pub(super) const OPENAPI: Shape = Shape::Either(&[Shape::Checked(not_empty), Shape::Object(&OPENAPI_RULES)]);
const MODE: Shape = Shape::OneOf(&["off", "report", "enforce"]);

static OPENAPI_RULES: Object = object(
    "a description",
    &[
        field("file", Shape::Checked(not_empty)),
        field("base_path", Shape::Checked(super::path)),
        field("requests", MODE),
        field("responses", MODE),
        field("unknown_paths", Shape::OneOf(&["refuse", "pass"])),
        field("max_body", Shape::Bytes),
    ],
)
.requiring(&["file"]);

static CORS_RULES: Object = object(
    "cors",
    &[
        field("origins", SEVERAL),
        field("methods", SEVERAL),
        field("headers", SEVERAL),
        field("expose", SEVERAL),
        field("credentials", Shape::StrictBool),
        field("max_age", Shape::Duration),
        field("private_network", Shape::StrictBool),
    ],
)
.requiring(&["origins"]);

static SECURITY_HEADERS: Object = object(
    "security headers",
    &[
        field("hsts", Shape::Checked(not_empty)),
        field("nosniff", Shape::StrictBool),
        field("frame_options", Shape::Checked(not_empty)),
        field("content_security_policy", Shape::Checked(not_empty)),
        field("referrer_policy", Shape::Checked(not_empty)),
        field("permissions_policy", Shape::Checked(not_empty)),
    ],
);

static COMPRESSION_RULES: Object = object(
    "compression",
    &[
        field("codings", Shape::Set(&Shape::OneOf(&["br", "zstd", "gzip"]))),
        field("min_size", Shape::Bytes),
        field("types", SEVERAL),
        field("level", Shape::Int(1, 9)),
    ],
);

static DECOMPRESSION_LIMITS: Object =
    object("decompression", &[field("max_size", Shape::Bytes), field("max_ratio", Shape::Int(1, 100_000))]);
