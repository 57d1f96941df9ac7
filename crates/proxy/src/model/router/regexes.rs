//! The regular expressions of routes, made once: making one costs more than everything else of a route.

use std::collections::HashMap;

use regex::Regex;
use tutti_ports::routing::Route;

use super::RouteError;

/// Regular expressions: those that are made, and those that were there before.
pub(super) struct Regexes<'a> {
    before: Option<&'a HashMap<Box<str>, Regex>>,
    made: HashMap<Box<str>, Regex>,
}

impl<'a> Regexes<'a> {
    pub(super) fn after(before: Option<&'a HashMap<Box<str>, Regex>>) -> Self {
        Self { before, made: HashMap::new() }
    }

    pub(super) fn made(self) -> HashMap<Box<str>, Regex> {
        self.made
    }

    pub(super) fn whole(&mut self, route: &Route, pattern: &str) -> Result<Regex, RouteError> {
        let known = self.made.get(pattern).or_else(|| self.before.and_then(|before| before.get(pattern)));
        let regex = match known {
            Some(regex) => regex.clone(),
            None => whole(route, pattern)?,
        };
        self.made.insert(Box::from(pattern), regex.clone());
        Ok(regex)
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
