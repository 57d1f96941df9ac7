//! The table of [`crate::overlay::types::filters`].

use super::{CONDITION, HEADERS};
use crate::compose::schema::{Object, Shape, field, object};

pub(super) const GRPC: Shape =
    Shape::Either(&[Shape::Object(&GRPC_MATCH), Shape::List(&Shape::Object(&GRPC_MATCH))]);
pub(super) const MIRROR: Shape = Shape::Either(&[
    Shape::Text,
    Shape::Object(&SHARE),
    Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&SHARE)])),
]);

static GRPC_MATCH: Object =
    object("a gRPC method", &[field("service", CONDITION), field("method", CONDITION)]);
static SHARE: Object = object(
    "a mirror",
    &[
        field("to", Shape::Text),
        field("percent", Shape::Int(0, 100)),
        field("fraction", Shape::Object(&FRACTION)),
        field("request_headers", Shape::Object(&HEADERS)),
    ],
)
.requiring(&["to"]);
static FRACTION: Object = object(
    "a fraction",
    &[field("numerator", Shape::Int(0, 1_000_000)), field("denominator", Shape::Int(1, 1_000_000))],
)
.requiring(&["numerator"]);
