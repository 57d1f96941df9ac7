//! Phase 8: sending the request to an instance, within its deadlines, and again where that is safe.
//!
//! When a try may be followed by another, on another instance if there is one:
//!
//! | what happened | nothing was sent | sent, no response byte | a response began |
//! |---|---|---|---|
//! | any request | again | never | never |
//! | idempotent (RFC 9110 section 9.2.2, or the route says so), its body can be had again | again | again | if its route says so, instead of passing it on |
//!
//! At most as many tries as the route or [`crate::Options::tries`] allows, and all retries of a service within its
//! budget. Who asks us again on behalf of its own caller gets no retries of ours, or tries would multiply from hop to hop.
//! One thing is not counted as a try: the only instance refusing a connection, since nothing can have been carried out. It is
//! asked again until [`crate::Options::ready_wait`] is over, because most often it is being restarted and the catalog will know
//! in a moment.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use tokio::time::Instant;
use tutti_core::{Origin, Retry, limits};
use tutti_net::Body;
use tutti_net::lodge::lodge;

use super::attempt::{self, Failed, How, Sending, Sent};
use super::choose::{self, Asked, Tried};
use super::{Exchange, Stop, filter, hedge, observe, shield, upload};
use crate::explain::note;
use crate::explain::record::Timing;
use crate::model::headers;
use crate::model::retry::{self, Policy};
use crate::page::Form;
use crate::resilience::replay::Kept;
use crate::snapshot::plan::{RoutePlan, Target};
use crate::upstream::endpoint::{Endpoint, InFlight};

/// Runs the phase: sends to one service.
pub async fn to(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    target: Target,
) -> Result<Response<Body>, Stop> {
    if !route.edits.is_empty() {
        exchange.backend = target.at;
        filter::backend(exchange, route);
    }
    let worker = exchange.worker;
    exchange.entry.trail.slot = u32::try_from(target.slot + 1).unwrap_or(0);
    let gate = worker.snapshot().clusters.get(target.slot).and_then(|cluster| {
        exchange.entry.service = Some(Arc::clone(&cluster.metrics));
        exchange.entry.tried = exchange.entry.trail.tries().len();
        cluster.gate.clone()
    });
    let leave = observe::admit(worker, target.slot)?;
    let asked = choose::asked(exchange, target.slot, worker.begin(target.slot));
    let asked = Asked { spares: leave.spares, ..asked };
    if let Some(gate) = gate {
        exchange.entry.permits.upstream = Some(Box::pin(shield::enter(exchange, &gate)).await?);
    }
    let policy = route.retries();
    let declared = route.hedge().is_some_and(|hedge| hedge.idempotent);
    let idempotent = declared || is_idempotent(policy, &exchange.request);
    let sending = Sending { route, target, idempotent };
    let (request, kept) = prepare(exchange, route, idempotent);
    let mut unsent = Some(request);
    let mut round = Round::begin(exchange, route, asked);
    let mut chosen = choose::first(worker, target.slot, asked, round.deadline).await?;
    loop {
        chosen = choose::with_room(worker, target.slot, round.asked, &round.tried, chosen);
        let endpoint = Arc::clone(chosen.endpoint());
        exchange.entry.chosen = Some(chosen);
        exchange.entry.attempts += 1;
        let began = exchange.entry.permits.upstream.is_some().then(Instant::now);
        let result = one(exchange, &sending, &mut round, (&endpoint, &mut unsent), kept.as_ref()).await;
        learn(exchange, began, &result);
        let failed = match result {
            Ok(sent) => {
                exchange.entry.place = sent.place;
                exchange.entry.deferred = sent.deferred;
                let again = wanted(policy, idempotent, &sent.response)
                    .and_then(|pause| round.afford(exchange, &sending, policy, pause))
                    .and_then(|pause| Some((pause, kept.as_ref()?.again()?)));
                let Some((pause, again)) = again else {
                    return Ok(take(exchange, target.slot, asked, sent.response));
                };
                // Its connection is free again, or closed, before anything else happens.
                drop(sent.response);
                round.tried.add(endpoint.uid);
                unsent = Some(again);
                chosen = round.other(exchange, &sending, pause).await?;
                continue;
            }
            Err(failed) => failed,
        };
        if failed.how != How::Stale {
            round.tried.add(endpoint.uid);
        }
        let (how, retry) = (failed.how, failed.fault.retry);
        let fault = failed.fault;
        unsent = unsent.or_else(|| kept.as_ref()?.again());
        if unsent.is_none() || retry != Retry::Safe {
            return Err(Stop::Fail(fault));
        }
        match round.next(exchange, &sending, how).await {
            Some(next) => chosen = next,
            None => return Err(Stop::Fail(fault)),
        }
    }
}

