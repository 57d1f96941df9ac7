//! The regular expressions and conditions of routes, made once: making one costs more than everything else of a route.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use tutti_core::limits;
use tutti_ports::routing::Route;

use super::RouteError;
use crate::model::condition::Condition;

/// What has been made, by its text.
#[derive(Debug, Default)]
pub(super) struct Made {
    regexes: HashMap<Box<str>, Regex>,
    conditions: HashMap<Box<str>, Arc<Condition>>,
}

/// Makes what was not there before.
pub(super) struct Maker<'a> {
    before: Option<&'a Made>,
    made: Made,
    /// Rules that have a condition.
    conditions: usize,
}

impl<'a> Maker<'a> {
    pub(super) fn after(before: Option<&'a Made>) -> Self {
        Self { before, made: Made::default(), conditions: 0 }
    }

    pub(super) fn made(self) -> Made {
        self.made
    }

    pub(super) fn regex(&mut self, route: &Route, pattern: &str) -> Result<Regex, RouteError> {
        let before = self.before.map(|before| &before.regexes);
        let known = self.made.regexes.get(pattern).or_else(|| before.and_then(|before| before.get(pattern)));
        let regex = match known {
            Some(regex) => regex.clone(),
            None => whole(route, pattern)?,
        };
        self.made.regexes.insert(Box::from(pattern), regex.clone());
        Ok(regex)
    }

    pub(super) fn condition(&mut self, route: &Route, text: &str) -> Result<Arc<Condition>, RouteError> {
        let invalid = |problem| RouteError::Invalid { route: route.name.clone(), problem };
        let before = self.before.map(|before| &before.conditions);
        let known = self.made.conditions.get(text).or_else(|| before.and_then(|before| before.get(text)));
        let condition = match known {
            Some(condition) => Arc::clone(condition),
            None => {
                let made = Condition::compile(text, false);
                Arc::new(made.map_err(|why| invalid(format!("when: {why}")))?)
            }
        };
        self.made.conditions.insert(Box::from(text), Arc::clone(&condition));
        // A request may be held against all of them.
        self.conditions += 1;
        if self.conditions > limits::ROUTE_CONDITIONS {
            return Err(invalid(format!("a listener has at most {} conditions", limits::ROUTE_CONDITIONS)));
        }
        Ok(condition)
    }
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
