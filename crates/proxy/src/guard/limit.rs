//! Limits of rate, compiled: whom a request counts as, and whether it may pass.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tutti_core::limits;
use tutti_ports::rate::{Answer, Ask, Policy, RateStore, StoreError, Verdict, Verdicts};
use tutti_ports::routing::{self, KeyPart, Unavailable};

use super::auth::{Identity, jwt};
use crate::model::rate::header;

/// The limits of one route.
pub struct Limits {
    /// Those that can be asked before it is known who asks; then those that cannot.
    pub stages: [Vec<Limit>; 2],
    /// What callers are told of all of them.
    pub policies: Option<HeaderValue>,
}

/// A limit.
pub struct Limit {
    /// What callers are told it is called.
    pub label: Arc<str>,
    /// How often.
    pub policy: Arc<Policy>,
    parts: Vec<Part>,
    unavailable: Unavailable,
}

enum Part {
    Address,
    Header(HeaderName),
    Route(Arc<str>),
    ApiKey,
    Claim(String),
}

/// What is known of a request.
pub struct Caller<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// Who asks, once that is known.
    pub identity: &'a Identity,
}

impl Limits {
    /// Compiles the limits of a route; `None` without any.
    pub fn compile(route: &str, limits: &[routing::RateLimit]) -> Result<Option<Self>, String> {
        let mut stages: [Vec<Limit>; 2] = Default::default();
        for limit in limits {
            let policy = &limit.policy;
            if policy.requests == 0 || policy.burst == 0 || policy.window.is_zero() {
                return Err(format!("the rate limit {:?} lets nothing pass", limit.label));
            }
            if stages.iter().flatten().any(|other| *other.policy == *policy) {
                return Err(format!("the rate limit {:?} is there twice", limit.label));
            }
            let [early, late] = &mut stages;
            let known_late = |part: &KeyPart| matches!(part, KeyPart::ApiKey | KeyPart::Claim(_));
            let stage = if limit.key.iter().any(known_late) { late } else { early };
            stage.push(Limit::compile(route, limit)?);
        }
        let told = stages.iter().flatten().map(|limit| (&*limit.label, &*limit.policy));
        let policies = header::policies(told);
        Ok((!limits.is_empty()).then_some(Self { stages, policies }))
    }
}

impl Limit {
    fn compile(route: &str, limit: &routing::RateLimit) -> Result<Self, String> {
        let part = |part: &KeyPart| match part {
            KeyPart::Address => Ok(Part::Address),
            KeyPart::Route => Ok(Part::Route(Arc::from(route))),
            KeyPart::ApiKey => Ok(Part::ApiKey),
            KeyPart::Claim(path) => Ok(Part::Claim(path.clone())),
            KeyPart::Header(name) => HeaderName::from_bytes(name.as_bytes())
                .map(Part::Header)
                .map_err(|_| format!("{name:?} is not the name of a header field")),
        };
        Ok(Self {
            label: Arc::from(limit.label.as_str()),
            policy: Arc::new(limit.policy.clone()),
            parts: limit.key.iter().map(part).collect::<Result<_, _>>()?,
            unavailable: limit.unavailable,
        })
    }

    /// Whose request it is. Each part begins with what it is and how long, so that no two callers look alike.
    fn ask(&self, caller: &Caller<'_>) -> Ask {
        let mut key = Vec::with_capacity(24);
        let mut add = |kind: u8, value: &[u8]| {
            key.push(kind);
            key.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.extend_from_slice(value);
        };
        for part in &self.parts {
            match part {
                Part::Address => address(caller.address, &mut add),
                Part::Route(name) => add(b'r', name.as_bytes()),
                Part::ApiKey if caller.identity.api_key => add(b'k', caller.identity.name.as_bytes()),
                Part::ApiKey => address(caller.address, &mut add),
                Part::Claim(path) => match jwt::claim(&caller.identity.claims, path) {
                    Some(value) => add(b'c', value.to_string().as_bytes()),
                    None => address(caller.address, &mut add),
                },
                Part::Header(name) => match joined(caller.headers, name) {
                    Some(value) => add(b'h', &value),
                    None => address(caller.address, &mut add),
                },
            }
        }
        Ask { policy: Arc::clone(&self.policy), key }
    }
}

