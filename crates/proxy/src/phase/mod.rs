//! The life of a request, one file for each phase, in the order in which they run.
//!
//! | phase | does | stops with |
//! |---|---|---|
//! | 1 [`accept`] | takes the connection, ends TLS, tells HTTP from bytes | |
//! |   [`carry`] | instead of all that follows, for bytes that are not HTTP, and TLS that is passed on | |
//! | 2 [`decode`] | brings path and host into one form, ends the hop-by-hop fields | 400, 501 |
//! | 3 [`identify`] | client address, `X-Forwarded-*`, request id, trace | 421 |
//! |   [`challenge`] | answers an authority that looks whether a name is ours | an answer |
//! | 4 [`admit`] | sheds what is over the limit | 503 |
//! | 5 [`route`] | finds the route | 404 |
//! |   [`guard`] | refuses who may not ask, or asks too often | 403, 429, 503 |
//! |   [`external`] | asks another service whether it may pass | an answer, 503 |
//! |   [`shield`] | where a route says so: waits for room, goes wrong on purpose, answers in place of the service | 503 |
//! |   [`content`] | what the route takes: methods, types, sizes; preflights | 405, 413, 414, 415, 431 |
//! |   [`openapi`] | holds what the route describes against its description | 400, 404, 405, 413, 415, 502 |
//! | 6 [`filter`] | edits, rewrites, redirects | an answer |
//! |   [`mirror`] | begins copies for services that are being tried out | |
//! | 7 [`choose`] | picks a ready instance, waiting a moment for one that starts | 503 |
//! | 8 [`send`] | sends, within deadlines, and again where that is safe | 502, 504 |
//! | 9 [`respond`] | ends the hop-by-hop fields of the response, edits it, tunnels an upgrade | |
//! | 10 [`record`] | counts and logs, when the last byte is gone | |
//!
//! A phase takes the [`Exchange`] and goes on, or stops with [`Stop::Answer`] or [`Stop::Fail`]; a [`Fault`] says
//! who is at fault and whether a retry is safe.

pub mod accept;
pub mod admit;
pub mod attempt;
pub mod call;
pub mod carry;
pub mod challenge;
pub mod choose;
pub mod content;
pub mod decode;
pub mod external;
pub mod filter;
pub mod guard;
pub mod hedge;
pub mod identify;
pub mod mirror;
pub mod observe;
pub mod openapi;
pub mod record;
pub mod respond;
pub mod route;
pub mod send;
pub mod shield;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Request, Response};
use tutti_net::{Body, ConnectionInfo};
use tutti_ports::routing::DeadlineRule;

use crate::error::Fault;
use crate::explain::{live, note};
use crate::grpc::web::Web;
use crate::model::hints;
use crate::page::Form;
use crate::snapshot::plan::{ListenerPlan, RoutePlan, Routes, Serve, Target};
use crate::worker::Worker;
use record::Entry;
use respond::Switched;

/// Why a request goes no further.
pub enum Stop {
    /// It has its answer.
    Answer(Box<Response<Body>>),
    /// It failed.
    Fail(Box<Fault>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fail(Box::new(fault))
    }
}

/// A request on its way.
pub struct Exchange<'a> {
    /// Who serves it.
    pub worker: &'a Worker,
    /// Where it came in.
    pub listener: &'a ListenerPlan,
    /// What it came on.
    pub connection: &'a ConnectionInfo,
    /// When its head was complete.
    pub started: Instant,
    /// The request, as it will be sent.
    pub request: Request<Body>,
    /// In which form the client wants to hear of a fault.
    pub form: Form,
    /// How it speaks gRPC over the web, if it does.
    pub web: Option<Web>,
    /// Whether the client may hear what goes on behind us; see [`identify`].
    pub among_us: bool,
    /// What the client wants the connection to become.
    pub upgrade: Option<HeaderValue>,
    /// Whether the client accepts trailers.
    pub trailers: bool,
    /// When the caller gives up, if it said so.
    pub deadline: Option<tokio::time::Instant>,
    /// How much it matters, if anybody said so.
    pub priority: Option<u8>,
    /// Whether the route's fault struck it.
    pub struck: bool,
    /// Whether the caller asks again on behalf of its own caller.
    pub repeated: bool,
    /// The length of the path's prefix that the route matched.
    pub prefix: usize,
    /// The place of the chosen one among the route's backends.
    pub backend: usize,
    /// What its client wants to hear of the way it took.
    pub explain: Option<Box<live::Asked>>,
    /// What the answer needs of the request.
    pub asked: content::Asked,
    /// What the connection becomes.
    pub switched: Option<Switched>,
    /// What will be recorded.
    pub entry: Box<Entry>,
}