/// The answer that is passed on.
fn take(
    exchange: &mut Exchange<'_>,
    slot: usize,
    asked: Asked,
    mut response: Response<Body>,
) -> Response<Body> {
    headers::disown(response.headers_mut());
    choose::hold(exchange, slot, asked, &mut response);
    if response.body().in_memory().is_some() {
        // The service is done with it; how fast the client reads is not its concern.
        exchange.entry.permits.upstream = None;
    }
    response
}

/// One try; on a route that hedges, with others beside it if it takes long.
async fn one(
    exchange: &mut Exchange<'_>,
    sending: &Sending<'_>,
    round: &mut Round,
    (endpoint, unsent): (&Arc<Endpoint>, &mut Option<Request<Body>>),
    kept: Option<&Kept>,
) -> Result<Sent, Failed> {
    // What becomes a tunnel, and who is held to one instance, is not for several.
    let free = sending.idempotent && exchange.upgrade.is_none() && round.asked.pinned.is_none();
    if let Some(rules) = sending.route.hedge().filter(|_| free)
        && let Some(kept) = kept
    {
        let race = hedge::Race { rules, sending, asked: round.asked, tried: round.tried, kept };
        let Some(request) = unsent.take() else { return Err(attempt::lost(endpoint)) };
        let ended = Box::pin(hedge::run(exchange, &race, endpoint, request)).await;
        return hedge::finish(exchange, &mut round.tried, ended);
    }
    let mut timing = Timing::default();
    // In a box, or every future around it would be as large, and is moved.
    let result = lodge(|| attempt::once(exchange, sending, endpoint, unsent, &mut timing)).await;
    note::tried(exchange, endpoint.uid, &timing, &result);
    result
}

/// Whether an answer says that the instance cannot answer: another one may.
pub fn is_overload(response: &Response<Body>) -> bool {
    matches!(response.status().as_u16(), 502..=504) || retry::grpc_status(response.headers()) == Some(14)
}

/// What a limit that is found out learns of a try.
fn learn(exchange: &mut Exchange<'_>, began: Option<Instant>, result: &Result<Sent, Failed>) {
    let (Some(permit), Some(began)) = (&mut exchange.entry.permits.upstream, began) else { return };
    let overloaded = |sent: &Sent| {
        matches!(sent.response.status().as_u16(), 429 | 503 | 504)
            || matches!(retry::grpc_status(sent.response.headers()), Some(4 | 8 | 14))
    };
    permit.learn(began.elapsed(), result.as_ref().is_ok_and(|sent| !overloaded(sent)));
}

/// Whether the route wants another answer, and the least pause before it is asked for.
fn wanted(policy: Option<&Policy>, idempotent: bool, response: &Response<Body>) -> Option<Duration> {
    let policy = policy.filter(|_| idempotent)?;
    if !policy.after_answer(response.status(), response.headers()) {
        return None;
    }
    policy.asked_pause(response.headers())
}

/// What is remembered from try to try.
struct Round {
    asked: Asked,
    tried: Tried,
    deadline: Option<Instant>,
    /// Until when an instance that refuses is asked again; known once one does.
    held_until: Option<Instant>,
}

impl Round {
    fn begin(exchange: &Exchange<'_>, route: &RoutePlan, asked: Asked) -> Self {
        let total = route.timeout.map(|timeout| Instant::from_std(exchange.started) + timeout);
        let deadline = [total, exchange.deadline].into_iter().flatten().min();
        Self { asked, tried: Tried::default(), deadline, held_until: None }
    }

