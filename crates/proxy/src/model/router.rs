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

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fields::{joined, parameter};
use http::{HeaderMap, HeaderName, Method};
use made::{Made, Maker};
use regex::Regex;
use tutti_core::metrics::Counter;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

use super::condition::{About, Condition};
pub use super::host::{host_key, split_port};

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
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Counts conditions that could not be evaluated.
    pub failed: Option<&'a Counter>,
}

impl Default for Caller<'_> {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), scheme: "http", failed: None }
    }
}

/// The route that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its position in the list that was compiled.
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
#[derive(Debug, Default)]
pub struct Router {
    hosts: Hosts,
    sections: Option<Box<Sections>>,
    /// What was made of texts, by them.
    made: Made,
}

/// The sections that have a host name.
#[derive(Debug, Default)]
struct Sections {
    exact: HashMap<Box<str>, Hosts>,
    wildcard: HashMap<Box<str>, Hosts>,
}

/// The rules of one section.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, Table>,
    wildcard: HashMap<Box<str>, Table>,
    any: Table,
}

/// The rules of one host.
#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Box<str>, Vec<Rule>>,
    regex: Vec<(Regex, Rule)>,
    prefix: HashMap<Box<str>, Vec<Rule>>,
    /// The lengths of the prefixes, longest first.
    lengths: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Rule {
    route: usize,
    order: usize,
    /// A gRPC method of whatever service.
    grpc_method: Option<Box<str>>,
    method: Option<Method>,
    headers: Vec<(HeaderName, Test)>,
    query: Vec<(Box<str>, Test)>,
    when: Option<Arc<Condition>>,
}

#[derive(Clone, Debug)]
enum Test {
    Exact(Box<str>),
    Regex(Regex),
}

impl Router {
    /// Compiles routes; refuses what cannot be matched or would never work.
    pub fn compile(routes: &[Route]) -> Result<Self, RouteError> {
        Self::compile_after(routes, None)
    }

    /// The same, with the regular expressions of the router that was there before: making them is most of the work.
    pub fn compile_after(routes: &[Route], before: Option<&Self>) -> Result<Self, RouteError> {
        let mut router = Self::default();
        let mut maker = Maker::after(before.map(|router| &router.made));
        let everything = [Match::default()];
        let mut order = 0;
        for (at, route) in routes.iter().enumerate() {
            let matches = if route.matches.is_empty() { &everything[..] } else { &route.matches[..] };
            let hosts = router.section(route)?;
            for condition in matches {
                let rule = Rule::compile(route, condition, (at, order), &mut maker)?;
                order += 1;
                if route.hosts.is_empty() {
                    hosts.any.add(route, condition.path.as_ref(), &rule, &mut maker)?;
                }
                for host in &route.hosts {
                    hosts.table(route, host)?.add(route, condition.path.as_ref(), &rule, &mut maker)?;
                }
            }
        }
        router.hosts.sort();
        if let Some(sections) = &mut router.sections {
            sections.exact.values_mut().chain(sections.wildcard.values_mut()).for_each(Hosts::sort);
        }
        router.made = maker.made();
        Ok(router)
    }

    /// The route of a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        match &self.sections {
            None => self.hosts.find(asked),
            Some(sections) => sections.of(asked.host).unwrap_or(&self.hosts).find(asked),
        }
    }

    fn section(&mut self, route: &Route) -> Result<&mut Hosts, RouteError> {
        let Some(name) = &route.section else { return Ok(&mut self.hosts) };
        let (wildcard, key) = checked_host(route, name)?;
        let sections = self.sections.get_or_insert_default();
        let names = if wildcard { &mut sections.wildcard } else { &mut sections.exact };
        Ok(names.entry(key).or_default())
    }
}

impl Sections {
    fn of(&self, host: &str) -> Option<&Hosts> {
        self.exact.get(host).or_else(|| suffixes(host).find_map(|suffix| self.wildcard.get(suffix)))
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

    fn table(&mut self, route: &Route, host: &str) -> Result<&mut Table, RouteError> {
        let (wildcard, key) = checked_host(route, host)?;
        let tables = if wildcard { &mut self.wildcard } else { &mut self.exact };
        Ok(tables.entry(key).or_default())
    }

    fn sort(&mut self) {
        self.any.sort();
        self.exact.values_mut().chain(self.wildcard.values_mut()).for_each(Table::sort);
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

/// A host name of the configuration as a key, and whether it is a wildcard.
fn checked_host(route: &Route, host: &str) -> Result<(bool, Box<str>), RouteError> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, host),
    };
    let key =
        host_key(name).filter(|key| !key.is_empty() && !key.contains('*') && split_port(name).1.is_none());
    let problem = || format!("{host:?} is not a host name (no port, `*.` only in front)");
    let key = key.ok_or_else(|| RouteError::Invalid { route: route.name.clone(), problem: problem() })?;
    Ok((wildcard, Box::from(key.as_ref())))
}

