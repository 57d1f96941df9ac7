//! Finding the route of a request, with the precedence of the Gateway API's `HTTPRoute`.
//!
//! Of all rules that match, the one wins that is first by: exact host, then the longest wildcard, then any host;
//! exact path, then regular expression (the longer pattern first: the Gateway API leaves this to us), then the
//! longest prefix; a condition on the method; more conditions on headers; more on query parameters; and
//! the order of declaration. A rule of a more specific host that does not match hides nothing: the search goes on.
//!
//! Hosts, exact paths and prefixes are found by hashing, so a thousand routes cost no more than ten. Prefixes are
//! looked up by the lengths that occur, longest first; a hostile path cannot make that more than one look-up
//! for each length.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

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
}

/// Compiled routes.
#[derive(Debug, Default)]
pub struct Router {
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
        let mut router = Self::default();
        let everything = [Match::default()];
        let mut order = 0;
        for (at, route) in routes.iter().enumerate() {
            let matches = if route.matches.is_empty() { &everything[..] } else { &route.matches[..] };
            for condition in matches {
                let rule = Rule::compile(route, condition, at, order)?;
                order += 1;
                if route.hosts.is_empty() {
                    router.any.add(route, condition.path.as_ref(), &rule)?;
                }
                for host in &route.hosts {
                    router.table(route, host)?.add(route, condition.path.as_ref(), &rule)?;
                }
            }
        }
        router.any.sort();
        router.exact.values_mut().chain(router.wildcard.values_mut()).for_each(Table::sort);
        Ok(router)
    }

    /// The route of a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Found> {
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(asked.host).and_then(|table| table.find(asked))
        {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let mut rest = asked.host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(found) = self.wildcard.get(suffix).and_then(|table| table.find(asked)) {
                    return Some(found);
                }
                rest = suffix;
            }
        }
        self.any.find(asked)
    }

    fn table(&mut self, route: &Route, host: &str) -> Result<&mut Table, RouteError> {
        let invalid = |problem: String| RouteError::Invalid { route: route.name.clone(), problem };
        let (tables, name) = match host.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, host),
        };
        let key = host_key(name)
            .filter(|key| !key.is_empty() && !key.contains('*') && split_port(name).1.is_none());
        let key =
            key.ok_or_else(|| invalid(format!("{host:?} is not a host name (no port, `*.` only in front)")))?;
        Ok(tables.entry(Box::from(key.as_ref())).or_default())
    }
}

impl Table {
    fn add(&mut self, route: &Route, path: Option<&PathMatch>, rule: &Rule) -> Result<(), RouteError> {
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
                self.regex.push((whole(route, pattern)?, rule.clone()));
            }
            Some(PathMatch::Prefix(path)) => {
                absolute(path)?;
                let path = path.trim_end_matches('/');
                self.prefix.entry(Box::from(path)).or_default().push(rule.clone());
            }
            None => self.prefix.entry(Box::from("")).or_default().push(rule.clone()),
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
        let of = |rules: &[Rule], prefix| {
            rules.iter().find(|rule| rule.holds(asked)).map(|rule| Found { route: rule.route, prefix })
        };
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(asked.path).and_then(|rules| of(rules, 0))
        {
            return Some(found);
        }
        let by_regex =
            self.regex.iter().find(|(regex, rule)| regex.is_match(asked.path) && rule.holds(asked));
        if let Some((_, rule)) = by_regex {
            return Some(Found { route: rule.route, prefix: 0 });
        }
        for length in &self.lengths {
            let Some((prefix, rest)) = asked.path.split_at_checked(*length) else { continue };
            if !rest.is_empty() && !rest.starts_with('/') {
                continue;
            }
            if let Some(found) = self.prefix.get(prefix).and_then(|rules| of(rules, *length)) {
                return Some(found);
            }
        }
        None
    }
}

impl Rule {
    fn compile(route: &Route, condition: &Match, at: usize, order: usize) -> Result<Self, RouteError> {
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
            headers.push((parsed, Test::compile(route, value)?));
        }
        let mut query = Vec::new();
        for FieldMatch { name, value } in &condition.query {
            query.push((Box::from(name.as_str()), Test::compile(route, value)?));
        }
        Ok(Self { route: at, order, method, headers, query })
    }

    /// Smaller comes first, among rules of the same host and path.
    fn rank(&self) -> (bool, Reverse<usize>, Reverse<usize>, usize) {
        (self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()), self.order)
    }

    fn holds(&self, asked: &Asked<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == asked.method)
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
    fn compile(route: &Route, value: &ValueMatch) -> Result<Self, RouteError> {
        Ok(match value {
            ValueMatch::Exact(text) => Test::Exact(Box::from(text.as_str())),
            ValueMatch::Regex(pattern) => Test::Regex(whole(route, pattern)?),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Test::Exact(text) => **text == *value,
            Test::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A regular expression that must match the whole text. The crate promises linear time; its size is bounded.
fn whole(route: &Route, pattern: &str) -> Result<Regex, RouteError> {
    let compile = |pattern: &str| {
        regex::RegexBuilder::new(pattern).size_limit(tutti_core::limits::ROUTE_REGEX_BYTES).build()
    };
    // Compiled alone first, so that an expression such as `a)|(b` is not repaired by what is put around it.
    compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})$"))).map_err(|source| RouteError::Regex {
        route: route.name.clone(),
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
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

/// Splits `host:port`; brackets of an IPv6 address stay with the host.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            match port.parse() {
                Ok(port) if host.len() + 1 < authority.len() => (host, Some(port)),
                _ => (authority, None),
            }
        }
        _ => (authority, None),
    }
}

/// The host of a `Host` field as routes know it: lower case, no port, no trailing dot. `None` if it is not a
/// host (RFC 3986 section 3.2.2, without user information, percent-encoding and empty labels).
pub fn host_key(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = split_port(authority);
    let host = if port.is_none() { host.strip_suffix(':').unwrap_or(host) } else { host };
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()?;
    } else {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
        if !host.bytes().all(fine) {
            return None;
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // `a..` is not `a`, `.test` is not below `test`, and a host is not nothing.
    if host.split('.').any(str::is_empty) && !authority.is_empty() {
        return None;
    }
    if host.len() > tutti_core::limits::HOST_BYTES {
        return None;
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(Cow::Owned(host.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(host))
    }
}

#[cfg(test)]
mod tests;
