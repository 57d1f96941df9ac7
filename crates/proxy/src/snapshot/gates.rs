//! The gates before services and routes: made when something is said of them, and kept as long as it is, so that who is
//! inside still counts after a change.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tutti_core::ServiceName;

use super::cluster::Policies;
use crate::metrics::Metrics;
use crate::model::gate::Rules;
use crate::resilience::gate::{self, Gate};

/// All gates.
#[derive(Debug, Default)]
pub struct Gates {
    services: HashMap<ServiceName, Arc<Gate>>,
    routes: HashMap<(String, String), Weak<Gate>>,
    /// Those that are gone are forgotten when there are so many.
    full: usize,
}

/// How many gates may be remembered that are gone, besides as many as there are.
const SLACK: usize = 64;

impl Gates {
    /// The gate before a service.
    pub fn of(&self, service: &ServiceName) -> Option<Arc<Gate>> {
        self.services.get(service).cloned()
    }

    /// Makes, adjusts and takes away gates before services.
    pub fn regulate(&mut self, policies: &Policies, metrics: &Metrics) {
        let mut kept = HashMap::new();
        for (service, policy) in policies {
            let Some(rules) = gate::rules(policy.concurrency.as_ref(), policy.adaptive.as_ref()) else {
                continue;
            };
            let gate = match self.services.remove(service) {
                Some(gate) => {
                    gate.adjust(rules);
                    gate
                }
                None => {
                    let what = format!("the service {service}");
                    Arc::new(Gate::new(what, rules, metrics.gate("service", service.as_str())))
                }
            };
            kept.insert(service.clone(), gate);
        }
        self.services = kept;
    }

    /// The gate before a route.
    pub fn route(&mut self, listener: &str, route: &str, rules: Rules, metrics: &Metrics) -> Arc<Gate> {
        if self.routes.len() >= self.full.max(SLACK) {
            self.routes.retain(|_, gate| gate.strong_count() > 0);
            self.full = self.routes.len() * 2 + SLACK;
        }
        let key = (listener.to_owned(), route.to_owned());
        if let Some(gate) = self.routes.get(&key).and_then(Weak::upgrade) {
            gate.adjust(rules);
            return gate;
        }
        let gate = Arc::new(Gate::new(format!("the route {route:?}"), rules, metrics.gate("route", route)));
        self.routes.insert(key, Arc::downgrade(&gate));
        gate
    }
}
