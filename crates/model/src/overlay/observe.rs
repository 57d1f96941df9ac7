//! `gateway.explain` and `gateway.access_log`. They hold for every listener, published ports included.

use std::path::Path;

use tutti_ports::routing::{AccessLog, Explain, LogField, LogFormat, LogTo, Observe};

use super::types::{self, Several};
use super::{Overlay, guard};
use crate::compose::environment::Environment;
use crate::compose::paths;
use crate::value::duration;

/// What is said of it. The table has checked every value.
pub(crate) fn observe(overlay: &Overlay, folder: &Path, env: &Environment) -> Observe {
    let gateway = overlay.types.gateway.as_ref();
    let explain = match gateway.and_then(|gateway| gateway.explain.as_ref()) {
        // Who depends on an application is not told how it looks inside unless somebody has said so.
        None if overlay.types.mode == types::Mode::Production => Explain::Off,
        None => Explain::default(),
        Some(said) => explain(said),
    };
    let log = gateway.and_then(|gateway| gateway.access_log.as_ref());
    let access_log = log.map(|log| access_log(log, folder, env)).unwrap_or_default();
    Observe { explain, access_log }
}

fn explain(said: &Several) -> Explain {
    match said {
        Several::One(word) if word == "off" => Explain::Off,
        Several::One(word) if word == "loopback" => Explain::Loopback,
        Several::One(word) if word == "on" => Explain::Everybody,
        other => {
            let ranges = Several::list(Some(other));
            Explain::Ranges(ranges.iter().filter_map(|text| text.parse().ok()).collect())
        }
    }
}

fn access_log(said: &types::AccessLog, folder: &Path, env: &Environment) -> AccessLog {
    let place = |text: &str| match text {
        "off" => LogTo::Off,
        "stdout" => LogTo::Stdout,
        path => LogTo::File(paths::absolute(folder, path, env)),
    };
    let rules = match said {
        types::AccessLog::To(to) => return AccessLog { to: place(to), ..AccessLog::default() },
        types::AccessLog::Rules(rules) => rules,
    };
    let fields = Several::list(rules.fields.as_ref());
    AccessLog {
        to: rules.to.as_deref().map(place).unwrap_or_default(),
        format: match rules.format {
            Some(types::LogFormat::Text) => LogFormat::Text,
            Some(types::LogFormat::Json) | None => LogFormat::Json,
        },
        fields: fields.iter().filter_map(|name| LogField::named(name)).collect(),
        sample: rules.sample.and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent < 100),
        slower_than: rules.slower_than.as_deref().and_then(|text| duration::parse(text).ok()),
        max_size: rules.max_size.as_ref().map(types::content::Size::bytes),
        keep: rules.keep,
    }
}

/// Whether a text says who is told.
pub(super) fn who(text: &str) -> Result<(), String> {
    let word = matches!(text, "off" | "loopback" | "on");
    let why = |_| {
        format!("`{text}` is neither `off`, `loopback`, `on` nor an address or range such as `10.0.0.0/8`")
    };
    if word { Ok(()) } else { guard::range(text).map_err(why) }
}

/// Whether a text is a field of the access log.
pub(super) fn field(text: &str) -> Result<(), String> {
    let known = || LogField::ALL.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ");
    let why = || format!("`{text}` is not a field of the access log: there are {}", known());
    LogField::named(text).map(drop).ok_or_else(why)
}
