//! Finding the route of a request, with the precedence of the Gateway API's `HTTPRoute`.
//!
//! Of all rules that match, the one wins that is first by: exact host, then the longest wildcard, then any host;
//! exact path, then regular expression (the longer pattern first: the Gateway API leaves this to us), then the
//! longest prefix; a condition on the method; more conditions on headers; more on query parameters; a condition in CEL; and
//! the order of declaration. A rule of a more specific host that does not match hides nothing: the search goes on.
//!
//! Routes may belong to sections of their listener, each with a host name of its own (`Route::section`): a request
//! belongs to the most specific section that holds its host, and the others do not exist for it.
//!
//! Hosts, exact paths and prefixes are found by hashing, so a thousand routes cost no more than ten. Prefixes are
//! looked up by the lengths that occur, longest first; a hostile path cannot make that more than one look-up
//! for each length.
//!
//! A router that differs from another by a few routes is made by changing a copy, and shares everything else with it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method};
use tutti_core::metrics::Counter;
use tutti_ports::routing::Route;

pub use self::made::{Made, bounded, conditions};
pub use self::rules::Rules;
use self::table::Table;
pub use super::host::{host_key, split_port};
use super::shared::Map;

/// How far apart the numbers of routes are that say which was declared first, so that others fit between them.
pub const APART: u64 = 1 << 20;

/// Why routes cannot be compiled. Names the route.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// A regular expression that does not compile, or too large a one.
    #[error("route {route:?}: the regular expression {pattern:?} is not valid")]
    Regex {
        /// The route.
        route: String,
        /// The expression.
        pattern: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// A description of a service that cannot be used.
    #[error("route {route:?}: openapi: {problem}")]
    Description {
        /// The route.
        route: String,
        /// What is wrong.
        problem: String,
    },
    /// Anything else; the text says what.
    #[error("route {route:?}: {problem}")]
    Invalid {
        /// The route.
        route: String,
        /// What is wrong.
        problem: String,
    },
}

/// A request as far as routing looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host in lower case, without port and trailing dot; see [`host_key`].
    pub host: &'a str,
    /// The path, normalised.
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// What conditions ask besides.
    pub caller: Caller<'a>,
}

/// Who asks, as far as conditions look at it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client.
    pub address: IpAddr,
    /// Counts conditions that could not be evaluated.
    pub failed: Option<&'a Counter>,
}

impl Default for Caller<'_> {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), failed: None }
    }
}

/// The route that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place: the position in a list that was compiled, or what it was inserted with.
    pub route: usize,
    /// The length of the matched prefix without a trailing slash; 0 unless a prefix matched.
    pub prefix: usize,
    /// By what it was found.
    pub by: By,
}

/// What made a rule match, for explanations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// The host.
    pub host: ByHost,
    /// The path.
    pub path: ByPath,
    /// Whether there was a condition on the method.
    pub method: bool,
    /// How many conditions on header fields there were.
    pub headers: u8,
    /// How many on query parameters.
    pub query: u8,
    /// Whether there was a condition in CEL.
    pub when: bool,
}

/// How a host was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByHost {
    /// The rule takes any.
    #[default]
    Any,
    /// By its name.
    Exact,
    /// By a wildcard.
    Wildcard,
}

/// How a path was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByPath {
    /// By a prefix, or the rule takes any.
    #[default]
    Prefix,
    /// As a whole.
    Exact,
    /// By a regular expression.
    Regex,
}

/// Compiled routes.
#[derive(Clone, Debug, Default)]
pub struct Router {
    hosts: Hosts,
    sections: Option<Box<Sections>>,
}

/// The sections that have a host name.
#[derive(Clone, Debug, Default)]
struct Sections {
    exact: Map<Arc<Hosts>>,
    wildcard: Map<Arc<Hosts>>,
}

/// The rules of one section.
#[derive(Clone, Debug, Default)]
struct Hosts {
    exact: Map<Arc<Table>>,
    wildcard: Map<Arc<Table>>,
    any: Table,
}

