//! The specification of the router, as plainly as it can be said: every rule is looked at, and the best one that holds is taken. For
//! tests, which hold the router against it.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;

use regex::Regex;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

use super::fields::{joined, parameter};
use super::{Asked, By, ByHost, ByPath, Found};

/// What a host of a rule is worth: an exact one most, then the longest wildcard.
type Host = (ByRank, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ByRank {
    Least,
    Middle,
    Most,
}

/// What a path is worth, then a method of gRPC by its length, a method, header fields, query parameters, a condition, and being first.
type Rank = (Host, (ByRank, usize), usize, bool, usize, usize, bool, Reverse<usize>);

/// The route that [`super::Router::find`] must find. `when` says whether a condition in CEL holds.
pub(in crate::model) fn find(
    routes: &[Route],
    asked: &Asked<'_>,
    when: impl Fn(&str, &Asked<'_>) -> bool,
) -> Option<Found> {
    let section = section(routes, asked.host);
    let everything = [Match::default()];
    let mut best: Option<(Rank, Found)> = None;
    let mut order = 0;
    for (at, route) in routes.iter().enumerate() {
        let matches = if route.matches.is_empty() { &everything[..] } else { &route.matches[..] };
        for condition in matches {
            order += 1;
            let method = condition.method.as_ref().is_none_or(|method| *method == asked.method.as_str());
            let held = route.section.as_deref() == section
                && method
                && condition.headers.iter().all(|field| header(field, asked))
                && condition.query.iter().all(|field| query(field, asked))
                && route.when.as_ref().is_none_or(|text| when(text, asked));
            let (true, Some(host), Some((path, grpc, found))) =
                (held, host(route, asked.host), path(condition.path.as_ref(), asked.path))
            else {
                continue;
            };
            let by_host = [ByHost::Any, ByHost::Wildcard, ByHost::Exact];
            let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
            let by = By {
                host: by_host.get(host.0 as usize).copied().unwrap_or_default(),
                path: found.by.path,
                method: condition.method.is_some(),
                headers: count(condition.headers.len()),
                query: count(condition.query.len()),
                when: route.when.is_some(),
            };
            let (headers, query) = (condition.headers.len(), condition.query.len());
            let rank = (host, path, grpc, by.method, headers, query, by.when, Reverse(order));
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, Found { route: at, by, ..found }));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The section to which a host belongs: the most specific one that holds it.
fn section<'a>(routes: &'a [Route], host: &str) -> Option<&'a str> {
    let sections = routes.iter().filter_map(|route| route.section.as_deref());
    sections
        .filter_map(|name| Some((named(name, host)?, name)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name)
}

/// What a name is worth for a host, if it holds it.
fn named(name: &str, host: &str) -> Option<Host> {
    match name.strip_prefix('*') {
        Some(suffix) if host.ends_with(suffix) && host.len() > suffix.len() => {
            Some((ByRank::Middle, suffix.len()))
        }
        None if name == host => Some((ByRank::Most, 0)),
        _ => None,
    }
}

fn host(route: &Route, host: &str) -> Option<Host> {
    if route.hosts.is_empty() {
        return Some((ByRank::Least, 0));
    }
    route.hosts.iter().filter_map(|name| named(name, host)).max()
}

/// What the path of a rule is worth, the length of its method of gRPC without a service, and what is found by it.
fn path(condition: Option<&PathMatch>, asked: &str) -> Option<((ByRank, usize), usize, Found)> {
    let found = |prefix, path| Found { route: 0, prefix, by: By { path, ..By::default() } };
    let exact = |path: &str| (path == asked).then(|| ((ByRank::Most, 0), 0, found(0, ByPath::Exact)));
    let prefix = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        let holds = asked == prefix || asked.starts_with(&format!("{prefix}/"));
        holds.then(|| ((ByRank::Least, prefix.len()), 0, found(prefix.len(), ByPath::Prefix)))
    };
    match condition {
        None | Some(PathMatch::Grpc { service: None, method: None }) => prefix("/"),
        Some(PathMatch::Exact(path)) => exact(path),
        Some(PathMatch::Prefix(path)) => prefix(path),
        Some(PathMatch::Regex(pattern)) => {
            whole(pattern, asked).then(|| ((ByRank::Middle, pattern.len()), 0, found(0, ByPath::Regex)))
        }
        Some(PathMatch::Grpc { service: Some(service), method: Some(method) }) => {
            exact(&format!("/{service}/{method}"))
        }
        Some(PathMatch::Grpc { service: Some(service), method: None }) => prefix(&format!("/{service}")),
        Some(PathMatch::Grpc { service: None, method: Some(method) }) => {
            let service = asked.strip_prefix('/')?.strip_suffix(method.as_str())?.strip_suffix('/')?;
            let holds = !service.is_empty() && !service.contains('/');
            holds.then(|| ((ByRank::Least, 0), method.len(), found(0, ByPath::Prefix)))
        }
    }
}

fn header(field: &FieldMatch, asked: &Asked<'_>) -> bool {
    let name = http::HeaderName::from_bytes(field.name.as_bytes());
    name.is_ok_and(|name| joined(asked.headers, &name).is_some_and(|given| value(&field.value, &given)))
}

fn query(field: &FieldMatch, asked: &Asked<'_>) -> bool {
    let given = asked.query.and_then(|query| parameter(query, &field.name));
    given.is_some_and(|given| value(&field.value, &given))
}

fn value(wanted: &ValueMatch, given: &str) -> bool {
    match wanted {
        ValueMatch::Exact(text) => text == given,
        ValueMatch::Regex(pattern) => whole(pattern, given),
    }
}

/// Whether an expression matches all of a text.
fn whole(pattern: &str, text: &str) -> bool {
    thread_local! {
        static MADE: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let make = || Regex::new(&format!("^(?:{pattern})$")).ok();
        let made = made.entry(pattern.to_owned()).or_insert_with(make);
        made.as_ref().is_some_and(|regex| regex.is_match(text))
    })
}
