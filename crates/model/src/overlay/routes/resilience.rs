//! What a route does when things go wrong, read.

use std::time::Duration;

use tutti_core::{code, limits};
use tutti_ports::routing::{DeadlineRule, Resilience, Retries, RetryBudget, RetryOn};

use super::Reader;
use crate::diagnostic::{Problem, Report};
use crate::overlay::types::{self, resilience as written};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// The statuses of gRPC that a server or a proxy may send (grpc/grpc doc/statuscodes.md).
const GRPC: [(&str, u8); 16] = [
    ("cancelled", 1),
    ("unknown", 2),
    ("invalid_argument", 3),
    ("deadline_exceeded", 4),
    ("not_found", 5),
    ("already_exists", 6),
    ("permission_denied", 7),
    ("resource_exhausted", 8),
    ("failed_precondition", 9),
    ("aborted", 10),
    ("out_of_range", 11),
    ("unimplemented", 12),
    ("internal", 13),
    ("unavailable", 14),
    ("data_loss", 15),
    ("unauthenticated", 16),
];

/// A duration that the table has checked.
fn length(text: Option<&String>, default: Duration) -> Duration {
    text.and_then(|text| duration::parse(text).ok()).unwrap_or(default)
}

impl Reader<'_> {
    /// Everything of it.
    pub(super) fn resilience(&mut self, route: &types::Route) -> Resilience {
        Resilience {
            deadline: match route.deadline {
                None | Some(written::Deadline::Honour) => DeadlineRule::Honour,
                Some(written::Deadline::Propagate) => DeadlineRule::Propagate,
                Some(written::Deadline::Ignore) => DeadlineRule::Ignore,
            },
            retries: route.retries.as_ref().map(|retries| self.retries(retries)),
        }
    }

    /// The place of a key within a key of the route.
    fn inner(&self, key: &str, inner: &str) -> Span {
        let node = self.node.get(key);
        node.and_then(|node| node.get(inner)).or(node).map_or(self.node.span, |node| node.span)
    }

    fn retries(&mut self, retries: &written::Retries) -> Retries {
        let default = Retries::default();
        let rules = match retries {
            written::Retries::Attempts(attempts) => return Retries { attempts: *attempts, ..default },
            written::Retries::Long(rules) => rules,
        };
        let on = rules.on.as_ref().map(|words| {
            let place = self.node.get("retries").and_then(|node| node.get("on"));
            let spans = place.map(Node::items).unwrap_or_default().iter().map(|node| node.span);
            words.iter().zip(spans).filter_map(|(word, span)| retry_on(word, span, self.report)).collect()
        });
        let buffer = rules.buffer.as_ref().map(|size| size.bytes().unwrap_or(u64::MAX));
        if buffer.is_some_and(|buffer| buffer > limits::REPLAY_BYTES as u64) {
            let span = self.inner("retries", "buffer");
            self.report.error(code::BAD_VALUE, span, "at most 16 MiB of a body are kept for another try");
        }
        let backoff = length(rules.backoff.as_ref(), default.backoff);
        let max_backoff = length(rules.max_backoff.as_ref(), default.max_backoff.max(backoff));
        if max_backoff < backoff {
            let span = self.inner("retries", "max_backoff");
            self.report.error(code::BAD_VALUE, span, "`max_backoff` is shorter than `backoff`");
        }
        Retries {
            attempts: rules.attempts.unwrap_or(default.attempts),
            on: on.unwrap_or(default.on),
            backoff,
            max_backoff,
            max_retry_after: length(rules.max_retry_after.as_ref(), default.max_retry_after),
            idempotent: rules.idempotent,
            idempotency_key: rules.idempotency_key,
            buffer: buffer.map_or(default.buffer, |buffer| usize::try_from(buffer).unwrap_or(usize::MAX)),
        }
    }
}

fn retry_on(word: &str, span: Span, report: &mut Report) -> Option<RetryOn> {
    if let Some((_, status)) = GRPC.iter().find(|(name, _)| *name == word) {
        return Some(RetryOn::Grpc(*status));
    }
    match (word, word.parse::<u16>()) {
        ("connect_failure", _) => Some(RetryOn::ConnectFailure),
        ("reset", _) => Some(RetryOn::Reset),
        ("timeout", _) => Some(RetryOn::Timeout),
        ("gateway_error", _) => Some(RetryOn::GatewayError),
        ("5xx", _) => Some(RetryOn::ServerError),
        (_, Ok(status @ 400..=599)) => Some(RetryOn::Status(status)),
        _ => {
            let message = format!("`{word}` is not something after which a request can be sent again");
            let hint = "`connect_failure`, `reset`, `timeout`, `gateway_error`, `5xx`, a status from 400 to 599, \
                        or a status of gRPC such as `unavailable`";
            report.add(Problem::error(code::BAD_VALUE, message).at(span).hint(hint));
            None
        }
    }
}

/// The retry budget of an upstream.
pub(crate) fn retry_budget(written: &written::RetryBudget) -> RetryBudget {
    const DEFAULT: RetryBudget = RetryBudget { percent: 15, min_per_second: 10 };
    RetryBudget {
        percent: written.percent.unwrap_or(DEFAULT.percent),
        min_per_second: written.min_per_second.unwrap_or(DEFAULT.min_per_second),
    }
}