impl Router {
    /// Compiles routes; refuses what cannot be matched or would never work.
    pub fn compile(routes: &[Route]) -> Result<Self, RouteError> {
        let (mut router, mut made, mut count) = (Self::default(), Made::default(), 0);
        for (at, route) in routes.iter().enumerate() {
            let order = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(APART);
            count += conditions(route);
            bounded(route, count)?;
            router.insert(at, order, &Rules::compile(route, &mut made)?);
        }
        Ok(router)
    }

    /// Adds a route. Nothing may be at its place; of two that are equal in everything else the one with the smaller `order` wins.
    pub fn insert(&mut self, place: usize, order: u64, rules: &Rules) {
        let Some(hosts) = self.section(rules) else { return };
        for rule in rules.placed(place, order) {
            if rules.hosts.is_empty() {
                hosts.any.insert(&rule);
            }
            for name in &rules.hosts {
                if let Some(table) = hosts.named(name.wildcard).entry(&name.key) {
                    Arc::make_mut(table).insert(&rule);
                }
            }
        }
    }

    /// Takes a route out, with what it was inserted with.
    pub fn remove(&mut self, place: usize, rules: &Rules) {
        let Some(hosts) = self.section(rules) else { return };
        if rules.hosts.is_empty() {
            hosts.any.remove(place, rules);
        }
        for name in &rules.hosts {
            let tables = hosts.named(name.wildcard);
            let Some(table) = tables.entry(&name.key) else { continue };
            Arc::make_mut(table).remove(place, rules);
            if table.is_empty() {
                tables.remove(&name.key);
            }
        }
        let (Some(name), true) = (&rules.section, hosts.is_empty()) else { return };
        if let Some(sections) = &mut self.sections {
            // A section without routes would still hide those of others.
            sections.named(name.wildcard).remove(&name.key);
            if sections.exact.is_empty() && sections.wildcard.is_empty() {
                self.sections = None;
            }
        }
    }

    /// The route of a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        match &self.sections {
            None => self.hosts.find(asked),
            Some(sections) => sections.of(asked.host).unwrap_or(&self.hosts).find(asked),
        }
    }

    fn section(&mut self, rules: &Rules) -> Option<&mut Hosts> {
        let Some(name) = &rules.section else { return Some(&mut self.hosts) };
        let sections = self.sections.get_or_insert_default();
        sections.named(name.wildcard).entry(&name.key).map(Arc::make_mut)
    }
}

impl Sections {
    fn of(&self, host: &str) -> Option<&Hosts> {
        let wildcard = || suffixes(host).find_map(|suffix| self.wildcard.get(suffix));
        self.exact.get(host).or_else(wildcard).map(|hosts| &**hosts)
    }

    fn named(&mut self, wildcard: bool) -> &mut Map<Arc<Hosts>> {
        if wildcard { &mut self.wildcard } else { &mut self.exact }
    }
}

impl Hosts {
    fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        let by = |host: ByHost| move |found: Found| Found { by: By { host, ..found.by }, ..found };
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(asked.host).and_then(|table| table.find(asked))
        {
            return Some(by(ByHost::Exact)(found));
        }
        if !self.wildcard.is_empty()
            && let Some(found) = suffixes(asked.host)
                .find_map(|suffix| self.wildcard.get(suffix).and_then(|table| table.find(asked)))
        {
            return Some(by(ByHost::Wildcard)(found));
        }
        self.any.find(asked)
    }

    fn named(&mut self, wildcard: bool) -> &mut Map<Arc<Table>> {
        if wildcard { &mut self.wildcard } else { &mut self.exact }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_empty()
    }
}

/// What is behind each dot of a host, longest first.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let mut rest = host;
    std::iter::from_fn(move || {
        rest = rest.split_once('.')?.1;
        Some(rest)
    })
}

mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod made;
mod rules;
#[cfg(any(test, fuzzing))]
mod spec;
mod table;
#[cfg(test)]
mod tests;
pub mod why;
