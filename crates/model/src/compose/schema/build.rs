//! The keys of `build` and `develop`.

use super::values::{ENV, FILE_REFERENCES, HOOK, LABELS, TEXTS, ULIMITS};
use super::{Field, NO_IMAGE, Object, Shape, field, object};

const fn image(name: &'static str, shape: Shape) -> Field {
    field(name, shape).without(NO_IMAGE)
}

pub(crate) static BUILD: Object = object(
    "`build`",
    &[
        field("context", Shape::Text),
        field("dockerfile", Shape::Text),
        field("dockerfile_inline", Shape::Text),
        image("entitlements", TEXTS),
        field("args", ENV),
        image("provenance", Shape::Either(&[Shape::Text, Shape::StrictBool])),
        image("sbom", Shape::Either(&[Shape::Text, Shape::StrictBool])),
        image("ssh", ENV),
        image("labels", LABELS),
        image("cache_from", TEXTS),
        image("cache_to", TEXTS),
        image("no_cache", Shape::Bool),
        image("additional_contexts", LABELS),
        image("pull", Shape::Bool),
        image("extra_hosts", super::service::EXTRA_HOSTS),
        image("isolation", Shape::Text),
        image("network", Shape::Text),
        field("target", Shape::Text),
        image("secrets", FILE_REFERENCES),
        image("shm_size", Shape::Bytes),
        image("tags", TEXTS),
        image("ulimits", ULIMITS),
        image("platforms", TEXTS),
        image("privileged", Shape::Bool),
    ],
);

pub(crate) static DEVELOP: Object =
    object("`develop`", &[field("watch", Shape::List(&Shape::Object(&TRIGGER)))]);

static TRIGGER: Object = object(
    "a watch rule",
    &[
        field("path", Shape::Checked(super::values::not_empty)).always(),
        field("action", Shape::OneOf(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])).always(),
        field("target", Shape::Text),
        field("exec", Shape::Object(&HOOK)).always(),
        field("include", Shape::OneOrMany),
        field("ignore", Shape::OneOrMany),
        field("initial_sync", Shape::StrictBool),
    ],
)
.requiring(&["path", "action"]);
