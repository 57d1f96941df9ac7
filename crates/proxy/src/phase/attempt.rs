//! One try of phase 8: a request on its way to one instance, within its deadlines.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use tokio::time::Instant;
use tutti_core::{Classify as _, Kind, Origin, Retry, code};
use tutti_net::{Body, Protocol, SendCause, SendError, Stage};

use super::observe::Deferred;
use super::{Exchange, observe, upload};
use crate::error::Fault;
use crate::explain::record::Timing;
use crate::model::headers;
use crate::model::hints;
use crate::model::outlier::Outcome;
use crate::model::retry::Trouble;
use crate::page::Form;
use crate::snapshot::cluster::is_h2c;
use crate::snapshot::plan::{RoutePlan, Target};
use crate::timers::Timers;
use crate::upstream::carrier;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{DialError, Place, Pool};

/// A try that was answered.
pub struct Sent {
    /// The answer.
    pub response: Response<Body>,
    /// The place on a shared connection.
    pub place: Option<Place>,
    /// What it says of its instance, if that is known at its end only.
    pub deferred: Option<Deferred>,
}

/// A try that failed.
pub struct Failed {
    /// What to tell the client if it is the last one.
    pub fault: Box<Fault>,
    /// What the failure says about the instance.
    pub how: How,
}

/// What a failure says about the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It does not accept connections.
    Refused,
    /// A kept connection had been closed: another may work.
    Stale,
    /// It took too long.
    Late,
    /// Anything else.
    Broke,
}

impl How {
    /// In the words of retry rules; `None` for what says nothing about the instance.
    pub fn trouble(self) -> Option<Trouble> {
        match self {
            How::Refused => Some(Trouble::Connect),
            How::Stale => None,
            How::Late => Some(Trouble::Timeout),
            How::Broke => Some(Trouble::Reset),
        }
    }
}

/// What all tries of a request have in common.
pub struct Sending<'a> {
    /// The route.
    pub route: &'a RoutePlan,
    /// The service.
    pub target: Target,
    /// Whether the request may be carried out twice.
    pub idempotent: bool,
}

/// One try, within its deadline. Takes the request away, unless it fails and the request can be sent again as it is.
pub async fn once(
    exchange: &Exchange<'_>,
    sending: &Sending<'_>,
    endpoint: &Arc<Endpoint>,
    unsent: &mut Option<Request<Body>>,
    timing: &mut Timing,
) -> Result<Sent, Failed> {
    let h2 = is_h2c(endpoint.protocol, sending.target.protocol)
        || (exchange.form == Form::Grpc
            && match exchange.web {
                None => exchange.connection.protocol != Protocol::Http1,
                Some(_) => sending.route.web,
            });
    if let Some(request) = unsent {
        if h2 && exchange.trailers {
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        }
        label(exchange, request);
    }
    let limit = Limit::of(exchange, sending.route);
    timing.began = Some(limit.began.into_std());
    let timed = {
        let attempt = pin!(attempt(exchange, endpoint, (unsent, timing), h2, sending.idempotent));
        limit.run(&exchange.worker.timers, attempt).await
    };
    let mut result = match timed {
        Ok(done) => done,
        Err(passed) => {
            let again = passed == Passed::Try && (unsent.is_some() || sending.idempotent);
            let retry = if again { Retry::Safe } else { Retry::Unsafe };
            let (code, text) = match passed {
                Passed::Deadline => {
                    let text = format!("{} gave no answer before its caller's deadline", endpoint.service);
                    (code::DEADLINE_PASSED, text)
                }
                Passed::Total | Passed::Try => {
                    let text =
                        format!("{} gave no answer within {:?}", endpoint.service, limit.length(passed));
                    (code::UPSTREAM_TIMEOUT, text)
                }
            };
            let fault = Fault::upstream(code, Kind::Timeout, &endpoint.hop, text, retry);
            Err(Failed { fault: Box::new(fault), how: How::Late })
        }
    };
    let (slot, began) = (sending.target.slot, limit.began.into_std());
    if exchange.form == Form::Grpc
        && let Ok(sent) = &mut result
        && observe::is_open_end(&sent.response)
    {
        sent.deferred = Some(observe::begun(exchange.worker, slot, endpoint, began));
        return result;
    }
    if let Some(outcome) = outcome(&result) {
        observe::tried(exchange.worker, slot, endpoint, began, outcome);
    }
    result
}