impl Table {
    fn add(
        &mut self,
        route: &Route,
        path: Option<&PathMatch>,
        rule: &Rule,
        maker: &mut Maker<'_>,
    ) -> Result<(), RouteError> {
        let invalid = |problem: String| RouteError::Invalid { route: route.name.clone(), problem };
        let absolute = |path: &str| match super::path::normalize(path) {
            Ok(Cow::Borrowed(_)) => Ok(()),
            Ok(Cow::Owned(form)) => {
                Err(invalid(format!("the path {path:?} can never match: write {form:?}")))
            }
            Err(error) => Err(invalid(format!("the path {path:?} can never match: {error}"))),
        };
        match path {
            Some(PathMatch::Exact(path)) => {
                absolute(path)?;
                self.exact.entry(Box::from(path.as_str())).or_default().push(rule.clone());
            }
            Some(PathMatch::Regex(pattern)) => {
                self.regex.push((maker.regex(route, pattern)?, rule.clone()));
            }
            Some(PathMatch::Prefix(path)) => {
                absolute(path)?;
                let path = path.trim_end_matches('/');
                self.prefix.entry(Box::from(path)).or_default().push(rule.clone());
            }
            Some(PathMatch::Grpc { service: Some(service), method: Some(method) }) => {
                let path = format!("/{service}/{method}");
                absolute(&path)?;
                self.exact.entry(path.into()).or_default().push(rule.clone());
            }
            Some(PathMatch::Grpc { service: Some(service), method: None }) => {
                let path = format!("/{service}");
                absolute(&path)?;
                self.prefix.entry(path.into()).or_default().push(rule.clone());
            }
            // A method of any service is looked for last: the Gateway API compares the services first.
            None | Some(PathMatch::Grpc { service: None, .. }) => {
                self.prefix.entry(Box::from("")).or_default().push(rule.clone());
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.exact
            .values_mut()
            .chain(self.prefix.values_mut())
            .for_each(|rules| rules.sort_by_key(Rule::rank));
        self.regex.sort_by_key(|(regex, rule)| (Reverse(regex.as_str().len()), rule.rank()));
        self.lengths = self.prefix.keys().map(|prefix| prefix.len()).collect();
        self.lengths.sort_unstable_by_key(|length| Reverse(*length));
        self.lengths.dedup();
    }

    fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        let of = |rules: &[Rule], prefix, path| {
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
        for length in &self.lengths {
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

impl Rule {
    fn compile(
        route: &Route,
        condition: &Match,
        (at, order): (usize, usize),
        maker: &mut Maker<'_>,
    ) -> Result<Self, RouteError> {
        let invalid = |problem: String| RouteError::Invalid { route: route.name.clone(), problem };
        let method = match &condition.method {
            None => None,
            Some(method) => Some(
                Method::from_bytes(method.as_bytes())
                    .map_err(|_| invalid(format!("{method:?} is not a method")))?,
            ),
        };
        let mut headers = Vec::new();
        for FieldMatch { name, value } in &condition.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| invalid(format!("{name:?} is not the name of a header field")))?;
            headers.push((parsed, Test::compile(route, value, maker)?));
        }
        let mut query = Vec::new();
        for FieldMatch { name, value } in &condition.query {
            query.push((Box::from(name.as_str()), Test::compile(route, value, maker)?));
        }
        let grpc_method = match &condition.path {
            Some(PathMatch::Grpc { service: None, method: Some(method) }) => Some(Box::from(method.as_str())),
            _ => None,
        };
        let when = route.when.as_ref().map(|text| maker.condition(route, text)).transpose()?;
        Ok(Self { route: at, order, grpc_method, method, headers, query, when })
    }

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
        Found { route: self.route, prefix, by }
    }

    /// Smaller comes first, among rules of the same host and path.
    fn rank(&self) -> (Reverse<usize>, bool, Reverse<usize>, Reverse<usize>, bool, usize) {
        let grpc = self.grpc_method.as_ref().map_or(0, |method| method.len());
        let (headers, query) = (Reverse(self.headers.len()), Reverse(self.query.len()));
        (Reverse(grpc), self.method.is_none(), headers, query, self.when.is_none(), self.order)
    }

    fn holds(&self, asked: &Asked<'_>) -> bool {
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
        scheme: asked.caller.scheme,
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
    fn compile(route: &Route, value: &ValueMatch, maker: &mut Maker<'_>) -> Result<Self, RouteError> {
        Ok(match value {
            ValueMatch::Exact(text) => Test::Exact(Box::from(text.as_str())),
            ValueMatch::Regex(pattern) => Test::Regex(maker.regex(route, pattern)?),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Test::Exact(text) => **text == *value,
            Test::Regex(regex) => regex.is_match(value),
        }
    }
}

mod fields;
mod made;
#[cfg(test)]
mod tests;
pub mod why;
