//! The shapes of `tcp_routes:` and `tls_routes:`.

use super::{PORT, SEVERAL, TO, guard, not_empty};
use crate::compose::schema::{Object, Shape, field, object};

const LISTEN: Shape = Shape::Either(&[Shape::Text, PORT]);

pub(super) static TCP_ROUTE: Object = object(
    "a TCP route",
    &[
        field("name", Shape::Checked(not_empty)),
        field("listen", LISTEN),
        field("to", TO),
        field("allow", guard::RANGES),
        field("deny", guard::RANGES),
        field("connect_timeout", Shape::Duration),
        field("idle_timeout", Shape::Duration),
    ],
)
.requiring(&["listen", "to"]);

pub(super) static TLS_ROUTE: Object = object(
    "a TLS route",
    &[
        field("name", Shape::Checked(not_empty)),
        field("listen", LISTEN),
        field("host", SEVERAL),
        field("alpn", SEVERAL),
        field("to", TO),
        field("allow", guard::RANGES),
        field("deny", guard::RANGES),
        field("connect_timeout", Shape::Duration),
        field("idle_timeout", Shape::Duration),
    ],
)
.requiring(&["to"]);
