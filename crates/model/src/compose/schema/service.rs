//! The keys of a service.

use super::build::{BUILD, DEVELOP};
use super::deploy::DEPLOY;
use super::values::{
    BLKIO, DEVICE_REQUEST, ENV, FILE_REFERENCES, HOOK, LABELS, OPTIONS, TEXT_SET, TEXTS, ULIMITS, WHOLE,
    container, container_name, pull_policy, restart, signal_name,
};
use super::{Effect, Field, NO_IMAGE, NO_MOUNT, NO_NETWORK, Names, Object, Shape, field, object};

const fn network(name: &'static str, shape: Shape) -> Field {
    field(name, shape).without(NO_NETWORK)
}

const fn mount(name: &'static str, shape: Shape) -> Field {
    field(name, shape).without(NO_MOUNT)
}

pub(crate) const EXTRA_HOSTS: Shape = Shape::Either(&[
    Shape::List(&Shape::Text),
    Shape::Map(Names::Any, &Shape::Either(&[Shape::Text, Shape::List(&Shape::Text)])),
]);

pub(crate) static SERVICE: Object = object("a service", FIELDS);

static FIELDS: &[Field] = &[
    field("annotations", LABELS).without(NO_IMAGE),
    field("attach", Shape::Bool).given().without("`tutti logs SERVICE` chooses what is shown"),
    field("build", Shape::Either(&[Shape::Text, Shape::Object(&BUILD)])),
    container("blkio_config", Shape::Object(&BLKIO)),
    container("cap_add", TEXT_SET),
    container("cap_drop", TEXT_SET),
    container("cgroup", Shape::OneOf(&["host", "private"])),
    container("cgroup_parent", Shape::Text),
    field("command", Shape::Command).always(),
    mount("configs", FILE_REFERENCES),
    field("container_name", Shape::Checked(container_name)),
    container("cpu_count", Shape::Int(0, i64::MAX)),
    container("cpu_percent", Shape::Number),
    container("cpu_period", WHOLE),
    container("cpu_quota", WHOLE),
    container("cpu_rt_period", WHOLE),
    container("cpu_rt_runtime", WHOLE),
    container("cpu_shares", WHOLE),
    field("cpus", Shape::Number),
    container("cpuset", Shape::Text),
    container("credential_spec", Shape::Object(&CREDENTIAL_SPEC)),
    field("depends_on", Shape::Either(&[TEXT_SET, Shape::Map(Names::Resource, &Shape::Object(&DEPENDENCY))])),
    field("deploy", Shape::OrNull(&Shape::Object(&DEPLOY))),
    field("develop", Shape::OrNull(&Shape::Object(&DEVELOP)))
        .without("files are not watched in this version"),
    container("device_cgroup_rules", TEXT_SET),
    container("devices", Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&DEVICE)]))),
    network("dns", Shape::OneOrMany),
    network("dns_opt", TEXT_SET),
    network("dns_search", Shape::OneOrMany),
    network("domainname", Shape::Text),
    field("entrypoint", Shape::Command).always(),
    field(
        "env_file",
        Shape::Either(&[Shape::Text, Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&ENV_FILE)]))]),
    )
    .hidden(),
    field("environment", ENV),
    field("expose", Shape::Set(&Shape::Scalar)),
    field("extends", Shape::Either(&[Shape::Text, Shape::Object(&EXTENDS)])).hidden(),
    network("external_links", TEXT_SET),
    network("extra_hosts", EXTRA_HOSTS),
    container("gpus", Shape::Either(&[Shape::OneOf(&["all"]), Shape::List(&Shape::Object(&DEVICE_REQUEST))])),
    container("group_add", Shape::Set(&Shape::Scalar)),
    field("healthcheck", Shape::Object(&HEALTHCHECK)),
    field("hostname", Shape::Text),
    field("image", Shape::Text),
    field("init", Shape::Bool).given(),
    container("ipc", Shape::Text),
    container("isolation", Shape::Text),
    field("label_file", Shape::OneOrMany).hidden(),
    field("labels", LABELS),
    field("links", TEXT_SET),
    field("logging", Shape::Object(&LOGGING)).without("Tutti keeps, rotates and shows the output itself"),
    network("mac_address", Shape::Text),
    field("mem_limit", Shape::Bytes),
    container("mem_reservation", Shape::Bytes),
    container("mem_swappiness", Shape::Bytes),
    container("memswap_limit", Shape::Bytes),
    field(
        "models",
        Shape::Either(&[TEXT_SET, Shape::Map(Names::Resource, &Shape::OrNull(&Shape::Object(&MODEL_USE)))]),
    )
    .without("language models are not run in this version"),
    network("network_mode", Shape::Text),
    field(
        "networks",
        Shape::Either(&[TEXT_SET, Shape::Map(Names::Resource, &Shape::OrNull(&Shape::Object(&NETWORK_USE)))]),
    ),
    container("oom_kill_disable", Shape::Bool),
    container("oom_score_adj", Shape::Int(-1000, 1000)),
    container("pid", Shape::OrNull(&Shape::Text)),
    container("pids_limit", WHOLE),
    field("platform", Shape::Text).without(NO_IMAGE),
    field("ports", Shape::List(&Shape::Either(&[Shape::Text, Shape::Int(0, 65535), Shape::Object(&PORT)]))),
    field("post_start", Shape::List(&Shape::Object(&HOOK))).without("hooks are not run in this version"),
    field("pre_stop", Shape::List(&Shape::Object(&HOOK))).without("hooks are not run in this version"),
    container("privileged", Shape::Bool),
    field("profiles", TEXT_SET),
    field("provider", Shape::Object(&PROVIDER)).without("providers are plug-ins of Docker Compose"),
    field("pull_policy", Shape::Checked(pull_policy)).without(NO_IMAGE),
    field("pull_refresh_after", Shape::Text).hidden().without(NO_IMAGE),
    container("read_only", Shape::Bool),
    field("restart", Shape::Checked(restart)),
    container("runtime", Shape::Text),
    field("scale", Shape::Int(0, i64::MAX)).given(),
    mount("secrets", FILE_REFERENCES),
    container("security_opt", TEXT_SET),
    container("shm_size", Shape::Bytes),
    field("stdin_open", Shape::Bool).without("services have no terminal; `tutti exec` opens one"),
    field("stop_grace_period", Shape::Duration).given(),
    field("stop_signal", Shape::Checked(signal_name)),
    container("storage_opt", OPTIONS),
    container("sysctls", LABELS),
    mount("tmpfs", Shape::OneOrMany),
    field("tty", Shape::Bool).without("services have no terminal; `tutti exec` opens one"),
    container("ulimits", ULIMITS),
    container("use_api_socket", Shape::StrictBool),
    container("user", Shape::Text),
    container("userns_mode", Shape::Text),
    container("uts", Shape::Text),
    mount("volumes", Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&VOLUME_USE)]))),
    mount("volumes_from", TEXT_SET),
    field("working_dir", Shape::Text),
];

