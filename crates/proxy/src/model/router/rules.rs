//! A route as rules: everything that can be wrong with it is found here, so that tables take it without a word.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, Method};
use regex::Regex;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

use super::table::{Rule, Test};
use super::{Made, RouteError, host_key, split_port};

/// The rules of a route, and the hosts that they are for.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) section: Option<Name>,
    /// None: any host.
    pub(super) hosts: Vec<Name>,
    pub(super) rules: Vec<(Path, Rule)>,
}

/// A host name.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) wildcard: bool,
    /// Without what makes it a wildcard.
    pub(super) key: Box<str>,
}

/// Where a table has a rule.
#[derive(Clone, Debug)]
pub(super) enum Path {
    Exact(Box<str>),
    /// Without a slash at the end.
    Prefix(Box<str>),
    Regex(Arc<Regex>),
}

impl Rules {
    /// Compiles a route; refuses what cannot be matched or would never work.
    pub fn compile(route: &Route, made: &mut Made) -> Result<Self, RouteError> {
        let everything = [Match::default()];
        let matches = if route.matches.is_empty() { &everything[..] } else { &route.matches[..] };
        let rule = |condition| Ok((Path::compile(route, condition, made)?, rule(route, condition, made)?));
        Ok(Self {
            rules: matches.iter().map(rule).collect::<Result<_, _>>()?,
            section: route.section.as_ref().map(|name| checked_host(route, name)).transpose()?,
            hosts: route.hosts.iter().map(|host| checked_host(route, host)).collect::<Result<_, _>>()?,
        })
    }

    /// The rules at a place.
    pub(super) fn placed(&self, place: usize, order: u64) -> impl Iterator<Item = (Path, Arc<Rule>)> {
        self.rules.iter().enumerate().map(move |(at, (path, rule))| {
            (path.clone(), Arc::new(Rule { place, order: (order, at), ..rule.clone() }))
        })
    }
}

/// A host name of the configuration as a key.
fn checked_host(route: &Route, host: &str) -> Result<Name, RouteError> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, host),
    };
    let key =
        host_key(name).filter(|key| !key.is_empty() && !key.contains('*') && split_port(name).1.is_none());
    let problem = || format!("{host:?} is not a host name (no port, `*.` only in front)");
    let key = key.ok_or_else(|| RouteError::Invalid { route: route.name.clone(), problem: problem() })?;
    Ok(Name { wildcard, key: Box::from(key.as_ref()) })
}

impl Path {
    fn compile(route: &Route, condition: &Match, made: &mut Made) -> Result<Self, RouteError> {
        let invalid = |problem: String| RouteError::Invalid { route: route.name.clone(), problem };
        let absolute = |path: &str| match crate::model::path::normalize(path) {
            Ok(Cow::Borrowed(_)) => Ok(()),
            Ok(Cow::Owned(form)) => {
                Err(invalid(format!("the path {path:?} can never match: write {form:?}")))
            }
            Err(error) => Err(invalid(format!("the path {path:?} can never match: {error}"))),
        };
        Ok(match &condition.path {
            Some(PathMatch::Exact(path)) => {
                absolute(path)?;
                Self::Exact(Box::from(path.as_str()))
            }
            Some(PathMatch::Regex(pattern)) => Self::Regex(made.regex(route, pattern)?),
            Some(PathMatch::Prefix(path)) => {
                absolute(path)?;
                Self::Prefix(Box::from(path.trim_end_matches('/')))
            }
            Some(PathMatch::Grpc { service: Some(service), method: Some(method) }) => {
                let path = format!("/{service}/{method}");
                absolute(&path)?;
                Self::Exact(path.into())
            }
            Some(PathMatch::Grpc { service: Some(service), method: None }) => {
                let path = format!("/{service}");
                absolute(&path)?;
                Self::Prefix(path.into())
            }
            // A method of any service is looked for last: the Gateway API compares the services first.
            None | Some(PathMatch::Grpc { service: None, .. }) => Self::Prefix(Box::from("")),
        })
    }
}

fn rule(route: &Route, condition: &Match, made: &mut Made) -> Result<Rule, RouteError> {
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
        headers.push((parsed, test(route, value, made)?));
    }
    let mut query = Vec::new();
    for FieldMatch { name, value } in &condition.query {
        query.push((Box::from(name.as_str()), test(route, value, made)?));
    }
    let grpc_method = match &condition.path {
        Some(PathMatch::Grpc { service: None, method: Some(method) }) => Some(Box::from(method.as_str())),
        _ => None,
    };
    let when = route.when.as_ref().map(|text| made.condition(route, text)).transpose()?;
    Ok(Rule { place: 0, order: (0, 0), grpc_method, method, headers, query, when })
}

fn test(route: &Route, value: &ValueMatch, made: &mut Made) -> Result<Test, RouteError> {
    Ok(match value {
        ValueMatch::Exact(text) => Test::Exact(Box::from(text.as_str())),
        ValueMatch::Regex(pattern) => Test::Regex(made.regex(route, pattern)?),
    })
}
