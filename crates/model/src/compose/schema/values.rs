//! Shapes and checks that several key groups share.

use super::{Blank, Field, NO_CONTAINER, Names, Object, Shape, field, object};
use crate::value::signal;

pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);
pub(crate) const TEXT_SET: Shape = Shape::Set(&Shape::Text);
pub(crate) const ENV: Shape = Shape::Dict(Blank::Null);
pub(crate) const LABELS: Shape = Shape::Dict(Blank::Empty);
pub(crate) const OPTIONS: Shape = Shape::Map(Names::Any, &Shape::OrNull(&Shape::Scalar));
pub(crate) const WHOLE: Shape = Shape::Int(i64::MIN, i64::MAX);
pub(crate) const COUNT: Shape = Shape::Int(0, i64::MAX);

/// A file of `secrets` or `configs` as a service sees it.
pub(crate) static FILE_REFERENCE: Object = object(
    "a reference to a secret or config",
    &[
        field("source", Shape::Text),
        field("target", Shape::Text),
        field("uid", Shape::Text),
        field("gid", Shape::Text),
        field("mode", Shape::Either(&[Shape::Checked(octal), COUNT])).given(),
    ],
);
pub(crate) const FILE_REFERENCES: Shape =
    Shape::List(&Shape::Either(&[Shape::Text, Shape::Object(&FILE_REFERENCE)]));

static ULIMIT: Object =
    object("a limit", &[field("soft", WHOLE), field("hard", WHOLE)]).requiring(&["soft", "hard"]);
pub(crate) const ULIMITS: Shape = Shape::Map(Names::Any, &Shape::Either(&[WHOLE, Shape::Object(&ULIMIT)]));

/// A command that Compose runs beside a service.
pub(crate) static HOOK: Object = object(
    "a hook",
    &[
        field("command", Shape::Command).always(),
        field("user", Shape::Text),
        field("privileged", Shape::Bool),
        field("working_dir", Shape::Text),
        field("environment", ENV),
    ],
)
.requiring(&["command"]);

/// A request for devices such as GPUs.
pub(crate) static DEVICE_REQUEST: Object = object("a request for devices", DEVICE_FIELDS);
pub(crate) const DEVICE_FIELDS: &[Field] = &[
    field("capabilities", TEXT_SET),
    field("driver", Shape::Text),
    field("count", Shape::Either(&[Shape::Text, Shape::Int(-1, i64::MAX)])),
    field("device_ids", TEXT_SET),
    field("options", LABELS),
];

/// The keys of `blkio_config`; the names of its entries are printed in capitals, as Compose does.
pub(crate) static BLKIO: Object = object(
    "`blkio_config`",
    &[
        field("weight", COUNT),
        field("weight_device", Shape::List(&Shape::Object(&BLKIO_WEIGHT))),
        field("device_read_bps", Shape::List(&Shape::Object(&BLKIO_RATE))),
        field("device_read_iops", Shape::List(&Shape::Object(&BLKIO_RATE))),
        field("device_write_bps", Shape::List(&Shape::Object(&BLKIO_RATE))),
        field("device_write_iops", Shape::List(&Shape::Object(&BLKIO_RATE))),
    ],
)
.closed();
pub(crate) static BLKIO_WEIGHT: Object =
    object("a device's weight", &[field("path", Shape::Text).always(), field("weight", COUNT).always()])
        .closed();
pub(crate) static BLKIO_RATE: Object =
    object("a device's rate", &[field("path", Shape::Text).always(), field("rate", Shape::Bytes).always()])
        .closed();

pub(crate) const fn container(name: &'static str, shape: Shape) -> Field {
    field(name, shape).without(NO_CONTAINER)
}

pub(crate) fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}

pub(crate) fn signal_name(text: &str) -> Result<(), String> {
    signal::parse(text).map(|_| ())
}

fn octal(text: &str) -> Result<(), String> {
    i64::from_str_radix(text, 8).map(|_| ()).map_err(|_| format!("`{text}` is not an octal number"))
}

pub(crate) fn restart(text: &str) -> Result<(), String> {
    let count = text.strip_prefix("on-failure:");
    match text {
        "" | "no" | "always" | "on-failure" | "unless-stopped" => Ok(()),
        _ if count.is_some_and(|count| count.parse::<u32>().is_ok()) => Ok(()),
        _ => Err("it is one of no, always, on-failure, on-failure:N and unless-stopped".to_owned()),
    }
}

pub(crate) fn pull_policy(text: &str) -> Result<(), String> {
    match text {
        "always" | "never" | "build" | "if_not_present" | "missing" | "refresh" | "daily" | "weekly" => {
            Ok(())
        }
        _ if text.strip_prefix("every_").is_some_and(|every| !every.is_empty()) => Ok(()),
        _ => Err("it is one of always, never, missing, build, daily, weekly and every_DURATION".to_owned()),
    }
}

/// Docker's rule: a letter or digit, then at least one of letters, digits, `_`, `.` and `-`.
pub(crate) fn container_name(text: &str) -> Result<(), String> {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if first && text.len() > 1 && chars.all(allowed) {
        Ok(())
    } else {
        Err("a container's name has two or more letters, digits, `_`, `.` and `-`, beginning with a letter or digit"
            .to_owned())
    }
}
