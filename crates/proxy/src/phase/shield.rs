//! Around phases 6 to 8, on routes that say what they do when things go wrong: how much a request matters, whether there is
//! room for it, faults on purpose, and what is answered when the service cannot.

use std::time::Instant;

use http::{HeaderValue, Response, StatusCode};
use tutti_core::{Code, Kind, Origin, code};
use tutti_net::{Body, Reset};
use tutti_ports::routing::{Abort, FallbackOn};

use super::{Exchange, Stop, filter, send};
use crate::error::Fault;
use crate::grpc;
use crate::model::{headers, hints};
use crate::page::Form;
use crate::resilience::plan::{Fallback, FallbackTo, Plan};
use crate::resilience::{fault, gate, replay::Kept};
use crate::snapshot::plan::RoutePlan;

/// How much of a body is kept for the service that stands in.
const KEPT: usize = 64 << 10;

/// Runs the phases from 6 to 8.
pub async fn run(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    plan: &Plan,
) -> Result<Response<Body>, Stop> {
    if let Some(priority) = plan.priority {
        let priority = *exchange.priority.get_or_insert(priority);
        exchange.request.headers_mut().insert(hints::PRIORITY, HeaderValue::from(u16::from(priority)));
    }
    let Some(fallback) = &plan.fallback else { return guarded(exchange, route, plan).await };
    let kept = matches!(fallback.to, FallbackTo::Service(_)).then(|| {
        let (request, kept) = Kept::of(std::mem::take(&mut exchange.request), KEPT);
        exchange.request = request;
        kept
    });
    let result = guarded(exchange, route, plan).await;
    if steps_in(fallback, &result) { instead(exchange, route, fallback, kept, result).await } else { result }
}

async fn guarded(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    plan: &Plan,
) -> Result<Response<Body>, Stop> {
    if let Some(gate) = &plan.gate {
        exchange.entry.permits.route = Some(enter(exchange, gate).await?);
    }
    if let Some(fault) = &plan.fault
        && fault.strikes(exchange.request.headers(), &exchange.worker.rng)
    {
        inject(exchange, fault).await?;
    }
    let target = super::onward(exchange, route)?;
    send::to(exchange, route, target).await
}

/// Waits for room before a service or route.
pub async fn enter(exchange: &Exchange<'_>, gate: &std::sync::Arc<gate::Gate>) -> Result<gate::Permit, Stop> {
    let priority = exchange.priority.unwrap_or(tutti_ports::routing::NORMAL_PRIORITY);
    match gate.enter(priority, exchange.deadline).await {
        Ok(permit) => Ok(permit),
        Err(_) => Err(Fault::shed(&gate.what).into()),
    }
}

async fn inject(exchange: &mut Exchange<'_>, fault: &fault::Plan) -> Result<(), Stop> {
    exchange.worker.shared.metrics.faults_injected.inc();
    exchange.struck = true;
    let delay = fault.delay(&exchange.worker.rng);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if fault.reset {
        exchange.entry.fault = Some((code::FAULT_INJECTED, Origin::Us));
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Reset);
        return Err(Stop::Answer(Box::new(response)));
    }
    match fault.abort {
        None => Ok(()),
        Some(Abort::Status(status)) => {
            let fault = Fault::injected();
            Err(Fault { status: StatusCode::from_u16(status).unwrap_or(fault.status), ..fault }.into())
        }
        Some(Abort::Grpc(status)) => {
            exchange.entry.fault = Some((code::FAULT_INJECTED, Origin::Us));
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            grpc::status::tell(headers, status, &format!("{}: a fault on purpose", code::FAULT_INJECTED));
            Err(Stop::Answer(Box::new(response)))
        }
    }
}

fn steps_in(fallback: &Fallback, result: &Result<Response<Body>, Stop>) -> bool {
    match result {
        Err(Stop::Answer(_)) => false,
        Err(Stop::Fail(fault)) => {
            reason(fault.code, fault.kind, fault.origin).is_some_and(|reason| fallback.on.contains(&reason))
        }
        Ok(response) => fallback.on.iter().any(|on| match on {
            FallbackOn::GatewayError => matches!(response.status().as_u16(), 502..=504),
            FallbackOn::ServerError => response.status().is_server_error(),
            FallbackOn::Status(status) => response.status().as_u16() == *status,
            _ => false,
        }),
    }
}

/// A fault in the words of a fallback's conditions.
fn reason(code: Code, kind: Kind, origin: Origin) -> Option<FallbackOn> {
    match code {
        code::UPSTREAM_REFUSED => Some(FallbackOn::ConnectFailure),
        code::UPSTREAM_BROKE | code::UPSTREAM_MALFORMED => Some(FallbackOn::Reset),
        code::UPSTREAM_TIMEOUT => Some(FallbackOn::Timeout),
        code::OVERLOADED | code::SHED => Some(FallbackOn::Overloaded),
        // Whoever asked does not wait any longer.
        code::DEADLINE_PASSED => None,
        _ if origin == Origin::Upstream && kind == Kind::Unavailable => Some(FallbackOn::Unavailable),
        _ => None,
    }
}

async fn instead(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    fallback: &Fallback,
    kept: Option<Kept>,
    result: Result<Response<Body>, Stop>,
) -> Result<Response<Body>, Stop> {
    let became = match &result {
        Ok(response) => Ok(response.status().as_u16()),
        Err(Stop::Answer(_)) => Err(Origin::Us),
        Err(Stop::Fail(fault)) => Err(fault.origin),
    };
    let answer = match &fallback.to {
        FallbackTo::Answer { status, body, content_type } => {
            exchange.entry.settle(became, Instant::now());
            let mut response = Response::new(Body::full(body.clone()));
            *response.status_mut() = *status;
            response.headers_mut().insert("content-type", content_type.clone());
            // A page is no message: what is left of it for gRPC is that the service cannot be had.
            Ok(if exchange.form == Form::Grpc { grpc::instead_of(response, "a fallback") } else { response })
        }
        FallbackTo::Service(target) => {
            let Some(again) = kept.and_then(|kept| kept.again()) else { return result };
            // What it answered, and the room that it took, are nobody's concern any more.
            drop(result);
            exchange.entry.settle(became, Instant::now());
            exchange.entry.permits.upstream = None;
            exchange.request = again;
            filter::run(exchange, route)?;
            super::bridge(exchange, route);
            send::to(exchange, route, *target).await
        }
    };
    exchange.worker.shared.metrics.fallbacks.inc();
    answer.map(|mut response| {
        response.headers_mut().insert(headers::FALLBACK, HeaderValue::from_static("true"));
        response
    })
}
