//! The shapes of what says who may ask, and how often.

use super::{SEVERAL, not_empty};
use crate::compose::schema::{Object, Shape, field, object};
use crate::overlay::guard;

/// One range of addresses, or several.
pub(super) const RANGES: Shape =
    Shape::Either(&[Shape::Checked(guard::range), Shape::List(&Shape::Checked(guard::range))]);

/// One limit, or several.
pub(super) const RATE_LIMITS: Shape = Shape::Either(&[
    Shape::Checked(guard::rate),
    Shape::List(&Shape::Either(&[Shape::Checked(guard::rate), Shape::Object(&RATE_LIMIT)])),
]);

static RATE_LIMIT: Object = object(
    "a rate limit",
    &[
        field("rate", Shape::Checked(guard::rate)),
        field("burst", Shape::Int(1, 1_000_000_000)),
        field("key", SEVERAL),
        field("algorithm", Shape::OneOf(&["gcra", "sliding_window"])),
        field("name", Shape::Checked(not_empty)),
        field("when_unavailable", Shape::OneOf(&["open", "closed"])),
    ],
)
.requiring(&["rate"]);