/// What a try says of its instance; nothing if it failed for another reason, if its caller had no more time, or if it will
/// be made again on a new connection.
fn outcome(result: &Result<Sent, Failed>) -> Option<Outcome> {
    match result {
        Ok(sent) => Some(observe::answered(&sent.response)),
        Err(Failed { how: How::Stale, .. }) => None,
        Err(Failed { fault, .. }) if fault.code == code::DEADLINE_PASSED => None,
        Err(Failed { fault, .. }) => (fault.origin == Origin::Upstream).then_some(Outcome::Local),
    }
}

/// Tells the instance how long its caller still waits, and whether it is asked again.
fn label(exchange: &Exchange<'_>, request: &mut Request<Body>) {
    if let Some(deadline) = exchange.deadline {
        let remaining = deadline.saturating_duration_since(Instant::now());
        hints::tell(request.headers_mut(), remaining, exchange.form == Form::Grpc);
    }
    if exchange.entry.attempts > 1 {
        request.headers_mut().insert(hints::ATTEMPT, HeaderValue::from(exchange.entry.attempts));
    }
}

/// Sends on a kept connection or a new one.
async fn attempt(
    exchange: &Exchange<'_>,
    endpoint: &Arc<Endpoint>,
    (unsent, timing): (&mut Option<Request<Body>>, &mut Timing),
    h2: bool,
    idempotent: bool,
) -> Result<Sent, Failed> {
    let worker = exchange.worker;
    let pool = worker.pool_for(endpoint, || carrier::ends(exchange.connection, exchange.entry.client));
    let timeout = worker.shared.options.connect_timeout;
    if h2 {
        let (mut connection, place) = match pool.share(timeout, |driver| worker.own(driver)).await {
            Ok(shared) => shared,
            Err(error) => return Err(refused(exchange, endpoint, &error)),
        };
        // A server without RFC 8441 may still take a WebSocket over HTTP/1.1.
        if !exchange.upgrade.as_ref().is_some_and(headers::is_websocket)
            || connection.takes_websockets().await
        {
            let Some(request) = unsent.take() else { return Err(lost(endpoint)) };
            let sent = connection.send(request).await;
            return match sent {
                Ok(response) => Ok(Sent { response, place: Some(place), deferred: None }),
                Err(error) => Err(broke(exchange, &pool, error, unsent, (false, idempotent))),
            };
        }
    }
    let (connection, kept) = match pool.take(!idempotent) {
        Some(connection) => (connection, true),
        None => {
            let began = std::time::Instant::now();
            // In a box: most requests find a connection.
            let dialled = Box::pin(pool.dial(timeout)).await;
            timing.connect = Some(began.elapsed());
            match dialled {
                Ok(connection) => (connection, false),
                Err(error) => return Err(refused(exchange, endpoint, &error)),
            }
        }
    };
    let Some(request) = unsent.take() else { return Err(lost(endpoint)) };
    match connection.send(request).await {
        Ok(response) => Ok(Sent { response, place: None, deferred: None }),
        Err(error) => Err(broke(exchange, &pool, error, unsent, (kept, idempotent))),
    }
}

/// No connection: nothing was sent.
fn refused(exchange: &Exchange<'_>, endpoint: &Endpoint, error: &DialError) -> Failed {
    let text = tutti_core::error::chain(error);
    if error.is_ours() {
        // Asking another instance would need what we lack, and none of them is to blame.
        tracing::warn!(error = %text, "no connection can be made: this process lacks what one takes");
        let message =
            format!("no connection to {} could be made for want of files or ports", endpoint.service);
        let fault = Fault::overloaded(message);
        let fault = Fault { retry: Retry::Unsafe, ..fault };
        return Failed { fault: Box::new(fault), how: How::Broke };
    }
    suspect(exchange, endpoint, &text);
    let kind = match error {
        DialError::Connect(error) => error.kind(),
        DialError::Begin(_) | DialError::Handshake(_) | DialError::JustFailed => Kind::Unavailable,
    };
    let message = format!("no connection to {} could be made: {text}", endpoint.service);
    let fault = Fault::upstream(error.code(), kind, &endpoint.hop, message, Retry::Safe);
    // A certificate that is wrong is so in a moment too, so nobody waits for that.
    let how = if error.code() == code::UPSTREAM_TLS { How::Broke } else { How::Refused };
    Failed { fault: Box::new(fault), how }
}

