//! Phase 9: the response on its way back to the client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header};
use tutti_core::{Kind, Retry, code};
use tutti_net::tunnel::{Tunnelled, tunnel};
use tutti_net::{Body, Stream, upgrade};

use super::identify::REQUEST_ID;
use super::observe::Judge;
use super::record::Entry;
use super::{Exchange, Stop, content};
use crate::error::Fault;
use crate::grpc;
use crate::grpc::ending::{self, Broke};
use crate::metrics::Metrics;
use crate::model::outlier::Outcome;
use crate::model::{headers, retry};
use crate::page::{self, Form};
use crate::resilience::cut;
use crate::snapshot::plan::RoutePlan;

/// Runs the phase.
pub fn run(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    mut response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(exchange, route, response);
    }
    headers::strip(response.headers_mut());
    edit(exchange, route, &mut response);
    name(exchange, &mut response);
    if exchange.struck
        && let Some(fault) = route.resilience.as_ref().and_then(|plan| plan.fault.as_ref())
    {
        response = response.map(|body| fault.spoil(body));
    }
    if let Some(deadline) = exchange.deadline {
        let grpc = exchange.form == Form::Grpc;
        response = response.map(|body| cut::at(body, deadline, grpc));
    }
    let response = match route.idle {
        Some(idle) => response.map(|body| body.with_idle_timeout(idle)),
        None => response,
    };
    let response = if exchange.form == Form::Grpc { grpc(exchange, route, response)? } else { response };
    match &route.content {
        Some(plan) => content::write(exchange, plan, response),
        None => Ok(response),
    }
}

/// An answer of gRPC: what goes wrong in the middle of it is told as gRPC tells it, and browsers get it in their own way.
fn grpc(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    mut response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    if !page::is_grpc(response.headers()) {
        return Ok(response);
    }
    exchange.entry.said = retry::grpc_status(response.headers());
    let judge = judge(exchange);
    // Before its failure could be seen: what is too long is a failure, too.
    if let Some(plan) = &route.content {
        response = content::hold(exchange, plan, response)?;
    }
    if response.body().in_memory().is_none() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let broke = Broke::default();
        exchange.entry.broke = Some(broke.clone());
        response = response.map(|body| ending::told(body, broke, judge));
    } else if let Some(judge) = judge {
        judge.settle(Outcome::Fine);
    }
    Ok(match exchange.web.filter(|_| route.web) {
        Some(web) => web.response(response),
        None => response,
    })
}

/// Who judges the instance by the end of its answer, unless that is known by now, or the answer will not be the service's own.
fn judge(exchange: &mut Exchange<'_>) -> Option<Judge> {
    let deferred = exchange.entry.deferred.take().filter(|_| !exchange.struck)?;
    let endpoint = exchange.entry.chosen.as_ref()?.endpoint();
    Judge::new(exchange.worker, deferred, endpoint, exchange.deadline)
}

/// An answer of our own in the form that the client reads: to gRPC a redirect or a page is a status.
pub fn in_form(exchange: &Exchange<'_>, response: Response<Body>) -> Response<Body> {
    if exchange.form != Form::Grpc || *exchange.entry.method() == Method::OPTIONS {
        return response;
    }
    let mut response = grpc::instead_of(response, "the gateway answered in place of the service");
    if let Some(web) = exchange.web {
        response.headers_mut().insert(header::CONTENT_TYPE, web.content_type());
    }
    response
}

/// What the backend and then the route do to the response's header.
fn edit(exchange: &Exchange<'_>, route: &RoutePlan, response: &mut Response<Body>) {
    let of_backend = route.edits.get(exchange.backend).map_or(&[][..], |edits| &edits.response);
    for edit in of_backend.iter().chain(&route.response) {
        edit.apply(response.headers_mut());
    }
}

