//! The shapes of credentials.

use super::{SEVERAL, not_empty};
use crate::compose::schema::values::TEXTS;
use crate::compose::schema::{Names, Object, Shape, field, object};
use crate::overlay::auth;

pub(super) static AUTH: Object = object(
    "credentials",
    &[
        field("optional", Shape::Bool),
        field("jwt", Shape::Object(&JWT)),
        field("api_key", Shape::Object(&API_KEY)),
        field("basic", Shape::Object(&BASIC)),
    ],
);

static JWT: Object = object(
    "tokens",
    &[
        field("issuer", Shape::Checked(auth::url)),
        field("jwks", Shape::Checked(auth::url)),
        field("jwks_file", Shape::Checked(not_empty)),
        field("audience", SEVERAL),
        field("algorithms", Shape::List(&Shape::OneOf(auth::ALGORITHMS))),
        field("leeway", Shape::Duration),
        field("from", SEVERAL),
        field("headers", Shape::Map(Names::Any, &Shape::Checked(not_empty))),
        field("scopes", TEXTS),
        field("claims", Shape::Map(Names::Any, &SEVERAL)),
    ],
);

static API_KEY: Object = object(
    "API keys",
    &[
        field("from", SEVERAL),
        field("keys", Shape::Map(Names::Any, &Shape::Checked(auth::hash))),
        field("file", Shape::Checked(not_empty)),
    ],
);

static BASIC: Object =
    object("names and passwords", &[field("file", Shape::Checked(not_empty)), field("realm", Shape::Text)])
        .requiring(&["file"]);
