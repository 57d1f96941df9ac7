//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 sections 3 and 4): structured fields
//! (RFC 9651), lists of strings with parameters.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tutti_ports::rate::{Policy, Verdict};

/// `RateLimit`.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy`.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Seconds, rounded up: whoever waits so long has waited long enough.
pub fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// The value of `RateLimit-Policy`: what each limit allows in which window.
pub fn policies<'a>(limits: impl Iterator<Item = (&'a str, &'a Policy)>) -> Option<HeaderValue> {
    let mut text = String::new();
    for (label, policy) in limits {
        let comma = if text.is_empty() { "" } else { ", " };
        // The window is in whole seconds (section 3.1.3); a shorter one is told as the requests of a second.
        let window = policy.window.as_nanos().max(1);
        let (quota, seconds) = if window % 1_000_000_000 == 0 {
            (u128::from(policy.requests), window / 1_000_000_000)
        } else {
            let whole = u128::from(seconds(policy.window));
            (u128::from(policy.requests) * whole * 1_000_000_000 / window, whole)
        };
        let _ = write!(text, "{comma}{};q={quota};w={seconds}", quoted(label));
    }
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// The value of `RateLimit`: what is left of each limit, and in how many seconds that changes for the better.
pub fn left<'a>(limits: impl Iterator<Item = (&'a str, Verdict)>) -> Option<HeaderValue> {
    let mut text = String::new();
    for (label, verdict) in limits {
        let comma = if text.is_empty() { "" } else { ", " };
        let left = if verdict.allowed { verdict.remaining } else { 0 };
        let _ = write!(text, "{comma}{};r={left};t={}", quoted(label), seconds(verdict.reset));
    }
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// A string of RFC 9651 section 3.3.3; what cannot stand in one is left out.
fn quoted(text: &str) -> String {
    let plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    format!("\"{}\"", text.chars().filter(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_ports::rate::Algorithm;

    #[test]
    fn the_fields_are_lists_of_strings_with_parameters() {
        let policy = |requests, window| Policy {
            name: "n".into(),
            algorithm: Algorithm::Gcra,
            requests,
            window: Duration::from_millis(window),
            burst: 1,
        };
        let (minute, short) = (policy(10, 60_000), policy(5, 500));
        let value = policies([("by \"address\"", &minute), ("short", &short)].into_iter()).unwrap();
        assert_eq!(value, "\"by address\";q=10;w=60, \"short\";q=10;w=1");
        let verdict =
            |allowed, remaining, ms| Verdict { allowed, remaining, reset: Duration::from_millis(ms) };
        let value = left([("a", verdict(true, 3, 1_200)), ("b", verdict(false, 9, 60_000))].into_iter());
        assert_eq!(value.unwrap(), "\"a\";r=3;t=2, \"b\";r=0;t=60");
        assert_eq!(left(std::iter::empty()), None);
    }
}