/// The client learns the request's id, unless the service has said one, and what the route's guard tells it.
fn name(exchange: &Exchange<'_>, response: &mut Response<Body>) {
    if let Some(guarded) = &exchange.entry.guarded
        && let Some(guard) = exchange.entry.route.as_ref().and_then(|route| route.guard.as_ref())
    {
        super::guard::tell(guard, guarded, response.headers_mut());
    }
    if let Some(plan) = exchange.entry.route.as_ref().and_then(|route| route.content.as_ref()) {
        content::tell(exchange, plan, response);
    }
    if let Some(alt_svc) = &exchange.listener.alt_svc {
        response.headers_mut().insert(header::ALT_SVC, alt_svc.clone());
    }
    if let Some(id) = &exchange.entry.request_id {
        response.headers_mut().entry(REQUEST_ID).or_insert_with(|| id.clone());
    }
}

/// An answer that is neither a service's nor a fault, with what every answer of the route says.
pub fn own(exchange: &Exchange<'_>, mut response: Response<Body>) -> Response<Body> {
    name(exchange, &mut response);
    response
}

/// The answer to a request that failed.
pub fn fault(exchange: &mut Exchange<'_>, fault: &Fault) -> Response<Body> {
    exchange.entry.fault = Some((fault.code, fault.origin));
    let told = if exchange.among_us {
        Cow::Borrowed(fault)
    } else {
        tracing::debug!(request_id = exchange.entry.id(), code = %fault.code, message = %fault.message, "a request failed");
        Cow::Owned(page::for_strangers(fault))
    };
    let rendered = page::render(&told, exchange.form, exchange.entry.method(), exchange.entry.id());
    let mut response = in_form(exchange, rendered.map(Body::full));
    name(exchange, &mut response);
    response
}

/// The connection becomes what the client asked for and the instance agreed to.
fn switch(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    mut response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    let becomes: Option<HeaderValue> = response.headers().get(header::UPGRADE).cloned();
    let upstream = upgrade::take(&mut response);
    let becomes = becomes
        .filter(|becomes| exchange.upgrade.as_ref().is_some_and(|asked| headers::agrees(asked, becomes)));
    let (Some(becomes), Some(upstream)) = (becomes, upstream) else {
        let hop = exchange.entry.chosen.as_ref().map_or("", |chosen| &chosen.endpoint().hop);
        let message = "the service switched protocols without having been asked".to_owned();
        let kind = Kind::Unavailable;
        return Err(Fault::upstream(code::UPSTREAM_MALFORMED, kind, hop, message, Retry::Unsafe).into());
    };
    headers::strip(response.headers_mut());
    edit(exchange, route, &mut response);
    name(exchange, &mut response);
    response.headers_mut().insert(header::UPGRADE, becomes);
    let idle = exchange.worker.shared.options.tunnel_idle_timeout;
    let metrics = Arc::clone(&exchange.worker.shared.metrics);
    exchange.switched = Some(Switched { upstream, idle, metrics });
    Ok(response)
}

/// A connection that the instance has agreed to upgrade.
pub struct Switched {
    upstream: Stream,
    idle: Duration,
    metrics: Arc<Metrics>,
}

impl Switched {
    /// Carries the bytes to their end. The instance counts as busy until then.
    pub async fn carry(self, mut entry: Box<Entry>, client: Stream) {
        let _counted = CountedTunnel::begin(self.metrics);
        let Tunnelled { a_to_b, b_to_a, .. } = tunnel(client, self.upstream, self.idle).await;
        entry.tunnelled = (a_to_b, b_to_a);
    }
}

/// A tunnel under way, for the metrics.
pub struct CountedTunnel(Arc<Metrics>);

impl CountedTunnel {
    /// Counts.
    pub fn begin(metrics: Arc<Metrics>) -> Self {
        metrics.tunnels.add(1);
        Self(metrics)
    }
}

impl Drop for CountedTunnel {
    fn drop(&mut self) {
        self.0.tunnels.add(-1);
    }
}
