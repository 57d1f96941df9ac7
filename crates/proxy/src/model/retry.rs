//! When a request is sent again, and after which pause: pauses grow, and chance decides how long each is
//! ("Exponential Backoff and Jitter", AWS Architecture Blog 2015: full jitter).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use tutti_core::limits;
use tutti_ports::routing::{Retries, RetryOn};

/// `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A route's rules of retrying, prepared.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Retries,
    grpc: bool,
}

/// How a try ended that may be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection was made: nothing was sent.
    Connect,
    /// The connection broke before the answer.
    Reset,
    /// The time for one try was over.
    Timeout,
}

impl Policy {
    /// Prepares rules.
    pub fn new(rules: Retries) -> Self {
        let grpc = rules.on.iter().any(|on| matches!(on, RetryOn::Grpc(_)));
        Self { rules, grpc }
    }

    /// Most tries, the first included.
    pub fn tries(&self) -> u32 {
        self.rules.attempts.saturating_add(1).min(limits::TRIES_MAX)
    }

    /// How much of a body is kept.
    pub fn buffer(&self) -> usize {
        self.rules.buffer
    }

    /// Whether a request may be carried out twice.
    pub fn is_idempotent(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.rules.idempotent
            || is_idempotent(method)
            || (self.rules.idempotency_key && headers.contains_key(IDEMPOTENCY_KEY))
    }

    /// Whether a failed try may be followed by another.
    pub fn after(&self, trouble: Trouble) -> bool {
        self.rules.on.contains(&match trouble {
            Trouble::Connect => RetryOn::ConnectFailure,
            Trouble::Reset => RetryOn::Reset,
            Trouble::Timeout => RetryOn::Timeout,
        })
    }

    /// Whether an answer may be followed by another try.
    pub fn after_answer(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // gRPC tells its failures in trailers; only those that come alone are in the head ("Trailers-Only").
        let grpc = if self.grpc && status == StatusCode::OK { grpc_status(headers) } else { None };
        self.rules.on.iter().any(|on| match on {
            RetryOn::GatewayError => matches!(status.as_u16(), 502..=504),
            RetryOn::ServerError => status.is_server_error(),
            RetryOn::Status(one) => status.as_u16() == *one,
            RetryOn::Grpc(one) => grpc == Some(*one),
            RetryOn::ConnectFailure | RetryOn::Reset | RetryOn::Timeout => false,
        })
    }

    /// The pause before the `retry`th try after the first. `chance` is in 0.0 ..= 1.0.
    pub fn pause(&self, retry: u32, chance: f64) -> Duration {
        let doubled = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.rules.backoff.saturating_mul(doubled).min(self.rules.max_backoff);
        longest.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The least pause that an answer asks for; `None` when it asks for more than is waited for. A date
    /// in `Retry-After` counts as more.
    pub fn asked_pause(&self, headers: &HeaderMap) -> Option<Duration> {
        let Some(asked) = headers.get(header::RETRY_AFTER) else { return Some(Duration::ZERO) };
        let seconds = asked.to_str().ok()?.trim().parse::<u64>().ok()?;
        Some(Duration::from_secs(seconds)).filter(|asked| *asked <= self.rules.max_retry_after)
    }
}

/// RFC 9110 section 9.2.2, without CONNECT-like exotica: methods that may be carried out twice.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// RFC 9110 section 9.2.1: methods that only read.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// The status of gRPC in a head.
pub fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get(&crate::grpc::status::STATUS)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(on: Vec<RetryOn>) -> Policy {
        Policy::new(Retries { on, ..Retries::default() })
    }

    #[test]
    fn answers_are_repeated_as_the_route_says() {
        let head = HeaderMap::new();
        let after = |on, status: u16| policy(on).after_answer(StatusCode::from_u16(status).unwrap(), &head);
        assert!(after(vec![RetryOn::GatewayError], 503) && !after(vec![RetryOn::GatewayError], 500));
        assert!(after(vec![RetryOn::ServerError], 500) && !after(vec![RetryOn::ServerError], 429));
        assert!(after(vec![RetryOn::Status(429)], 429) && !after(vec![RetryOn::Reset], 502));
        let mut grpc = HeaderMap::new();
        grpc.insert("grpc-status", "14".parse().unwrap());
        assert!(policy(vec![RetryOn::Grpc(14)]).after_answer(StatusCode::OK, &grpc));
        assert!(!policy(vec![RetryOn::Grpc(13)]).after_answer(StatusCode::OK, &grpc));
    }

    #[test]
    fn what_may_be_carried_out_twice() {
        let mut keyed = HeaderMap::new();
        keyed.insert(IDEMPOTENCY_KEY, "7".parse().unwrap());
        let rules = |idempotent, idempotency_key| {
            Policy::new(Retries { idempotent, idempotency_key, ..Retries::default() })
        };
        assert!(!rules(false, false).is_idempotent(&Method::POST, &keyed));
        assert!(rules(false, true).is_idempotent(&Method::POST, &keyed));
        assert!(!rules(false, true).is_idempotent(&Method::POST, &HeaderMap::new()));
        assert!(rules(true, false).is_idempotent(&Method::PATCH, &HeaderMap::new()));
        assert!(rules(false, false).is_idempotent(&Method::PUT, &HeaderMap::new()));
    }

    #[test]
    fn retry_after_is_kept_to_or_the_answer_is_passed_on() {
        let asked = |text: &str| {
            let mut head = HeaderMap::new();
            head.insert(header::RETRY_AFTER, text.parse().unwrap());
            policy(vec![]).asked_pause(&head)
        };
        assert_eq!(policy(vec![]).asked_pause(&HeaderMap::new()), Some(Duration::ZERO));
        assert_eq!(asked("1"), Some(Duration::from_secs(1)));
        for more in ["2", "99999999999999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "-1"] {
            assert_eq!(asked(more), None, "{more}");
        }
    }

    proptest! {
        #[test]
        fn pauses_grow_and_stay_within_their_bound(retry in 0_u32..80, chance in 0.0_f64..=1.0) {
            let policy = policy(vec![]);
            let pause = policy.pause(retry, chance);
            prop_assert!(pause <= Duration::from_millis(250));
            prop_assert!(policy.pause(retry, 1.0) <= policy.pause(retry + 1, 1.0));
            prop_assert_eq!(policy.pause(1, 1.0), Duration::from_millis(25));
            prop_assert_eq!(policy.pause(retry, 0.0), Duration::ZERO);
        }
    }
}
