//! Who may ask, and how often: from the keys of a route, and of the gateway for all routes.

use std::path::Path;
use std::time::Duration;

use tutti_core::code;
use tutti_ports::rate::{Algorithm, Policy};
use tutti_ports::routing::{Cidr, Guard, KeyPart, RateLimit, Unavailable};

use super::auth;
use super::types::{self, RateLimits, Several};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// The guard of a route. `common` are the limits of the gateway, which count for all routes together.
pub(super) fn guard(
    route: &types::Route,
    name: &str,
    node: &Node,
    common: &[RateLimit],
    folder: &Path,
    report: &mut Report,
) -> Guard {
    let mut limits = common.to_vec();
    limits.extend(rate_limits(route.rate_limit.as_ref(), &format!("route {name}"), node, report));
    for (at, limit) in limits.iter().enumerate() {
        if limits.iter().take(at).any(|other| other.label == limit.label) {
            let message = format!("two rate limits of the route are called `{}`", limit.label);
            let problem = Problem::error(code::CONFLICT, message).at(span(node, "rate_limit"));
            report.add(problem.hint("give one of them a `name`"));
        }
    }
    let place = span(node, "auth");
    Guard {
        allow: ranges(route.allow.as_ref()),
        deny: ranges(route.deny.as_ref()),
        rate_limits: limits,
        auth: route.auth.as_ref().map(|one| auth::auth(one, folder, place, report)),
        authorize: route.authorize.clone(),
        external: None,
    }
}

/// The limits of a list; those of one scope and name count together.
pub(super) fn rate_limits(
    limits: Option<&RateLimits>,
    scope: &str,
    node: &Node,
    report: &mut Report,
) -> Vec<RateLimit> {
    let place = span(node, "rate_limit");
    let limits = RateLimits::list(limits);
    limits.iter().filter_map(|limit| rate_limit(limit, scope, place, report)).collect()
}

fn rate_limit(limit: &types::RateLimit, scope: &str, place: Span, report: &mut Report) -> Option<RateLimit> {
    let (requests, window) = parts(&limit.rate)?;
    let algorithm = match limit.algorithm {
        Some(types::Algorithm::SlidingWindow) => Algorithm::SlidingWindow,
        Some(types::Algorithm::Gcra) | None => Algorithm::Gcra,
    };
    if limit.burst.is_some() && algorithm == Algorithm::SlidingWindow {
        let message = "`burst` has no meaning for a sliding window: it never lets more pass than its rate";
        report.error(code::CONFLICT, place, message);
    }
    let label = limit.name.clone().unwrap_or_else(|| limit.rate.clone());
    let burst = limit.burst.unwrap_or(requests);
    let policy = Policy { name: format!("{scope}/{label}"), algorithm, requests, window, burst };
    let key = key(limit.key.as_ref(), place, report);
    let unavailable = match limit.when_unavailable {
        Some(types::Unavailable::Closed) => Unavailable::Closed,
        Some(types::Unavailable::Open) | None => Unavailable::Open,
    };
    Some(RateLimit { label, policy, key, unavailable })
}

fn key(parts: Option<&Several>, place: Span, report: &mut Report) -> Vec<KeyPart> {
    let parts = Several::list(parts);
    if parts.is_empty() {
        return vec![KeyPart::Address];
    }
    let alone = parts.len() == 1;
    let mut out = Vec::new();
    for part in parts {
        match part.split_once(':').unwrap_or((&part, "")) {
            ("address", "") => out.push(KeyPart::Address),
            ("route", "") => out.push(KeyPart::Route),
            ("api_key", "") => out.push(KeyPart::ApiKey),
            ("claim", path) if !path.is_empty() => out.push(KeyPart::Claim(path.to_owned())),
            ("header", name) if token(name) => out.push(KeyPart::Header(name.to_ascii_lowercase())),
            ("all", "") if alone => {}
            _ => {
                let message = format!("`{part}` tells no callers apart");
                let hint = "`address`, `header:NAME`, `api_key`, `claim:NAME` and `route` do; `all` alone counts all as one";
                report.add(Problem::error(code::BAD_VALUE, message).at(place).hint(hint));
            }
        }
    }
    out
}

fn ranges(list: Option<&Several>) -> Vec<Cidr> {
    // They have been looked at one by one, with their places.
    Several::list(list).iter().filter_map(|text| text.parse().ok()).collect()
}

fn span(node: &Node, key: &str) -> Span {
    node.get(key).map_or(node.span, |node| node.span)
}

/// RFC 9110 section 5.1: a field's name is a token.
fn token(name: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(token)
}

fn parts(text: &str) -> Option<(u32, Duration)> {
    let (number, window) = text.split_once('/')?;
    let number = number.trim().parse().ok().filter(|number| *number > 0)?;
    let window = window.trim();
    let window = match window {
        "s" | "m" | "h" | "d" => format!("1{window}"),
        other => other.to_owned(),
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let window = duration::parse(&window).ok().filter(|window| !window.is_zero() && *window <= day)?;
    Some((number, window))
}

/// Whether a text is a rate.
pub(super) fn rate(text: &str) -> Result<(), String> {
    let why = || {
        format!(
            "`{text}` is not a rate: it is written `100/s`, `10/m`, `1000/h` or `50/10s`, of at most a day"
        )
    };
    parts(text).map(drop).ok_or_else(why)
}

/// Whether a text is a range of addresses.
pub(super) fn range(text: &str) -> Result<(), String> {
    let why = |_| format!("`{text}` is neither an address nor a range such as `10.0.0.0/8`");
    text.parse::<Cidr>().map(drop).map_err(why)
}
