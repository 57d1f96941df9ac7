//! Phase 5: which route the request takes.

use std::sync::Arc;

use super::{Exchange, Stop, guard};
use crate::content::cors;
use crate::error::Fault;
use crate::explain::report;
use crate::explain::why::{self, Question};
use crate::model::router::{Asked, Caller, host_key};
use crate::snapshot::plan::{RoutePlan, Routes};

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>, routes: &Routes) -> Result<Arc<RoutePlan>, Stop> {
    let request = &exchange.request;
    let host = exchange.entry.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host_key(host).unwrap_or_default();
    let path = match request.uri().path() {
        // OPTIONS * is about the server as a whole.
        "*" => "/",
        path => path,
    };
    let asked = Asked {
        host: &host,
        path,
        query: request.uri().query(),
        method: request.method(),
        headers: request.headers(),
        caller: Caller {
            address: guard::client(exchange),
            failed: Some(&exchange.worker.shared.metrics.conditions_failed),
        },
    };
    let find = |asked: &Asked<'_>| {
        routes.router.find(asked).and_then(|found| Some((found, routes.get(found.route)?)))
    };
    // A preflight asks for another method, and the route of that method has the say.
    let preflight = if routes.cors > 0 { cors::preflight_of(asked.method, asked.headers) } else { None };
    let found = preflight
        .and_then(|method| find(&Asked { method: &method, ..asked }))
        .filter(|(_, route)| route.content.as_ref().is_some_and(|content| content.cors.is_some()))
        .or_else(|| find(&asked));
    if let Some(wish) = &mut exchange.explain {
        let taken = found.map(|(_, route)| route.name.as_str());
        let question = Question { asked, fields: true, taken };
        wish.routing = why::explain(&routes.router, &|at| report::named(routes, at), &question);
    }
    let Some((found, route)) = found else {
        let shown = if host.is_empty() { "no host" } else { &*host };
        let message = format!(
            "no route of {} matches {} {} for {shown}",
            exchange.listener.name,
            request.method(),
            path
        );
        return Err(Fault::no_route(message).into());
    };
    exchange.prefix = found.prefix;
    Ok(Arc::clone(route))
}