    /// Pays for another try. The pause before it; `None` when there may be none.
    fn afford(
        &mut self,
        exchange: &Exchange<'_>,
        sending: &Sending<'_>,
        policy: Option<&Policy>,
        least: Duration,
    ) -> Option<Duration> {
        let (worker, attempts) = (exchange.worker, exchange.entry.attempts);
        if exchange.repeated || attempts >= tries(exchange, policy) {
            return None;
        }
        let pause = policy.map_or(Duration::ZERO, |policy| policy.pause(attempts, worker.rng.unit()));
        let pause = pause.max(least);
        if self.deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return None;
        }
        self.pay(exchange, sending).then_some(pause)
    }

    /// Another instance after a pause; one that was tried, if there is no other.
    async fn other(
        &self,
        exchange: &Exchange<'_>,
        sending: &Sending<'_>,
        pause: Duration,
    ) -> Result<InFlight, Stop> {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let (worker, slot) = (exchange.worker, sending.target.slot);
        let asked = self.asked(exchange);
        match choose::now(worker, slot, asked, &self.tried) {
            Some(other) => Ok(other),
            None => Ok(choose::first(worker, slot, asked, self.deadline).await?),
        }
    }

    /// The instance for another try after a failure, if there may be one.
    async fn next(&mut self, exchange: &Exchange<'_>, sending: &Sending<'_>, how: How) -> Option<InFlight> {
        let worker = exchange.worker;
        let policy = sending.route.retries();
        if let (Some(policy), Some(trouble)) = (policy, how.trouble())
            && !policy.after(trouble)
        {
            return None;
        }
        if policy.is_some() && matches!(how, How::Broke | How::Late) {
            let pause = self.afford(exchange, sending, policy, Duration::ZERO)?;
            return self.other(exchange, sending, pause).await.ok();
        }
        let repeated = exchange.repeated && how != How::Refused && how != How::Stale;
        // A connection that had been closed long ago says nothing of the instance, so there is always a second one.
        let tries = tries(exchange, policy).max(if how == How::Stale { 2 } else { 1 });
        let slot = sending.target.slot;
        if exchange.entry.attempts < tries
            && !repeated
            && observe::may_go_on(worker, slot, &mut self.asked)
            && let Some(other) = choose::now(worker, slot, self.asked(exchange), &self.tried)
        {
            return self.pay(exchange, sending).then_some(other);
        }
        if how != How::Refused || !observe::may_go_on(worker, slot, &mut self.asked) {
            return None;
        }
        let until = *self.held_until.get_or_insert_with(|| Instant::now() + worker.shared.options.ready_wait);
        choose::again(worker, sending.target.slot, self.asked(exchange), until).await
    }

    fn asked(&self, exchange: &Exchange<'_>) -> Asked {
        self.asked.after(exchange.entry.attempts)
    }

    /// Takes a retry out of the service's budget. A service that is left in peace has none.
    fn pay(&mut self, exchange: &Exchange<'_>, sending: &Sending<'_>) -> bool {
        let (worker, slot) = (exchange.worker, sending.target.slot);
        let metrics = &worker.shared.metrics;
        let allowed = observe::may_go_on(worker, slot, &mut self.asked) && worker.may_retry(slot);
        if allowed {
            metrics.retries.inc()
        } else {
            exchange.entry.denied.set(true);
            metrics.retries_denied.inc()
        }
        allowed
    }
}

/// Most tries.
fn tries(exchange: &Exchange<'_>, policy: Option<&Policy>) -> u32 {
    policy.map_or(exchange.worker.shared.options.tries.min(limits::TRIES), Policy::tries)
}

fn is_idempotent(policy: Option<&Policy>, request: &Request<Body>) -> bool {
    match policy {
        None => retry::is_idempotent(request.method()),
        Some(policy) => policy.is_idempotent(request.method(), request.headers()),
    }
}

/// Takes the request out of the exchange, with its body counted and guarded, and keeps what another try would need.
fn prepare(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    idempotent: bool,
) -> (Request<Body>, Option<Kept>) {
    let mut request = std::mem::take(&mut exchange.request);
    if let Some(upgrade) = &exchange.upgrade {
        request.headers_mut().insert(header::UPGRADE, upgrade.clone());
    }
    if let Some(whole) = request.body().in_memory() {
        // It can be sent again, so it is left as it is.
        exchange.entry.upload = (!whole.is_empty()).then(|| upload::arrived(whole.len()));
    } else {
        let (head, body) = request.into_parts();
        let body = match route.idle {
            Some(idle) => body.with_idle_timeout(idle),
            None => body,
        };
        let body = match exchange.listener.min_rate() {
            Some(rate) if exchange.form != Form::Grpc => body.with_min_rate(rate, Origin::Client),
            _ => body,
        };
        let (body, progress) = upload::watch(body, exchange.listener.identity.clone());
        exchange.entry.upload = Some(progress);
        request = Request::from_parts(head, body);
    }
    // A try that is given up for its time, or whose answer is not wanted, does not give its request back.
    let buffer = match route.retries() {
        Some(policy) => Some(policy.buffer()),
        None if route.hedge().is_some() => Some(limits::HEDGE_BYTES),
        None => (route.per_try.is_some() && request.body().in_memory().is_some()).then_some(0),
    };
    match buffer.filter(|_| idempotent) {
        None => (request, None),
        Some(buffer) => {
            let (request, kept) = Kept::of(request, buffer);
            (request, Some(kept))
        }
    }
}
