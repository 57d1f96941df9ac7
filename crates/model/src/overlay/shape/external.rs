//! The shape of what says which other service decides.

use super::{SEVERAL, not_empty, path};
use crate::compose::schema::{Names, Object, Shape, field, object};
use crate::overlay::auth;

/// Of a route: `false` takes away what the gateway says.
pub(super) const OF_ROUTE: Shape = Shape::Either(&[Shape::StrictBool, Shape::Object(&EXTERNAL)]);

pub(super) static EXTERNAL: Object = object(
    "external authorization",
    &[
        field("service", Shape::Checked(not_empty)),
        field("url", Shape::Checked(auth::url)),
        field("protocol", Shape::OneOf(&["http", "grpc"])),
        field("path", Shape::Checked(path)),
        field("path_prefix", Shape::Checked(path)),
        field("timeout", Shape::Duration),
        field("when_unavailable", Shape::OneOf(&["open", "closed"])),
        field("allowed_headers", SEVERAL),
        field("allowed_upstream_headers", SEVERAL),
        field("allowed_client_headers", SEVERAL),
        field("allowed_client_headers_on_success", SEVERAL),
        field("sign_in", Shape::Checked(not_empty)),
        field("with_request_body", Shape::Object(&BODY)),
        field("cache", Shape::Object(&CACHE)),
        field("context_extensions", Shape::Map(Names::Any, &Shape::Scalar)),
    ],
);

static BODY: Object = object(
    "the body for an authorization service",
    &[
        field("max_request_bytes", Shape::Bytes),
        field("allow_partial_message", Shape::StrictBool),
        field("pack_as_bytes", Shape::StrictBool),
    ],
);

static CACHE: Object = object(
    "remembered permissions",
    &[
        field("ttl", Shape::Duration),
        field("key", Shape::Set(&Shape::OneOf(&["method", "host", "path", "query", "address"]))),
    ],
)
.requiring(&["ttl"]);