static CREDENTIAL_SPEC: Object = object(
    "`credential_spec`",
    &[field("config", Shape::Text), field("file", Shape::Text), field("registry", Shape::Text)],
);

/// `condition` has a default although the Specification asks for it, because Compose gives it one when files merge.
static DEPENDENCY: Object = object(
    "a dependency",
    &[
        field(
            "condition",
            Shape::OneOf(&["service_started", "service_healthy", "service_completed_successfully"]),
        ),
        field("restart", Shape::Bool),
        field("required", Shape::StrictBool).always(),
    ],
);

static DEVICE: Object = object(
    "a device",
    &[field("source", Shape::Text), field("target", Shape::Text), field("permissions", Shape::Text)],
)
.requiring(&["source"]);

static ENV_FILE: Object = object(
    "an `env_file`",
    &[
        field("path", Shape::Text),
        field("required", Shape::Bool).always(),
        field("format", Shape::OneOf(&["", "raw"])),
    ],
)
.requiring(&["path"])
.closed();

static EXTENDS: Object = object("`extends`", &[field("service", Shape::Text), field("file", Shape::Text)])
    .requiring(&["service"])
    .closed();

static HEALTHCHECK: Object = object(
    "a health check",
    &[
        field("test", Shape::Either(&[Shape::Text, TEXTS])),
        field("timeout", Shape::Duration).given(),
        field("interval", Shape::Duration).given(),
        field("retries", Shape::Int(0, i64::MAX)).given(),
        field("start_period", Shape::Duration).given(),
        field("start_interval", Shape::Duration).given(),
        field("disable", Shape::Bool),
    ],
);

static LOGGING: Object = object("`logging`", &[field("driver", Shape::Text), field("options", OPTIONS)]);

static MODEL_USE: Object =
    object("the use of a model", &[field("endpoint_var", Shape::Text), field("model_var", Shape::Text)]);

static NETWORK_USE: Object = object(
    "the use of a network",
    &[
        field("aliases", TEXT_SET),
        network("driver_opts", OPTIONS),
        network("gw_priority", Shape::Number),
        network("interface_name", Shape::Text),
        network("ipv4_address", Shape::Text),
        network("ipv6_address", Shape::Text),
        network("link_local_ips", TEXT_SET),
        network("mac_address", Shape::Text),
        Field { effect: Effect::Full, ..network("priority", Shape::Number) },
    ],
);

static PORT: Object = object(
    "a port",
    &[
        field("name", Shape::Text),
        field("mode", Shape::Text),
        field("host_ip", Shape::Text),
        field("target", Shape::Int(1, 65535)),
        field("published", Shape::Scalar),
        field("protocol", Shape::OneOf(&["tcp", "udp", "sctp"])),
        field("app_protocol", Shape::Text),
    ],
)
.requiring(&["target"]);

static PROVIDER: Object = object(
    "a provider",
    &[
        field("type", Shape::Text),
        field(
            "options",
            Shape::Map(
                Names::Any,
                &Shape::Either(&[Shape::Scalar, Shape::StrictBool, Shape::List(&Shape::Scalar)]),
            ),
        ),
    ],
)
.requiring(&["type"]);

static VOLUME_USE: Object = object(
    "a mount",
    &[
        field("type", Shape::OneOf(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
        field("source", Shape::Text),
        field("target", Shape::Text),
        field("read_only", Shape::Bool),
        field("consistency", Shape::Text),
        field("bind", Shape::Object(&BIND)).given(),
        field("volume", Shape::Object(&VOLUME_OPTIONS)).given(),
        field("tmpfs", Shape::Object(&TMPFS)).given(),
        field("image", Shape::Object(&IMAGE)).given(),
    ],
)
.requiring(&["type", "target"]);

static BIND: Object = object(
    "`bind`",
    &[
        field("selinux", Shape::OneOf(&["z", "Z"])),
        field("propagation", Shape::Text),
        field("create_host_path", Shape::Bool),
        field("recursive", Shape::OneOf(&["enabled", "disabled", "writable", "readonly"])),
    ],
);
static VOLUME_OPTIONS: Object = object(
    "`volume`",
    &[field("labels", LABELS), field("nocopy", Shape::Bool), field("subpath", Shape::Text)],
);
static TMPFS: Object = object("`tmpfs`", &[field("size", Shape::Bytes), field("mode", WHOLE)]);
static IMAGE: Object = object("`image`", &[field("subpath", Shape::Text)]);
