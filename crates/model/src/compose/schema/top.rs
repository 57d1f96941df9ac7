//! The keys at the top of a compose file, and what they name.

use super::service::SERVICE;
use super::values::{LABELS, OPTIONS, TEXTS, WHOLE};
use super::{Names, Object, Shape, field, object};

pub(crate) static TOP: Object = object(
    "a compose file",
    &[
        field("version", Shape::Text),
        field("name", Shape::Text),
        field("include", Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&INCLUDE)]))),
        field("services", Shape::Map(Names::Resource, &Shape::Object(&SERVICE))),
        field("models", Shape::Map(Names::Resource, &Shape::Object(&MODEL))),
        field("networks", Shape::Map(Names::Resource, &Shape::OrNull(&Shape::Object(&NETWORK)))),
        field("volumes", Shape::Map(Names::Resource, &Shape::OrNull(&Shape::Object(&VOLUME)))),
        field("secrets", Shape::Map(Names::Resource, &Shape::Object(&SECRET))),
        field("configs", Shape::Map(Names::Resource, &Shape::Object(&CONFIG))),
    ],
);

static INCLUDE: Object = object(
    "an include",
    &[
        field("path", Shape::OneOrMany),
        field("env_file", Shape::OneOrMany),
        field("project_directory", Shape::Text),
    ],
)
.closed();

static EXTERNAL: Object = object("`external`", &[field("name", Shape::Text)]);
const EXTERNALS: Shape = Shape::Either(&[Shape::Bool, Shape::Object(&EXTERNAL)]);

pub(crate) static NETWORK: Object = object(
    "a network",
    &[
        field("name", Shape::Text),
        field("driver", Shape::Text).without(super::NO_NETWORK),
        field("driver_opts", OPTIONS).without(super::NO_NETWORK),
        field("ipam", Shape::Object(&IPAM)).always().without(super::NO_NETWORK),
        field("external", EXTERNALS),
        field("internal", Shape::Bool).without(super::NO_NETWORK),
        field("attachable", Shape::Bool).without(super::NO_NETWORK),
        field("labels", LABELS),
        field("enable_ipv4", Shape::Bool).given().without(super::NO_NETWORK),
        field("enable_ipv6", Shape::Bool).given().without(super::NO_NETWORK),
    ],
);

static IPAM: Object = object(
    "`ipam`",
    &[
        field("driver", Shape::Text),
        field("config", Shape::List(&Shape::Object(&POOL))),
        field("options", OPTIONS).hidden(),
    ],
);

static POOL: Object = object(
    "an address pool",
    &[
        field("subnet", Shape::Text),
        field("gateway", Shape::Text),
        field("ip_range", Shape::Text),
        field("aux_addresses", OPTIONS),
    ],
);

pub(crate) static VOLUME: Object = object(
    "a volume",
    &[
        field("name", Shape::Text),
        field("driver", Shape::Text).without(super::NO_MOUNT),
        field("driver_opts", OPTIONS).without(super::NO_MOUNT),
        field("external", EXTERNALS),
        field("labels", LABELS),
    ],
);

pub(crate) static SECRET: Object = object(
    "a secret",
    &[
        field("name", Shape::Text),
        field("file", Shape::Text),
        field("environment", Shape::Text),
        field("external", EXTERNALS),
        field("labels", LABELS),
        field("driver", Shape::Text).without(super::NO_SWARM),
        field("driver_opts", OPTIONS).without(super::NO_SWARM),
        field("template_driver", Shape::Text).without(super::NO_SWARM),
    ],
);

pub(crate) static CONFIG: Object = object(
    "a config",
    &[
        field("name", Shape::Text),
        field("file", Shape::Text),
        field("environment", Shape::Text),
        field("content", Shape::Text),
        field("external", EXTERNALS),
        field("labels", LABELS),
        field("template_driver", Shape::Text).without(super::NO_SWARM),
    ],
);

static MODEL: Object = object(
    "a model",
    &[
        field("name", Shape::Text),
        field("model", Shape::Text),
        field("context_size", WHOLE),
        field("runtime_flags", TEXTS),
    ],
)
.requiring(&["model"]);