fn address(address: IpAddr, add: &mut impl FnMut(u8, &[u8])) {
    match address.to_canonical() {
        IpAddr::V4(address) => add(b'4', &address.octets()),
        IpAddr::V6(address) => add(b'6', address.octets().get(..8).unwrap_or_default()),
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut all = values.next()?.as_bytes().to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value.as_bytes());
    }
    Some(all)
}

/// What became of a request at some limits.
pub enum Outcome {
    /// It passes, and was counted as this.
    Passed(Vec<Ask>, Vec<Verdict>),
    /// It does not.
    Refused(Vec<Verdict>),
    /// Nobody knows, and it passes.
    Unknown,
    /// Nobody knows, and it does not.
    Unavailable(StoreError),
}

/// Asks the store, within [`limits::RATE_STORE_DEADLINE`].
pub async fn ask(store: &dyn RateStore, limits: &[Limit], caller: &Caller<'_>) -> Outcome {
    let asks: Vec<Ask> = limits.iter().map(|limit| limit.ask(caller)).collect();
    let verdicts: Verdicts = match store.take(&asks) {
        Answer::Now(verdicts) => verdicts,
        Answer::Later(verdicts) => {
            let late = || StoreError(format!("no answer within {:?}", limits::RATE_STORE_DEADLINE));
            let timed = tokio::time::timeout(limits::RATE_STORE_DEADLINE, verdicts).await;
            timed.unwrap_or_else(|_| Err(late()))
        }
    };
    match verdicts {
        Ok(verdicts) if verdicts.len() != asks.len() => {
            Outcome::Unavailable(StoreError("it answers what was not asked".to_owned()))
        }
        Ok(verdicts) if verdicts.iter().all(|verdict| verdict.allowed) => Outcome::Passed(asks, verdicts),
        Ok(verdicts) => Outcome::Refused(verdicts),
        Err(error) if limits.iter().any(|limit| limit.unavailable == Unavailable::Closed) => {
            Outcome::Unavailable(error)
        }
        Err(error) => {
            tracing::warn!(%error, "requests pass without being counted");
            Outcome::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tutti_ports::rate::Algorithm;

    fn limit(key: Vec<KeyPart>) -> Limit {
        let (window, algorithm) = (Duration::from_secs(1), Algorithm::Gcra);
        let policy = Policy { name: "n".into(), algorithm, requests: 1, window, burst: 1 };
        let unavailable = Unavailable::Open;
        Limit::compile("r", &routing::RateLimit { label: "l".into(), policy, key, unavailable }).unwrap()
    }

    fn key(limit: &Limit, address: &str, fields: &[(&'static str, &'static str)]) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        limit
            .ask(&Caller {
                address: address.parse().unwrap(),
                headers: &headers,
                identity: &Identity::default(),
            })
            .key
    }

    #[test]
    fn an_ipv6_caller_is_its_network_and_an_ipv4_caller_itself() {
        let limit = limit(vec![KeyPart::Address]);
        let key = |address| key(&limit, address, &[]);
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn parts_do_not_run_into_each_other_and_what_is_missing_is_the_address() {
        let both = limit(vec![KeyPart::Header("a".into()), KeyPart::Header("b".into())]);
        let of = |fields: &[(&'static str, &'static str)]| key(&both, "192.0.2.1", fields);
        assert_ne!(of(&[("a", "xy"), ("b", "z")]), of(&[("a", "x"), ("b", "yz")]));
        assert_ne!(of(&[("a", "x")]), of(&[("b", "x")]));
        assert_eq!(of(&[("a", "x"), ("a", "y")]), of(&[("a", "x, y")]));
        let one = limit(vec![KeyPart::Header("a".into())]);
        assert_eq!(key(&one, "192.0.2.1", &[]), key(&limit(vec![KeyPart::Address]), "192.0.2.1", &[]));
        assert!(key(&limit(vec![]), "192.0.2.1", &[]).is_empty());
    }
}
