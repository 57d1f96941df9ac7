//! What a route does when things go wrong, read.

use std::time::Duration;

use tutti_core::{code, limits};
use tutti_ports::routing::{
    Abort, Adaptive, AdaptiveRule, Concurrency, DeadlineRule, Fallback, FallbackOn, FallbackTo, FaultRule,
    Hedge, HedgeAfter, NORMAL_PRIORITY, Resilience, Retries, RetryBudget, RetryOn,
};

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
            retries: route.retries.as_ref().map(|said| retries(self.node, self.report, said)),
            hedge: route.hedge.as_ref().and_then(hedge),
            priority: route.priority.as_ref().map(priority),
            concurrency: route.concurrency.as_ref().and_then(|limit| self.concurrency(limit)),
            fallback: route.fallback.as_ref().and_then(|fallback| self.fallback(fallback)),
            fault: route.fault.as_ref().and_then(|fault| self.fault(fault)),
        }
    }

    /// The place of a key within a key of the route.
    fn inner(&self, key: &str, inner: &str) -> Span {
        let node = self.node.get(key);
        node.and_then(|node| node.get(inner)).or(node).map_or(self.node.span, |node| node.span)
    }
}

/// When a request is sent again, as a node with a key `retries` says it.
pub(crate) fn retries(node: &Node, report: &mut Report, said: &written::Retries) -> Retries {
    let place = node.get("retries");
    let span = |key: &str| {
        let inner = place.and_then(|place| place.get(key)).or(place);
        inner.map_or(node.span, |inner| inner.span)
    };
    let default = Retries::default();
    let rules = match said {
        written::Retries::Attempts(attempts) => return Retries { attempts: *attempts, ..default },
        written::Retries::Long(rules) => rules,
    };
    let on = rules.on.as_ref().map(|words| {
        let items = place.and_then(|place| place.get("on")).map(Node::items).unwrap_or_default();
        let spans = items.iter().map(|node| node.span);
        words.iter().zip(spans).filter_map(|(word, span)| retry_on(&word.text(), span, report)).collect()
    });
    let buffer = rules.buffer.as_ref().map(|size| size.bytes().unwrap_or(u64::MAX));
    if buffer.is_some_and(|buffer| buffer > limits::REPLAY_BYTES as u64) {
        report.error(code::BAD_VALUE, span("buffer"), "at most 16 MiB of a body are kept for another try");
    }
    let backoff = length(rules.backoff.as_ref(), default.backoff);
    let max_backoff = length(rules.max_backoff.as_ref(), default.max_backoff.max(backoff));
    if max_backoff < backoff {
        report.error(code::BAD_VALUE, span("max_backoff"), "`max_backoff` is shorter than `backoff`");
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

/// What fallbacks and faults need to know beside the route.
impl Reader<'_> {
    /// A problem of a key within a key.
    fn wrong(&mut self, key: &str, inner: &str, message: impl Into<String>) {
        let span = self.inner(key, inner);
        self.report.error(code::BAD_VALUE, span, message.into());
    }

    fn concurrency(&mut self, written: &written::Concurrency) -> Option<Concurrency> {
        let rules = concurrency(written);
        if rules.limit.is_none() {
            self.wrong("concurrency", "limit", "`concurrency` of a route needs a `limit`");
        }
        Some(rules)
    }

    fn fallback(&mut self, written: &written::Fallback) -> Option<Fallback> {
        let on = match &written.on {
            None => vec![
                FallbackOn::Unavailable,
                FallbackOn::ConnectFailure,
                FallbackOn::Reset,
                FallbackOn::Timeout,
                FallbackOn::Overloaded,
                FallbackOn::GatewayError,
            ],
            Some(words) => words.iter().filter_map(|word| self.fallback_on(&word.text())).collect(),
        };
        let answer = written.body.is_some() || written.file.is_some() || written.status.is_some();
        let to = match (&written.service, answer) {
            (Some(_), true) => {
                self.wrong("fallback", "service", "`service` and an answer of its own exclude each other");
                return None;
            }
            (Some(service), false) => {
                let span = self.inner("fallback", "service");
                FallbackTo::Service(self.backend(service, 1, span)?)
            }
            (None, false) => {
                self.wrong("fallback", "", "a fallback needs a `service`, or a `status`, `body` or `file`");
                return None;
            }
            (None, true) => self.answer(written)?,
        };
        Some(Fallback { on, to })
    }

    fn answer(&mut self, written: &written::Fallback) -> Option<FallbackTo> {
        let body = match (&written.body, &written.file) {
            (Some(_), Some(_)) => {
                self.wrong("fallback", "file", "`body` and `file` exclude each other");
                return None;
            }
            (Some(body), None) => body.clone(),
            (None, Some(file)) => match crate::source::read_text(&self.folder.join(file)) {
                Ok(text) => text,
                Err((error, _)) => {
                    let span = self.inner("fallback", "file");
                    let message = format!("`{file}` cannot be read: {error}");
                    self.report.error(code::UNREADABLE_FILE, span, message);
                    return None;
                }
            },
            (None, None) => String::new(),
        };
        let content_type =
            written.content_type.clone().unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
        if content_type.chars().any(char::is_control) || content_type.is_empty() {
            self.wrong("fallback", "content_type", format!("`{content_type}` is no content type"));
        }
        Some(FallbackTo::Answer {
            status: written.status.unwrap_or(200),
            body: body.into_bytes(),
            content_type,
        })
    }

    fn fallback_on(&mut self, word: &str) -> Option<FallbackOn> {
        match (word, word.parse::<u16>()) {
            ("unavailable", _) => Some(FallbackOn::Unavailable),
            ("connect_failure", _) => Some(FallbackOn::ConnectFailure),
            ("reset", _) => Some(FallbackOn::Reset),
            ("timeout", _) => Some(FallbackOn::Timeout),
            ("overloaded", _) => Some(FallbackOn::Overloaded),
            ("gateway_error", _) => Some(FallbackOn::GatewayError),
            ("5xx", _) => Some(FallbackOn::ServerError),
            (_, Ok(status @ 400..=599)) => Some(FallbackOn::Status(status)),
            _ => {
                self.wrong(
                    "fallback",
                    "on",
                    format!("`{word}` is not something for which there is a fallback"),
                );
                None
            }
        }
    }

    fn fault(&mut self, written: &written::Fault) -> Option<FaultRule> {
        if self.production && !written.in_production {
            let span = self.span("fault");
            let problem = Problem::error(
                code::FAULTS_IN_PRODUCTION,
                "a fault on purpose has no place in `mode: production`",
            );
            let hint = "take it out; or, if it is meant, add `in_production: true` to it";
            self.report.add(problem.at(span).hint(hint));
        }
        let percent = written.percent.unwrap_or(100.0);
        if !(0.0..=100.0).contains(&percent) {
            self.wrong("fault", "percent", format!("{percent} is not a share of 100"));
        }
        let delay = match &written.delay {
            None => None,
            Some(written::Delay::Fixed(text)) => duration::parse(text).ok().map(|delay| (delay, delay)),
            Some(written::Delay::Between(two)) => {
                let (min, max) = (duration::parse(&two.min).ok()?, duration::parse(&two.max).ok()?);
                if max < min {
                    self.wrong("fault", "delay", "`max` is shorter than `min`");
                }
                Some((min, max))
            }
        };
        let abort = written.abort.as_ref().and_then(|abort| self.abort(&abort.text()));
        let throttle = written.throttle.as_ref().map(|size| size.bytes().unwrap_or(0));
        if throttle == Some(0) {
            self.wrong("fault", "throttle", "nothing passes at 0 bytes a second");
        }
        let nothing = delay.is_none() && written.abort.is_none() && throttle.is_none();
        if nothing && !written.reset && !written.corrupt {
            self.wrong(
                "fault",
                "",
                "a fault says what goes wrong: `delay`, `abort`, `reset`, `throttle`, `corrupt`",
            );
        }
        for name in written.headers.keys() {
            self.field_name("fault", name);
        }
        let headers =
            written.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let (reset, corrupt) = (written.reset, written.corrupt);
        Some(FaultRule { percent, headers, delay, abort, reset, throttle, corrupt })
    }

    fn abort(&mut self, word: &str) -> Option<Abort> {
        if let Some((_, status)) = GRPC.iter().find(|(name, _)| *name == word) {
            return Some(Abort::Grpc(*status));
        }
        match word.parse::<u16>() {
            Ok(status @ 400..=599) => Some(Abort::Status(status)),
            _ => {
                let message = format!("`{word}` is neither a status from 400 to 599 nor one of gRPC");
                self.wrong("fault", "abort", message);
                None
            }
        }
    }
}

/// When another instance is asked as well.
pub(crate) fn hedge(said: &written::Hedge) -> Option<Hedge> {
    let (after, rules) = match said {
        written::Hedge::After(after) => (after, written::HedgeRules::default()),
        written::Hedge::Long(rules) => (&rules.after, rules.clone()),
    };
    let (max_extra, idempotent) = (rules.max_extra.unwrap_or(1), rules.idempotent);
    Some(Hedge { after: after_what(after)?, max_extra, idempotent })
}

fn after_what(text: &str) -> Option<HedgeAfter> {
    if let Some(percent) = text.strip_prefix('p') {
        let digits = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent = percent.parse::<f64>().ok().filter(|_| digits)?;
        return (50.0..=99.9).contains(&percent).then_some(HedgeAfter::Percentile(percent));
    }
    let delay = duration::parse(text).ok()?;
    (!delay.is_zero() && delay <= Duration::from_secs(60)).then_some(HedgeAfter::Delay(delay))
}

/// Whether a text says when another instance is asked.
pub(crate) fn hedge_after(text: &str) -> Result<(), String> {
    let why = || format!("`{text}` is neither a percentile from `p50` to `p99.9` nor a time up to `60s`");
    after_what(text).map(drop).ok_or_else(why)
}

fn priority(written: &written::Priority) -> u8 {
    match written {
        written::Priority::Number(number) => *number,
        written::Priority::Name(written::PriorityName::Critical) => 224,
        written::Priority::Name(written::PriorityName::High) => 192,
        written::Priority::Name(written::PriorityName::Normal) => NORMAL_PRIORITY,
        written::Priority::Name(written::PriorityName::Low) => 64,
    }
}

/// A limit of concurrency.
pub(crate) fn concurrency(written: &written::Concurrency) -> Concurrency {
    let default = Concurrency::default();
    match written {
        written::Concurrency::Limit(limit) => Concurrency { limit: Some(*limit), ..default },
        written::Concurrency::Long(rules) => Concurrency {
            limit: rules.limit,
            queue: rules.queue.unwrap_or(default.queue),
            queue_timeout: length(rules.queue_timeout.as_ref(), default.queue_timeout),
        },
    }
}

/// A limit that is found out; `Err` is a sentence.
pub(crate) fn adaptive(written: &written::Adaptive) -> Result<Adaptive, String> {
    let (rule, rules) = match written {
        written::Adaptive::Rule(rule) => (*rule, written::AdaptiveRules::default()),
        written::Adaptive::Long(rules) => (rules.rule, rules.clone()),
    };
    let longest = length(rules.timeout.as_ref(), Duration::from_secs(1));
    let default = Adaptive::default();
    let min = rules.min.unwrap_or(default.min);
    let max = rules.max.unwrap_or(default.max.max(min));
    let initial = rules.initial.unwrap_or(default.initial.clamp(min, max.max(min)));
    if min > initial || initial > max {
        return Err(format!(
            "`min` ({min}), `initial` ({initial}) and `max` ({max}) have to be in this order"
        ));
    }
    let rule = match rule {
        written::AdaptiveRule::Gradient => AdaptiveRule::Gradient,
        written::AdaptiveRule::Aimd => AdaptiveRule::Aimd(longest),
    };
    Ok(Adaptive { rule, initial, min, max })
}
