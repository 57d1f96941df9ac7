//! The shapes of what says how requests are recorded and explained.

use super::not_empty;
use crate::compose::schema::{Object, Shape, field, object};
use crate::overlay::observe;

/// Who is told.
pub(super) const EXPLAIN: Shape =
    Shape::Either(&[Shape::Checked(observe::who), Shape::List(&Shape::Checked(super::super::guard::range))]);

/// Where, or the whole.
pub(super) const ACCESS_LOG: Shape = Shape::Either(&[Shape::Checked(not_empty), Shape::Object(&RULES)]);

static RULES: Object = object(
    "the access log",
    &[
        field("to", Shape::Checked(not_empty)),
        field("format", Shape::OneOf(&["json", "text"])),
        field(
            "fields",
            Shape::Either(&[Shape::Checked(observe::field), Shape::List(&Shape::Checked(observe::field))]),
        ),
        field("sample", Shape::Int(0, 100)),
        field("slower_than", Shape::Duration),
        field("max_size", Shape::Bytes),
        field("keep", Shape::Int(0, 10_000)),
    ],
);
