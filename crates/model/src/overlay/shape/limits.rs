//! The table of [`crate::overlay::types::limits`].

use crate::compose::schema::{Object, Shape, field, object};

pub(super) static LIMITS: Object = object(
    "the limits of the gateway",
    &[
        field("connections_per_client", Shape::Int(0, 1_000_000)),
        field("min_rate", Shape::Int(0, 1_000_000_000)),
        field("min_rate_grace", Shape::Duration),
    ],
);