/// A connection that failed before a response came.
fn broke(
    exchange: &Exchange<'_>,
    pool: &Pool,
    error: SendError,
    unsent: &mut Option<Request<Body>>,
    (kept, idempotent): (bool, bool),
) -> Failed {
    let endpoint = &pool.endpoint;
    let safe = match error.stage {
        Stage::NothingSent => true,
        Stage::Sent => idempotent,
        Stage::ResponseBegan => false,
    };
    let text = tutti_core::error::chain(&error.cause);
    let of_client = match &error.cause {
        SendCause::RequestBody(cause) => upload::fault(cause),
        _ => exchange.entry.upload.as_ref().and_then(|upload| upload.failed().cloned()),
    };
    if let Some(fault) = of_client {
        return Failed { fault: Box::new(fault), how: How::Broke };
    }
    let (fault, how) = match &error.cause {
        SendCause::Request(problem) => (Fault::bad_request(*problem), How::Broke),
        SendCause::Malformed(_) | SendCause::TooLarge(_) => {
            let message = format!("the answer of {} cannot be passed on: {text}", endpoint.service);
            let kind = Kind::Unavailable;
            (
                Fault::upstream(code::UPSTREAM_MALFORMED, kind, &endpoint.hop, message, Retry::Unsafe),
                How::Broke,
            )
        }
        // So a service ends connections that are old, which says nothing against it.
        SendCause::Refused(_) | SendCause::NoStreams => {
            let message = format!("{} did not take the request: {text}", endpoint.service);
            let kind = Kind::Unavailable;
            let fault = Fault::upstream(code::UPSTREAM_BROKE, kind, &endpoint.hop, message, Retry::Safe);
            (fault, How::Stale)
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
    *unsent = error.request.map(|request| *request);
    Failed { fault: Box::new(fault), how }
}

pub(super) fn lost(endpoint: &Endpoint) -> Failed {
    let message = "the request was already sent".to_owned();
    let fault = Fault::upstream(code::UPSTREAM_BROKE, Kind::Internal, &endpoint.hop, message, Retry::Unsafe);
    Failed { fault: Box::new(fault), how: How::Broke }
}

/// Passes the instance over for a while, and lets the catalog look at it; once, not for each request that fails.
fn suspect(exchange: &Exchange<'_>, endpoint: &Endpoint, reason: &str) {
    let shared = &exchange.worker.shared;
    if endpoint.cool(exchange.worker.now(), shared.options.cool_off) {
        shared.catalog.suspect(&endpoint.instance, reason);
    }
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// The caller's.
    Deadline,
    /// The route's, for all tries together.
    Total,
    /// The route's, for one try.
    Try,
}

/// Until when a try may go on.
struct Limit {
    started: Instant,
    began: Instant,
    total: Option<Duration>,
    per_try: Option<Duration>,
    /// The caller's own deadline, which nothing moves.
    deadline: Option<Instant>,
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
            deadline: exchange.deadline,
            upload: exchange.entry.upload.clone(),
        }
    }

    /// The nearest deadline, and which one it is.
    fn nearest(&self) -> Option<(Instant, Passed)> {
        let moved = self.upload.as_ref().map(|upload| Instant::from_std(upload.moved()));
        let since = |begin: Instant| moved.map_or(begin, |moved| moved.max(begin));
        let total = self.total.map(|total| (since(self.started) + total, Passed::Total));
        let one = self.per_try.map(|one| (since(self.began) + one, Passed::Try));
        let own = self.deadline.map(|deadline| (deadline, Passed::Deadline));
        [own, total, one].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn length(&self, passed: Passed) -> Duration {
        let length = if passed == Passed::Try { self.per_try } else { self.total };
        length.unwrap_or_default()
    }

    /// Runs to the deadline; the error says which one has passed.
    async fn run<T>(
        &self,
        timers: &Timers,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Passed> {
        let mut timer = timers.lend();
        loop {
            let Some((at, passed)) = self.nearest() else { return Ok(work.await) };
            timer.set_at(at);
            let done = std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => timer.poll_passed(cx).map(|()| None),
            });
            if let Some(done) = done.await {
                return Ok(done);
            }
            if self.nearest().is_none_or(|(later, _)| later <= at) {
                return Err(passed);
            }
        }
    }
}
