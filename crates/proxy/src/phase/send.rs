//! Phase 8: sending the request to an instance, within its deadlines, and again where that is safe.
//!
//! When a try may be followed by another, on another instance if there is one:
//!
//! | what happened | nothing was sent | sent, no response byte | a response began |
//! |---|---|---|---|
//! | any request | again | never | never |
//! | idempotent (RFC 9110 section 9.2.2), body empty or in memory | again | again | never |
//!
//! At most [`crate::Options::tries`] tries, and all retries of a service within its budget. One thing is not counted as
//! a try: the only instance refusing a connection, since nothing can have been carried out. It is asked again until
//! [`crate::Options::ready_wait`] is over, because most often it is being restarted and the catalog will know
//! in a moment.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use tokio::time::Instant;
use tutti_core::{Classify as _, Kind, Origin, Retry, code, limits};
use tutti_net::{Body, BodyError, Protocol, SendCause, SendError, Stage};

use super::choose::{self, Asked, Tried};
use super::{Exchange, Stop, filter, observe, upload};
use crate::error::Fault;
use crate::page::Form;
use crate::snapshot::cluster::is_h2c;
use crate::snapshot::plan::{RoutePlan, Target};
use crate::upstream::endpoint::{Endpoint, InFlight};
use crate::upstream::pool::{DialError, Pool};

/// A try that failed.
struct Failed {
    fault: Box<Fault>,
    /// The request, if it can be sent again as it is.
    request: Option<Request<Body>>,
    how: How,
}

/// What a failure says about the instance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It does not accept connections.
    Refused,
    /// A kept connection had been closed: another may work.
    Stale,
    /// Anything else.
    Broke,
}

