//! How requests are recorded, compiled: which ones, what of them, and where.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tutti_ports::routing::{AccessLog, LogField, LogTo};

use super::line::Line;
use crate::config::{AccessLogOptions, LogFormat};

/// How requests are recorded.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where.
    pub sink: Arc<Sink>,
    /// How a line looks.
    pub format: LogFormat,
    /// What is in it, if that was chosen.
    pub fields: Option<Vec<LogField>>,
    sample: Option<u8>,
    slower_than: Option<Duration>,
}

/// Where lines go.
#[derive(Debug, PartialEq, Eq)]
pub struct Sink {
    /// The file; `None`: standard output.
    pub path: Option<PathBuf>,
    /// Size at which the file is put aside.
    pub rotate_bytes: u64,
    /// How many files that were put aside are kept.
    pub keep: u32,
}

impl Plan {
    /// Compiles what was said, over the engine's default. `None`: nothing is recorded.
    pub fn compile(log: &AccessLog, default: Option<&AccessLogOptions>) -> Option<Arc<Self>> {
        let path = match &log.to {
            LogTo::Off => return None,
            LogTo::Stdout => None,
            LogTo::File(path) => Some(path.clone()),
            LogTo::Default => Some(default?.path.clone()),
        };
        let said = *log != AccessLog::default();
        let usual = AccessLogOptions::json(PathBuf::new());
        let default = default.unwrap_or(&usual);
        let mut fields = log.fields.clone();
        for id in [LogField::RequestId, LogField::TraceId] {
            if !fields.is_empty() && !fields.contains(&id) {
                fields.push(id);
            }
        }
        let sink = Sink {
            path,
            rotate_bytes: log.max_size.unwrap_or(default.rotate_bytes),
            keep: log.keep.unwrap_or(default.keep),
        };
        Some(Arc::new(Self {
            sink: Arc::new(sink),
            format: if said { log.format } else { default.format },
            fields: (!fields.is_empty()).then_some(fields),
            sample: log.sample,
            slower_than: log.slower_than,
        }))
    }

    /// Whether a request is recorded. By its trace, so that all hops of a trace decide alike.
    pub fn wants(&self, line: &Line<'_>) -> bool {
        let Some(percent) = self.sample else { return true };
        line.fault.is_some()
            || line.status >= 400
            || self.slower_than.is_some_and(|most| line.duration > most)
            || line.trace % 100 < u128::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::line;
    use super::*;

    #[test]
    fn failures_and_slow_ones_are_always_wanted_and_of_the_others_a_share() {
        let log = AccessLog {
            to: LogTo::Stdout,
            sample: Some(10),
            slower_than: Some(Duration::from_secs(1)),
            ..AccessLog::default()
        };
        let plan = Plan::compile(&log, None).unwrap();
        let wanted = (0..1_000).filter(|trace| plan.wants(&Line { trace: *trace, ..line("/") }));
        assert_eq!(wanted.count(), 100);
        let never = Line { trace: 99, ..line("/") };
        assert!(!plan.wants(&never));
        assert!(
            plan.wants(&Line { status: 404, ..never }) && plan.wants(&Line { fault: Some("cut"), ..never })
        );
        assert!(plan.wants(&Line { duration: Duration::from_millis(1_001), ..never }));
        assert!(Plan::compile(&AccessLog { to: LogTo::Off, ..AccessLog::default() }, None).is_none());
        assert!(Plan::compile(&AccessLog::default(), None).is_none());
    }

    #[test]
    fn the_ids_are_always_there() {
        let log = AccessLog { to: LogTo::Stdout, fields: vec![LogField::Status], ..AccessLog::default() };
        let plan = Plan::compile(&log, None).unwrap();
        assert_eq!(
            plan.fields.as_ref().unwrap()[..],
            [LogField::Status, LogField::RequestId, LogField::TraceId]
        );
    }
}
