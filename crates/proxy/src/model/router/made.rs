//! The regular expressions and conditions of routes, made once: making one costs more than everything else of a route.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use regex::Regex;
use tutti_core::limits;
use tutti_ports::routing::Route;

use super::RouteError;
use crate::model::condition::Condition;

/// How many may be remembered that nobody uses any more, besides as many as are in use.
const SLACK: usize = 64;

/// What routes use now.
#[derive(Debug, Default)]
pub struct Made {
    regexes: Known<Regex>,
    conditions: Known<Condition>,
}

/// What was made of texts, as long as somebody uses it.
#[derive(Debug)]
struct Known<T> {
    by_text: HashMap<Box<str>, Weak<T>>,
    /// Looked through when there are so many.
    full: usize,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { by_text: HashMap::new(), full: SLACK }
    }
}

impl<T> Known<T> {
    fn get<E>(&mut self, text: &str, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(known) = self.by_text.get(text).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        if self.by_text.len() >= self.full {
            self.by_text.retain(|_, known| known.strong_count() > 0);
            self.full = self.by_text.len() * 2 + SLACK;
        }
        self.by_text.insert(Box::from(text), Arc::downgrade(&made));
        Ok(made)
    }
}

impl Made {
    pub(super) fn regex(&mut self, route: &Route, pattern: &str) -> Result<Arc<Regex>, RouteError> {
        self.regexes.get(pattern, || whole(route, pattern))
    }

    pub(super) fn condition(&mut self, route: &Route, text: &str) -> Result<Arc<Condition>, RouteError> {
        let invalid = |problem| RouteError::Invalid { route: route.name.clone(), problem };
        let make = || Condition::compile(text, false).map_err(|why| invalid(format!("when: {why}")));
        self.conditions.get(text, make)
    }
}

/// How many conditions of a listener are a route's: a request may be held against all of them.
pub fn conditions(route: &Route) -> usize {
    if route.when.is_some() { route.matches.len().max(1) } else { 0 }
}

/// Refuses a route that makes them too many.
pub fn bounded(route: &Route, conditions: usize) -> Result<(), RouteError> {
    if conditions <= limits::ROUTE_CONDITIONS {
        return Ok(());
    }
    let problem = format!("a listener has at most {} conditions", limits::ROUTE_CONDITIONS);
    Err(RouteError::Invalid { route: route.name.clone(), problem })
}

/// A regular expression that must match the whole text. The crate promises linear time; its size is bounded.
fn whole(route: &Route, pattern: &str) -> Result<Regex, RouteError> {
    let compile =
        |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(limits::ROUTE_REGEX_BYTES).build();
    // Compiled alone first, so that an expression such as `a)|(b` is not repaired by what is put around it.
    compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})$"))).map_err(|source| RouteError::Regex {
        route: route.name.clone(),
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}
