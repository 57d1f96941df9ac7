//! Recognises lines that are JSON objects, as most loggers for machines print them.

use serde_json::Value;

/// What is known of a line that is a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub level: Option<&'static str>,
    /// The message.
    pub message: Option<String>,
    /// The time, as it stands there.
    pub time: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// Everything else, in order of the keys.
    pub rest: Vec<(String, String)>,
}

const LEVEL: &[&str] = &["level", "lvl", "severity", "log.level", "loglevel", "@l"];
const MESSAGE: &[&str] = &["msg", "message", "event", "@m", "body"];
const TIME: &[&str] = &["time", "ts", "timestamp", "@timestamp", "datetime", "@t"];
const TRACE: &[&str] = &["trace_id", "traceId", "traceID", "trace.id", "dd.trace_id"];

/// The parts of a line, if it is a JSON object with a level or a message.
pub fn fields(text: &str) -> Option<Fields> {
    let text = text.trim();
    if !text.starts_with('{') || !text.ends_with('}') {
        return None;
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return None };
    let mut fields = Fields::default();
    for (key, value) in &object {
        let key = key.as_str();
        if LEVEL.contains(&key) && fields.level.is_none() {
            fields.level = level(value);
        } else if MESSAGE.contains(&key) && fields.message.is_none() {
            fields.message = Some(plain(value));
        } else if TIME.contains(&key) && fields.time.is_none() {
            fields.time = Some(plain(value));
        } else if TRACE.contains(&key) && fields.trace_id.is_none() {
            fields.trace_id = Some(plain(value));
        } else {
            fields.rest.push((key.to_owned(), plain(value)));
        }
    }
    (fields.level.is_some() || fields.message.is_some()).then_some(fields)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Words of the usual loggers; numbers as bunyan and pino have them.
fn level(value: &Value) -> Option<&'static str> {
    if let Some(number) = value.as_u64() {
        return Some(match number {
            0..=10 => "trace",
            11..=20 => "debug",
            21..=30 => "info",
            31..=40 => "warn",
            41..=50 => "error",
            _ => "fatal",
        });
    }
    Some(match value.as_str()?.to_ascii_lowercase().as_str() {
        "trace" | "verbose" | "finest" | "silly" => "trace",
        "debug" | "fine" | "dbug" => "debug",
        "info" | "information" | "informational" | "notice" | "default" => "info",
        "warn" | "warning" => "warn",
        "error" | "err" | "severe" => "error",
        "fatal" | "critical" | "crit" | "panic" | "alert" | "emergency" | "emerg" | "dpanic" => "fatal",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_loggers_are_understood() {
        let pino = fields(r#"{"level":50,"time":1700000000000,"pid":7,"msg":"no such item"}"#).unwrap();
        assert_eq!((pino.level, pino.message.as_deref()), (Some("error"), Some("no such item")));
        assert_eq!(pino.rest, [("pid".to_owned(), "7".to_owned())]);
        let zap = fields(r#"{"level":"warn","ts":1.5,"msg":"slow","trace_id":"4bf9"}"#).unwrap();
        assert_eq!((zap.level, zap.trace_id.as_deref()), (Some("warn"), Some("4bf9")));
        let logback =
            fields(r#"{"@timestamp":"2026-01-01T00:00:00Z","message":"up","level":"INFO"}"#).unwrap();
        assert_eq!((logback.level, logback.time.as_deref()), (Some("info"), Some("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn what_is_not_a_log_object_stays_text() {
        for text in ["", "plain", "{broken", "[1]", "{\"a\":1}", "{}", "{\"level\":\"purple\"}"] {
            assert_eq!(fields(text), None, "{text}");
        }
    }
}
