//! Finding the route of a request, with the precedence of the Gateway API's `HTTPRoute`.
//!
//! Of all rules that match, the one wins that is first by: exact host, then the longest wildcard, then any host;
//! exact path, then regular expression (the longer pattern first: the Gateway API leaves this to us), then the
//! longest prefix; a condition on the method; more conditions on headers; more on query parameters; and
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

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;
use regexes::Regexes;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

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
    /// The regular expressions by what they were made of.
    regexes: HashMap<Box<str>, Regex>,
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
        let mut regexes = Regexes::after(before.map(|router| &router.regexes));
        let everything = [Match::default()];
        let mut order = 0;
        for (at, route) in routes.iter().enumerate() {
            let matches = if route.matches.is_empty() { &everything[..] } else { &route.matches[..] };
            let hosts = router.section(route)?;
            for condition in matches {
                let rule = Rule::compile(route, condition, (at, order), &mut regexes)?;
                order += 1;
                if route.hosts.is_empty() {
                    hosts.any.add(route, condition.path.as_ref(), &rule, &mut regexes)?;
                }
                for host in &route.hosts {
                    hosts.table(route, host)?.add(route, condition.path.as_ref(), &rule, &mut regexes)?;
                }
            }
        }
        router.hosts.sort();
        if let Some(sections) = &mut router.sections {
            sections.exact.values_mut().chain(sections.wildcard.values_mut()).for_each(Hosts::sort);
        }
        router.regexes = regexes.made();
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
        regexes: &mut Regexes<'_>,
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
                self.regex.push((regexes.whole(route, pattern)?, rule.clone()));
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
        regexes: &mut Regexes<'_>,
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
            headers.push((parsed, Test::compile(route, value, regexes)?));
        }
        let mut query = Vec::new();
        for FieldMatch { name, value } in &condition.query {
            query.push((Box::from(name.as_str()), Test::compile(route, value, regexes)?));
        }
        let grpc_method = match &condition.path {
            Some(PathMatch::Grpc { service: None, method: Some(method) }) => Some(Box::from(method.as_str())),
            _ => None,
        };
        Ok(Self { route: at, order, grpc_method, method, headers, query })
    }

    fn found(&self, prefix: usize, path: ByPath) -> Found {
        let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
        let by = By {
            host: ByHost::Any,
            path,
            method: self.method.is_some(),
            headers: count(self.headers.len()),
            query: count(self.query.len()),
        };
        Found { route: self.route, prefix, by }
    }

    /// Smaller comes first, among rules of the same host and path.
    fn rank(&self) -> (Reverse<usize>, bool, Reverse<usize>, Reverse<usize>, usize) {
        let grpc = self.grpc_method.as_ref().map_or(0, |method| method.len());
        let (headers, query) = (Reverse(self.headers.len()), Reverse(self.query.len()));
        (Reverse(grpc), self.method.is_none(), headers, query, self.order)
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
    }
}

impl Test {
    fn compile(route: &Route, value: &ValueMatch, regexes: &mut Regexes<'_>) -> Result<Self, RouteError> {
        Ok(match value {
            ValueMatch::Exact(text) => Test::Exact(Box::from(text.as_str())),
            ValueMatch::Regex(pattern) => Test::Regex(regexes.whole(route, pattern)?),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Test::Exact(text) => **text == *value,
            Test::Regex(regex) => regex.is_match(value),
        }
    }
}

/// All values of a field as one (RFC 9110 section 5.3); `None` if there is none, or one that is not text.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter();
    let mut all = Cow::Borrowed(values.next()?.to_str().ok()?);
    for value in values {
        let text = all.to_mut();
        text.push_str(", ");
        text.push_str(value.to_str().ok()?);
    }
    Some(all)
}

/// The first value of a query parameter, decoded as a form is (`+` is a space).
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escaped = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        match escaped {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => out.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

mod regexes;
#[cfg(test)]
mod tests;
