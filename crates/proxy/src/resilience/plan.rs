//! A route's policies, compiled.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tutti_ports::routing::{self, DeadlineRule, FallbackOn, Route};

use super::fault;
use super::gate::{self, Gate};
use crate::model::retry::Policy;
use crate::model::router::RouteError;
use crate::snapshot::plan::{Compiler, Target};

/// What a route does when things go wrong. `None` in a route that says nothing of it.
#[derive(Debug)]
pub struct Plan {
    /// What becomes of deadlines that come with requests.
    pub deadline: DeadlineRule,
    /// When a request is sent again, if the route says so.
    pub retries: Option<Policy>,
    /// When another instance is asked as well.
    pub hedge: Option<routing::Hedge>,
    /// How much its requests matter.
    pub priority: Option<u8>,
    /// How many of them there may be at a time.
    pub gate: Option<Arc<Gate>>,
    /// What is answered when the service cannot.
    pub fallback: Option<Fallback>,
    /// What goes wrong on purpose.
    pub fault: Option<fault::Plan>,
}

/// What is answered when the service cannot.
#[derive(Debug)]
pub struct Fallback {
    /// When.
    pub on: Vec<FallbackOn>,
    /// What.
    pub to: FallbackTo,
}

/// What a fallback is.
#[derive(Debug)]
pub enum FallbackTo {
    /// Another service is asked.
    Service(Target),
    /// An answer that is always the same.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: Bytes,
        /// What the body is.
        content_type: HeaderValue,
    },
}

impl Plan {
    /// Compiles.
    pub fn compile(
        compiler: &mut Compiler<'_>,
        listener: &str,
        route: &Route,
    ) -> Result<Option<Box<Self>>, RouteError> {
        let rules = &route.resilience;
        if **rules == routing::Resilience::default() {
            return Ok(None);
        }
        let bad = |problem| RouteError::Invalid { route: route.name.clone(), problem };
        let gate = gate::rules(rules.concurrency.as_ref(), None)
            .map(|limits| compiler.clusters.gates.route(listener, &route.name, limits, compiler.metrics));
        let fallback = match &rules.fallback {
            None => None,
            Some(fallback) => {
                let to = match &fallback.to {
                    routing::FallbackTo::Service(backend) => {
                        FallbackTo::Service(compiler.target(&route.name, backend)?)
                    }
                    routing::FallbackTo::Answer { status, body, content_type } => FallbackTo::Answer {
                        status: StatusCode::from_u16(*status)
                            .map_err(|_| bad(format!("{status} is no status")))?,
                        body: Bytes::from(body.clone()),
                        content_type: HeaderValue::from_str(content_type)
                            .map_err(|_| bad(format!("`{content_type}` is no content type")))?,
                    },
                };
                Some(Fallback { on: fallback.on.clone(), to })
            }
        };
        Ok(Some(Box::new(Self {
            deadline: rules.deadline,
            retries: rules.retries.clone().map(Policy::new),
            hedge: rules.hedge.clone(),
            priority: rules.priority,
            gate,
            fallback,
            fault: rules.fault.as_ref().map(fault::Plan::compile).transpose().map_err(bad)?,
        })))
    }
}
