//! What a caller says of its request beside the request: how long it waits, how much it matters, whether it
//! is a repetition.
//!
//! Deadlines are told as time that remains, as in `grpc-timeout`, since clocks differ.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Milliseconds until the caller gives up.
pub const DEADLINE: HeaderName = HeaderName::from_static("x-tutti-deadline");
/// The number of the try, on tries after the first: who gets one does not retry on its own.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-tutti-attempt");
/// How much the request matters, 0 to 255.
pub const PRIORITY: HeaderName = HeaderName::from_static("x-tutti-priority");
/// gRPC over HTTP/2, "Timeout".
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What a caller says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// How long it waits.
    pub remaining: Option<Duration>,
    /// How much it matters.
    pub priority: Option<u8>,
    /// Whether the request is a repetition made on its way.
    pub repeated: bool,
}

impl Hints {
    /// Reads what is there. Of a stranger only the deadline is believed, which can only shorten what the
    /// route allows; everything else is taken off.
    pub fn take(headers: &mut HeaderMap, believed: bool, grpc: bool) -> Self {
        let mut hints = Self::default();
        // Nearly all requests have none, and one look tells.
        if headers.keys().any(|name| name.as_str().starts_with("x-tutti-")) {
            hints.remaining = headers.get(&DEADLINE).and_then(milliseconds);
            if believed {
                hints.repeated = headers.contains_key(&ATTEMPT);
                hints.priority = headers.get(&PRIORITY).and_then(priority);
            } else {
                headers.remove(&PRIORITY);
                headers.remove(&ATTEMPT);
            }
        }
        if grpc && let Some(more) = headers.get(&GRPC_TIMEOUT).and_then(grpc_timeout) {
            hints.remaining = Some(hints.remaining.map_or(more, |one| one.min(more)));
        }
        hints
    }
}

/// Takes the deadline off a request.
pub fn remove_deadline(headers: &mut HeaderMap) {
    headers.remove(&DEADLINE);
    headers.remove(&GRPC_TIMEOUT);
}

/// Tells a service how long its caller still waits.
pub fn tell(headers: &mut HeaderMap, remaining: Duration, grpc: bool) {
    let ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    headers.insert(DEADLINE, HeaderValue::from(ms));
    if grpc && let Ok(text) = HeaderValue::from_str(&show_grpc_timeout(remaining)) {
        headers.insert(GRPC_TIMEOUT, text);
    }
}

fn priority(value: &HeaderValue) -> Option<u8> {
    value.to_str().ok()?.parse().ok()
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Duration::from_millis)).flatten()
}

/// At most eight digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The finest unit in which eight digits suffice, rounded down: a deadline is never extended.
fn show_grpc_timeout(remaining: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let units = [("n", 1_u128), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000)];
    let nanos = remaining.as_nanos();
    for (unit, size) in units {
        if nanos / size <= MOST {
            return format!("{}{unit}", nanos / size);
        }
    }
    format!("{}H", (nanos / 3_600_000_000_000).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_shorter_deadline_counts() {
        let both = &[("x-tutti-deadline", "250"), ("grpc-timeout", "1S")];
        let remaining = |fields: &[(&'static str, &str)], grpc| {
            Hints::take(&mut map(fields), false, grpc).remaining.map(|one| one.as_millis())
        };
        assert_eq!(remaining(both, true), Some(250));
        assert_eq!(remaining(&[("x-tutti-deadline", "2500"), ("grpc-timeout", "1S")], true), Some(1000));
        assert_eq!(remaining(&[("grpc-timeout", "1S")], false), None);
        for bad in ["", "1", "S", "123456789S", "-1S", "1x", "1.5S", "+1S"] {
            assert_eq!(remaining(&[("grpc-timeout", bad)], true), None, "{bad}");
        }
        for bad in ["", "-1", "1s", "1234567890123"] {
            assert_eq!(remaining(&[("x-tutti-deadline", bad)], true), None, "{bad}");
        }
    }

    #[test]
    fn a_stranger_cannot_say_that_it_repeats() {
        let mut headers = map(&[("x-tutti-attempt", "2"), ("x-tutti-priority", "200")]);
        let believed = Hints::take(&mut headers, true, false);
        assert!(believed.repeated && believed.priority == Some(200) && headers.len() == 2);
        assert_eq!(Hints::take(&mut headers, false, false), Hints::default());
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_told_is_never_more_than_what_remains(nanos in any::<u64>()) {
            let remaining = Duration::from_nanos(nanos);
            let mut headers = HeaderMap::new();
            tell(&mut headers, remaining, true);
            let read = Hints::take(&mut headers, true, true).remaining.unwrap();
            prop_assert!(read <= remaining);
            prop_assert!(remaining - read <= Duration::from_millis(1).max(remaining / 100));
        }
    }
}