/// Leads a request through all phases.
pub fn run<'a>(
    worker: &'a Worker,
    listener: &'a Arc<ListenerPlan>,
    connection: &'a ConnectionInfo,
    request: Request<Body>,
) -> impl Future<Output = Response<Body>> + 'a {
    let started = Instant::now();
    let form = Form::of(request.headers());
    let web = if form == Form::Grpc { Web::of(request.headers()) } else { None };
    let entry = Entry::begin(&worker.recorder, listener, &request, connection, started);
    let mut exchange = Exchange {
        worker,
        listener,
        connection,
        started,
        request,
        form,
        web,
        among_us: false,
        upgrade: None,
        trailers: false,
        deadline: None,
        repeated: false,
        priority: None,
        struck: false,
        prefix: 0,
        backend: 0,
        explain: None,
        asked: content::Asked::default(),
        switched: None,
        entry,
    };
    // The future holds the exchange and not the request besides.
    async move {
        let mut answer = match phases(&mut exchange).await {
            Ok(response) => response,
            Err(Stop::Answer(response)) => respond::in_form(&exchange, *response),
            Err(Stop::Fail(fault)) => {
                let answer = respond::fault(&mut exchange, &fault);
                exchange.entry.trouble = Some(note::trouble(&exchange, *fault));
                answer
            }
        };
        if let Some(asked) = exchange.explain.take() {
            live::tell(&exchange, &asked, &mut answer);
        }
        record::finish(exchange.entry, exchange.switched, answer)
    }
}

async fn phases(exchange: &mut Exchange<'_>) -> Result<Response<Body>, Stop> {
    decode::run(exchange)?;
    identify::run(exchange)?;
    challenge::run(exchange)?;
    admit::run(exchange)?;
    let listener = exchange.listener;
    let Serve::Http(routes) = &listener.serve else {
        return Err(Fault::no_route("the listener does not serve HTTP any more".to_owned()).into());
    };
    let route = matched(exchange, routes)?;
    if let Some(plan) = &route.content {
        content::remember(exchange, plan);
        if let Some(answer) = content::preflight(exchange, plan) {
            return Err(Stop::Answer(Box::new(answer)));
        }
    }
    if route.guard.is_some() {
        guard::run(exchange, &route).await?;
    }
    deadline(exchange, &route)?;
    let mut described = None;
    if let Some(plan) = &route.content {
        content::run(exchange, plan)?;
        if let Some(plan) = &plan.openapi {
            described = Box::pin(openapi::request(exchange, &route, plan)).await?;
        }
    }
    let response = match &route.resilience {
        None => {
            let target = onward(exchange, &route)?;
            send::to(exchange, &route, target).await?
        }
        // In a box, or every request would carry its weight.
        Some(plan) => Box::pin(shield::run(exchange, &route, plan)).await?,
    };
    let response = match described {
        None => response,
        Some(described) => Box::pin(openapi::response(exchange, &route, &described, response)).await?,
    };
    respond::run(exchange, &route, response)
}

/// Phases 6 and 7: where the request goes.
fn onward(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<Target, Stop> {
    filter::run(exchange, route)?;
    bridge(exchange, route);
    if !route.mirrors.is_empty() {
        mirror::run(exchange, route);
    }
    choose::backend(exchange, route)
}

/// From gRPC-Web to gRPC, where the route does that. What has been translated stays as it is.
fn bridge(exchange: &mut Exchange<'_>, route: &RoutePlan) {
    if route.web
        && let Some(web) = exchange.web
        && Web::of(exchange.request.headers()).is_some()
    {
        web.request(&mut exchange.request);
        exchange.trailers = true;
    }
}

/// The caller's deadline, as the route has it.
fn deadline(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<(), Stop> {
    match route.resilience.as_ref().map_or(DeadlineRule::Honour, |plan| plan.deadline) {
        DeadlineRule::Honour => {}
        DeadlineRule::Propagate => {
            let own = route.timeout.map(|timeout| tokio::time::Instant::from_std(exchange.started) + timeout);
            exchange.deadline = [exchange.deadline, own].into_iter().flatten().min();
        }
        DeadlineRule::Ignore => {
            exchange.deadline = None;
            hints::remove_deadline(exchange.request.headers_mut());
        }
    }
    match exchange.deadline {
        Some(deadline) if deadline <= tokio::time::Instant::now() => Err(Fault::deadline_passed().into()),
        _ => Ok(()),
    }
}

fn matched(exchange: &mut Exchange<'_>, routes: &Routes) -> Result<Arc<RoutePlan>, Stop> {
    let route = route::run(exchange, routes)?;
    exchange.entry.route = Some(Arc::clone(&route));
    exchange.entry.trail.generation = exchange.worker.view().routes;
    Ok(route)
}
