//! A route's policies, compiled.

use tutti_ports::routing::{DeadlineRule, Route};

use crate::model::retry::Policy;

/// What a route does when things go wrong. `None` in a route that says nothing of it.
#[derive(Debug)]
pub struct Plan {
    /// What becomes of deadlines that come with requests.
    pub deadline: DeadlineRule,
    /// When a request is sent again, if the route says so.
    pub retries: Option<Policy>,
}

impl Plan {
    /// Compiles.
    pub fn compile(route: &Route) -> Option<Box<Self>> {
        let rules = &route.resilience;
        if *rules == tutti_ports::routing::Resilience::default() {
            return None;
        }
        let retries = rules.retries.clone().map(Policy::new);
        Some(Box::new(Self { deadline: rules.deadline, retries }))
    }
}
