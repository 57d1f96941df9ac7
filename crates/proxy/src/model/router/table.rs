//! The rules of one host, found by path.

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderName, Method};
use regex::Regex;

use super::fields::{joined, parameter};
use super::rules::{Path, Rules};
use super::{Asked, By, ByHost, ByPath, Found};
use crate::model::condition::{About, Condition};
use crate::model::forwarded;
use crate::model::shared::Map;

/// The rules of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) exact: Map<Vec<Arc<Rule>>>,
    pub(super) regex: Vec<(Arc<Regex>, Arc<Rule>)>,
    pub(super) prefix: Map<Vec<Arc<Rule>>>,
    /// The lengths of the prefixes, longest first, and how many there are of each.
    pub(super) lengths: Vec<(usize, usize)>,
}

/// What must hold besides host and path, and which route it is then.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) place: usize,
    /// The order of the route, and of the rule in it.
    pub(super) order: (u64, usize),
    /// A gRPC method of whatever service.
    pub(super) grpc_method: Option<Box<str>>,
    pub(super) method: Option<Method>,
    pub(super) headers: Vec<(HeaderName, Test)>,
    pub(super) query: Vec<(Box<str>, Test)>,
    pub(super) when: Option<Arc<Condition>>,
}

/// The length of the gRPC method, whether there is no method, how many headers and query parameters,
/// whether there is no condition, and the order.
type Rank = (Reverse<usize>, bool, Reverse<usize>, Reverse<usize>, bool, (u64, usize));

#[derive(Clone, Debug)]
pub(super) enum Test {
    Exact(Box<str>),
    Regex(Arc<Regex>),
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.regex.is_empty()
    }

    pub(super) fn insert(&mut self, (path, rule): &(Path, Arc<Rule>)) {
        match path {
            Path::Exact(path) => insert(&mut self.exact, path, rule),
            Path::Regex(regex) => {
                let rank = |regex: &Regex, rule: &Rule| (Reverse(regex.as_str().len()), rule.rank());
                let own = rank(regex, rule);
                let at = self.regex.partition_point(|(regex, rule)| rank(regex, rule) < own);
                self.regex.insert(at, (Arc::clone(regex), Arc::clone(rule)));
            }
            Path::Prefix(path) => {
                if self.prefix.get(path).is_none() {
                    self.count(path.len(), true);
                }
                insert(&mut self.prefix, path, rule);
            }
        }
    }

    pub(super) fn remove(&mut self, place: usize, rules: &Rules) {
        for (path, _) in &rules.rules {
            match path {
                Path::Exact(path) => {
                    remove(&mut self.exact, path, place);
                }
                Path::Regex(_) => self.regex.retain(|(_, rule)| rule.place != place),
                Path::Prefix(path) => {
                    if remove(&mut self.prefix, path, place) {
                        self.count(path.len(), false);
                    }
                }
            }
        }
    }

    /// One prefix of a length more, or one less.
    fn count(&mut self, length: usize, more: bool) {
        let at = self.lengths.partition_point(|(known, _)| *known > length);
        match self.lengths.get_mut(at).filter(|(known, _)| *known == length) {
            Some((_, count)) if more => *count += 1,
            Some((_, count)) if *count > 1 => *count -= 1,
            Some(_) => {
                self.lengths.remove(at);
            }
            None => self.lengths.insert(at, (length, 1)),
        }
    }

    pub(super) fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        let of = |rules: &[Arc<Rule>], prefix, path| {
            rules.iter().find(|rule| rule.holds(asked)).map(|rule| rule.found(prefix, path))
        };
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(asked.path).and_then(|rules| of(rules, 0, ByPath::Exact))
        {
            return Some(found);
        }
        let by_regex =
            self.regex.iter().find(|(regex, rule)| regex.is_match(asked.path) && rule.holds(asked));
        if let Some((_, rule)) = by_regex {
            return Some(rule.found(0, ByPath::Regex));
        }
        for (length, _) in &self.lengths {
            let Some((prefix, rest)) = asked.path.split_at_checked(*length) else { continue };
            if !rest.is_empty() && !rest.starts_with('/') {
                continue;
            }
            if let Some(found) = self.prefix.get(prefix).and_then(|rules| of(rules, *length, ByPath::Prefix))
            {
                return Some(found);
            }
        }
        None
    }
}

fn insert(map: &mut Map<Vec<Arc<Rule>>>, path: &str, rule: &Arc<Rule>) {
    if let Some(rules) = map.entry(path) {
        let rank = rule.rank();
        let at = rules.partition_point(|known| known.rank() < rank);
        rules.insert(at, Arc::clone(rule));
    }
}

/// Whether nothing is left at the path.
fn remove(map: &mut Map<Vec<Arc<Rule>>>, path: &str, place: usize) -> bool {
    if map.get(path).is_none() {
        return false;
    }
    let Some(rules) = map.entry(path) else { return false };
    rules.retain(|rule| rule.place != place);
    let empty = rules.is_empty();
    if empty {
        map.remove(path);
    }
    empty
}

impl Rule {
    fn found(&self, prefix: usize, path: ByPath) -> Found {
        let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
        let by = By {
            host: ByHost::Any,
            path,
            method: self.method.is_some(),
            headers: count(self.headers.len()),
            query: count(self.query.len()),
            when: self.when.is_some(),
        };
        Found { route: self.place, prefix, by }
    }

    /// Smaller comes first, among rules of the same host and path.
    fn rank(&self) -> Rank {
        let grpc = self.grpc_method.as_ref().map_or(0, |method| method.len());
        let (headers, query) = (Reverse(self.headers.len()), Reverse(self.query.len()));
        (Reverse(grpc), self.method.is_none(), headers, query, self.when.is_none(), self.order)
    }

    pub(super) fn holds(&self, asked: &Asked<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == asked.method)
            && self.grpc_method.as_ref().is_none_or(|method| {
                let called = asked.path.strip_prefix('/').and_then(|path| path.split_once('/'));
                called.is_some_and(|(service, called)| !service.is_empty() && *called == **method)
            })
            && self
                .headers
                .iter()
                .all(|(name, test)| joined(asked.headers, name).is_some_and(|value| test.holds(&value)))
            && self.query.iter().all(|(name, test)| {
                asked.query.and_then(|query| parameter(query, name)).is_some_and(|value| test.holds(&value))
            })
            // Last: it costs more than all the others.
            && self.when.as_ref().is_none_or(|when| when_holds(when, asked))
    }
}

/// Whether a condition holds; one that cannot be evaluated does not, and is counted.
fn when_holds(when: &Condition, asked: &Asked<'_>) -> bool {
    let about = About {
        method: asked.method,
        path: asked.path,
        query: asked.query.unwrap_or_default(),
        host: asked.host,
        scheme: forwarded::scheme(asked.headers),
        headers: asked.headers,
        source: asked.caller.address,
        name: "",
        claims: None,
    };
    when.evaluate(&about).unwrap_or_else(|error| {
        tracing::debug!(%error, "a route does not match");
        if let Some(failed) = asked.caller.failed {
            failed.inc();
        }
        false
    })
}

impl Test {
    pub(super) fn holds(&self, value: &str) -> bool {
        match self {
            Test::Exact(text) => **text == *value,
            Test::Regex(regex) => regex.is_match(value),
        }
    }
}