/// Runs the phase.
pub async fn run(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<Response<Body>, Stop> {
    let worker = exchange.worker;
    let target = choose::backend(exchange, route)?;
    if !route.edits.is_empty() {
        exchange.backend = target.at;
        filter::backend(exchange, route);
    }
    let asked = choose::asked(exchange, target.slot, worker.begin(target.slot));
    let started = Instant::from_std(exchange.started);
    let deadline = route.timeout.map(|timeout| started + timeout);
    let mut request = prepare(exchange, route);
    let mut tried = Tried::default();
    let mut chosen = choose::first(worker, target.slot, asked, deadline).await?;
    if let Some(cluster) = worker.snapshot().clusters.get(target.slot) {
        exchange.entry.service = Some(Arc::clone(&cluster.metrics));
    }
    let held_until = Instant::now() + worker.shared.options.ready_wait;
    loop {
        let endpoint = Arc::clone(chosen.endpoint());
        exchange.entry.chosen = Some(chosen);
        exchange.entry.attempts += 1;
        let failed = match once(exchange, route, target, &endpoint, request).await {
            Ok(mut response) => {
                choose::hold(exchange, target.slot, asked, &mut response);
                return Ok(response);
            }
            Err(failed) => failed,
        };
        if failed.how != How::Stale {
            tried.add(endpoint.uid);
        }
        let next = next(exchange, target, asked, (&tried, failed.how), failed.fault.retry, held_until).await;
        match (next, failed.request) {
            (Some(next), Some(again)) => (chosen, request) = (next, again),
            _ => return Err(Stop::Fail(failed.fault)),
        }
    }
}

/// The instance for another try, if there may be one.
async fn next(
    exchange: &Exchange<'_>,
    target: Target,
    asked: Asked,
    (tried, how): (&Tried, How),
    retry: Retry,
    held_until: Instant,
) -> Option<InFlight> {
    let worker = exchange.worker;
    if retry == Retry::Unsafe {
        return None;
    }
    let asked = asked.after(exchange.entry.attempts);
    if exchange.entry.attempts < worker.shared.options.tries.min(limits::TRIES)
        && let Some(other) = choose::now(worker, target.slot, asked, tried)
    {
        if worker.may_retry(target.slot) {
            worker.shared.metrics.retries.inc();
            return Some(other);
        }
        worker.shared.metrics.retries_denied.inc();
        return None;
    }
    if how == How::Refused { choose::again(worker, target.slot, asked, held_until).await } else { None }
}

/// Takes the request out of the exchange, with its body counted and guarded.
fn prepare(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Request<Body> {
    let mut request = std::mem::take(&mut exchange.request);
    if let Some(upgrade) = &exchange.upgrade {
        request.headers_mut().insert(header::UPGRADE, upgrade.clone());
    }
    if let Some(whole) = request.body().in_memory() {
        // It can be sent again, so it is left as it is.
        exchange.entry.upload = (!whole.is_empty()).then(|| upload::arrived(whole.len()));
        return request;
    }
    let (head, body) = request.into_parts();
    let body = match route.idle {
        Some(idle) => body.with_idle_timeout(idle),
        None => body,
    };
    let (body, progress) = upload::watch(body);
    exchange.entry.upload = Some(progress);
    Request::from_parts(head, body)
}

/// One try, within its deadline.
async fn once(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    target: Target,
    endpoint: &Arc<Endpoint>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failed> {
    let idempotent = is_idempotent(request.method());
    let h2 = is_h2c(endpoint.protocol, target.protocol)
        || (exchange.form == Form::Grpc && exchange.connection.protocol == Protocol::Http2);
    if h2 && exchange.trailers {
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // Kept for a try that is given up for its time: what was sent is lost then, but it had no body.
    let copy =
        (route.per_try.is_some() && idempotent && request.body().is_end_stream()).then(|| copy(&request));
    let limit = Limit::of(exchange, route);
    let began = exchange.worker.now();
    let mut unsent = Some(request);
    let timed = {
        let sending = attempt(exchange, endpoint, &mut unsent, h2, idempotent);
        limit.run(sending).await
    };
    let result = match timed {
        Ok(done) => done,
        Err(last) => {
            let retry =
                if !last && (unsent.is_some() || copy.is_some()) { Retry::Safe } else { Retry::Unsafe };
            let text = format!("{} gave no answer within {:?}", endpoint.service, limit.length(last));
            let fault = Fault::upstream(code::UPSTREAM_TIMEOUT, Kind::Timeout, &endpoint.hop, text, retry);
            Err(Failed { fault: Box::new(fault), request: unsent.or(copy), how: How::Broke })
        }
    };
    observe::tried(exchange.worker, target.slot, endpoint, began, result.as_ref().ok());
    result
}

/// Sends on a kept connection or a new one.
async fn attempt(
    exchange: &mut Exchange<'_>,
    endpoint: &Arc<Endpoint>,
    unsent: &mut Option<Request<Body>>,
    h2: bool,
    idempotent: bool,
) -> Result<Response<Body>, Failed> {
    let worker = exchange.worker;
    let pool = worker.pool(endpoint);
    let timeout = worker.shared.options.connect_timeout;
    if h2 {
        let (mut connection, place) = match pool.share(timeout, |driver| worker.own(driver)).await {
            Ok(shared) => shared,
            Err(error) => return Err(refused(exchange, endpoint, &error, unsent.take())),
        };
        exchange.entry.place = Some(place);
        let Some(request) = unsent.take() else { return Err(lost(endpoint)) };
        let sent = connection.send(request).await;
        return sent.map_err(|error| broke(exchange, &pool, error, false, idempotent));
    }
    let (connection, kept) = match pool.take(!idempotent) {
        Some(connection) => (connection, true),
        None => match pool.dial(timeout).await {
            Ok(connection) => (connection, false),
            Err(error) => return Err(refused(exchange, endpoint, &error, unsent.take())),
        },
    };
    let Some(request) = unsent.take() else { return Err(lost(endpoint)) };
    connection.send(request).await.map_err(|error| broke(exchange, &pool, error, kept, idempotent))
}

/// No connection: nothing was sent.
fn refused(
    exchange: &Exchange<'_>,
    endpoint: &Endpoint,
    error: &DialError,
    request: Option<Request<Body>>,
) -> Failed {
    let text = tutti_core::error::chain(error);
    if error.is_ours() {
        // Asking another instance would need what we lack, and none of them is to blame.
        tracing::warn!(error = %text, "no connection can be made: this process lacks what one takes");
        let message =
            format!("no connection to {} could be made for want of files or ports", endpoint.service);
        let fault = Fault::overloaded(message);
        let fault = Fault { retry: Retry::Unsafe, ..fault };
        return Failed { fault: Box::new(fault), request, how: How::Broke };
    }
    suspect(exchange, endpoint, &text);
    let kind = match error {
        DialError::Connect(error) => error.kind(),
        DialError::Handshake(_) | DialError::JustFailed => Kind::Unavailable,
    };
    let message = format!("no connection to {} could be made: {text}", endpoint.service);
    let fault = Fault::upstream(code::UPSTREAM_REFUSED, kind, &endpoint.hop, message, Retry::Safe);
    Failed { fault: Box::new(fault), request, how: How::Refused }
}

/// A connection that failed before a response came.
fn broke(exchange: &Exchange<'_>, pool: &Pool, error: SendError, kept: bool, idempotent: bool) -> Failed {
    let endpoint = &pool.endpoint;
    let safe = match error.stage {
        Stage::NothingSent => true,
        Stage::Sent => idempotent,
        Stage::ResponseBegan => false,
    };
    let text = tutti_core::error::chain(&error.cause);
    let (fault, how) = match &error.cause {
        SendCause::RequestBody(cause @ BodyError::Malformed(Origin::Client, _)) => {
            let fault = Fault::bad_request(format!("the request's body is malformed: {cause}"));
            (Fault { retry: Retry::Unsafe, ..fault }, How::Broke)
        }
        SendCause::RequestBody(cause)
            if cause.kind() == Kind::Timeout || cause.origin() == Origin::Client =>
        {
            (Fault::client_body(format!("the request's body did not come: {cause}")), How::Broke)
        }
        SendCause::Request(problem) => (Fault::bad_request(*problem), How::Broke),
        SendCause::Malformed(_) | SendCause::TooLarge(_) => {
            let message = format!("the answer of {} cannot be passed on: {text}", endpoint.service);
            let kind = Kind::Unavailable;
            (
                Fault::upstream(code::UPSTREAM_MALFORMED, kind, &endpoint.hop, message, Retry::Unsafe),
                How::Broke,
            )
        }
        _ => {
            if kept {
                pool.clear();
            } else {
                suspect(exchange, endpoint, &text);
            }
            let message = format!("the connection to {} broke before it answered: {text}", endpoint.service);
            let retry = if safe { Retry::Safe } else { Retry::Unsafe };
            let fault =
                Fault::upstream(code::UPSTREAM_BROKE, Kind::Unavailable, &endpoint.hop, message, retry);
            (fault, if kept { How::Stale } else { How::Broke })
        }
    };
    Failed { fault: Box::new(fault), request: error.request.map(|request| *request), how }
}

fn lost(endpoint: &Endpoint) -> Failed {
    let message = "the request was already sent".to_owned();
    let fault = Fault::upstream(code::UPSTREAM_BROKE, Kind::Internal, &endpoint.hop, message, Retry::Unsafe);
    Failed { fault: Box::new(fault), request: None, how: How::Broke }
}

/// Passes the instance over for a while, and lets the catalog look at it; once, not for each request that fails.
fn suspect(exchange: &Exchange<'_>, endpoint: &Endpoint, reason: &str) {
    let shared = &exchange.worker.shared;
    if endpoint.cool(exchange.worker.now(), shared.options.cool_off) {
        shared.catalog.suspect(&endpoint.instance, reason);
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// The request again; its body is known to be empty.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Until when a try may go on.
struct Limit {
    started: Instant,
    began: Instant,
    total: Option<Duration>,
    per_try: Option<Duration>,
    /// The body whose progress moves the deadline: one that takes an hour to upload is not a service that is slow.
    upload: Option<Arc<upload::Progress>>,
}

impl Limit {
    fn of(exchange: &Exchange<'_>, route: &RoutePlan) -> Self {
        Self {
            started: Instant::from_std(exchange.started),
            began: Instant::now(),
            total: route.timeout,
            per_try: route.per_try,
            upload: exchange.entry.upload.clone(),
        }
    }

    /// The nearest deadline, and whether it is the last one.
    fn nearest(&self) -> Option<(Instant, bool)> {
        let moved = self.upload.as_ref().map(|upload| Instant::from_std(upload.moved()));
        let since = |begin: Instant| moved.map_or(begin, |moved| moved.max(begin));
        let total = self.total.map(|total| (since(self.started) + total, true));
        let one = self.per_try.map(|one| (since(self.began) + one, false));
        match (total, one) {
            (Some(total), Some(one)) => Some(if one.0 < total.0 { one } else { total }),
            (total, one) => total.or(one),
        }
    }

    fn length(&self, last: bool) -> Duration {
        if last { self.total.unwrap_or_default() } else { self.per_try.unwrap_or_default() }
    }

    /// Runs to the deadline; `Err(true)` when the last one has passed.
    async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, bool> {
        let mut work = std::pin::pin!(work);
        loop {
            let Some((at, last)) = self.nearest() else { return Ok(work.await) };
            if let Ok(done) = tokio::time::timeout_at(at, work.as_mut()).await {
                return Ok(done);
            }
            if self.nearest().is_none_or(|(later, _)| later <= at) {
                return Err(last);
            }
        }
    }
}
