//! The keys of `deploy`.

use super::values::{COUNT, DEVICE_FIELDS, LABELS, TEXTS, WHOLE, container};
use super::{NO_SWARM, Object, Shape, field, object};

pub(crate) static DEPLOY: Object = object(
    "`deploy`",
    &[
        field("mode", Shape::Text).without(NO_SWARM),
        field("replicas", COUNT).given(),
        field("labels", LABELS).without(NO_SWARM),
        field("update_config", Shape::Object(&UPDATE)).without("restarts are rolling already"),
        field("rollback_config", Shape::Object(&UPDATE)).without(NO_SWARM),
        field("resources", Shape::Object(&RESOURCES)).always(),
        field("restart_policy", Shape::Object(&RESTART_POLICY)),
        field("placement", Shape::Object(&PLACEMENT)).always().without(NO_SWARM),
        field("endpoint_mode", Shape::Text).without(NO_SWARM),
    ],
);

static UPDATE: Object = object(
    "an update policy",
    &[
        field("parallelism", COUNT).given(),
        field("delay", Shape::Duration),
        field("failure_action", Shape::Text),
        field("monitor", Shape::Duration),
        field("max_failure_ratio", Shape::Number),
        field("order", Shape::OneOf(&["start-first", "stop-first"])),
    ],
);

static RESOURCES: Object = object(
    "`resources`",
    &[
        field("limits", Shape::Object(&LIMITS)).given(),
        container("reservations", Shape::Object(&RESERVATIONS)).given(),
    ],
);

static LIMITS: Object = object(
    "`limits`",
    &[field("cpus", Shape::Number), field("memory", Shape::Bytes), container("pids", WHOLE)],
);

static RESERVATIONS: Object = object(
    "`reservations`",
    &[
        field("cpus", Shape::Number),
        field("memory", Shape::Bytes),
        field("devices", Shape::List(&Shape::Object(&RESERVED_DEVICE))),
        field("generic_resources", Shape::List(&Shape::Object(&GENERIC))),
    ],
);

static RESERVED_DEVICE: Object = object("a request for devices", DEVICE_FIELDS).requiring(&["capabilities"]);

static GENERIC: Object =
    object("a generic resource", &[field("discrete_resource_spec", Shape::Object(&DISCRETE))]);
static DISCRETE: Object =
    object("a discrete resource", &[field("kind", Shape::Text).always(), field("value", WHOLE).always()]);

static RESTART_POLICY: Object = object(
    "`restart_policy`",
    &[
        field("condition", Shape::OneOf(&["none", "on-failure", "any", "no", "always", "unless-stopped"])),
        field("delay", Shape::Duration).given().without("restarts wait longer each time by themselves"),
        field("max_attempts", COUNT).given(),
        field("window", Shape::Duration).given().without("restarts wait longer each time by themselves"),
    ],
);

static PLACEMENT: Object = object(
    "`placement`",
    &[
        field("constraints", TEXTS),
        field("preferences", Shape::List(&Shape::Object(&PREFERENCE))),
        field("max_replicas_per_node", COUNT),
    ],
);
static PREFERENCE: Object = object("a preference", &[field("spread", Shape::Text)]);
