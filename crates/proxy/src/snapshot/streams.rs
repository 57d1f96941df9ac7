//! Routes of bytes, compiled: as far as possible as routes of requests.

use std::sync::Arc;
use std::time::Duration;

use tutti_ports::routing::{Guard, Route, StreamRoute, Timeouts};

use super::plan::{Compiler, RoutePlan};
use crate::model::router::RouteError;

/// A compiled route of bytes.
#[derive(Clone)]
pub struct StreamPlan {
    /// What it has in common with other routes: name, guard, backends, the longest silence, counters.
    pub route: Arc<RoutePlan>,
    /// How long one instance has to accept.
    pub connect: Duration,
}

impl Compiler<'_> {
    /// Compiles a route.
    pub(super) fn stream(&mut self, listener: &str, stream: &StreamRoute) -> Result<StreamPlan, RouteError> {
        let guard =
            Guard { allow: stream.allow.clone(), deny: stream.deny.clone(), ..Guard::default() }.into();
        let idle = stream.idle_timeout.unwrap_or(self.options.tunnel_idle_timeout);
        let timeouts = Timeouts { idle: Some(idle), ..Timeouts::default() };
        let backends = stream.backends.clone();
        let common = Route { backends, guard, timeouts, ..Route::named(&stream.name) };
        let connect = stream.connect_timeout.unwrap_or(self.options.connect_timeout);
        Ok(StreamPlan { route: Arc::new(self.route(listener, &common)?), connect })
    }
}
