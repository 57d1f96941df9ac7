//! Around a try of phase 8, on routes that hedge: when an answer takes longer than most do, another instance is asked as well, and
//! whoever answers first is heard.
//!
//! A second request is a retry that is made early: it is made only where the request may be carried out twice and can be had again, within
//! the service's budget of retries, and never to an instance that is being asked already. Whoever loses is given up at once. Nothing of
//! this happens after an answer has begun.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request};
use tokio::time::Instant;
use tutti_net::Body;
use tutti_ports::routing::{Hedge, HedgeAfter};

use super::attempt::{self, Failed, Sending, Sent};
use super::choose::{self, Asked, Tried};
use super::{Exchange, observe, send};
use crate::explain::note;
use crate::explain::record::{Ended, Timing, Try};
use crate::model::hints;
use crate::resilience::replay::Kept;
use crate::upstream::endpoint::{Endpoint, InFlight};

/// What a race needs to know.
pub struct Race<'a> {
    /// The route's rules.
    pub rules: &'a Hedge,
    /// What all tries have in common.
    pub sending: &'a Sending<'a>,
    /// What the choice of instances goes by.
    pub asked: Asked,
    /// Who was tried before.
    pub tried: Tried,
    /// The request, for another time.
    pub kept: &'a Kept,
}

/// How a race ended.
pub struct Outcome {
    /// The answer that came first, or the first failure if none came.
    pub result: Result<Sent, Failed>,
    /// Whose it is, if it is not the one that was asked first.
    pub winner: Option<InFlight>,
    /// How many were asked besides the first.
    pub extra: u32,
    /// All who were asked.
    pub asked: Tried,
    /// What is told of them.
    pub tries: Vec<Try>,
}

type Running<'a> = Pin<Box<dyn Future<Output = (Result<Sent, Failed>, Timing)> + 'a>>;

/// One who was asked.
struct Runner<'a> {
    running: Running<'a>,
    endpoint: Arc<Endpoint>,
    /// Counts it as busy; `None` for the first, which is counted already.
    held: Option<InFlight>,
    began: Instant,
}

/// Asks `first`, and others when it takes too long.
pub async fn run(
    exchange: &Exchange<'_>,
    race: &Race<'_>,
    first: &Arc<Endpoint>,
    request: Request<Body>,
) -> Outcome {
    let mut tried = race.tried;
    tried.add(first.uid);
    let mut runners = vec![runner(exchange, race, Arc::clone(first), None, request)];
    let (mut extra, mut failed, mut tries) = (0, None, Vec::new());
    let mut wait = delay(exchange, race);
    loop {
        let late = async {
            match wait.filter(|_| extra < race.rules.max_extra) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let (at, result, timing) = tokio::select! {
            biased;
            ended = next(&mut runners) => ended,
            () = late => {
                match another(exchange, race, &tried, extra) {
                    Some((chosen, request)) => {
                        extra += 1;
                        let endpoint = Arc::clone(chosen.endpoint());
                        tried.add(endpoint.uid);
                        runners.push(runner(exchange, race, endpoint, Some(chosen), request));
                    }
                    None => wait = None,
                }
                continue;
            }
        };
        let done = runners.swap_remove(at);
        tries.push(note::of(
            (exchange.started, std::time::Instant::now()),
            done.endpoint.uid,
            &timing,
            note::ended(&result),
        ));
        let answered = result.as_ref().is_ok_and(|sent| !send::is_overload(&sent.response));
        if !answered && !runners.is_empty() {
            failed.get_or_insert((result, done.held));
            continue;
        }
        if answered {
            won(exchange, race, &done, &runners, &mut tries);
        }
        // A failure is told by whoever failed first: an overload may be an answer, and says most of what is wrong.
        let (result, winner) = match failed {
            Some(first) if !answered => first,
            _ => (result, done.held),
        };
        return Outcome { result, winner, extra, asked: tried, tries };
    }
}

/// Takes note of who was faster, and of those who are given up: left out, what is slow would not be seen to be.
fn won(
    exchange: &Exchange<'_>,
    race: &Race<'_>,
    winner: &Runner<'_>,
    lost: &[Runner<'_>],
    tries: &mut Vec<Try>,
) {
    let (worker, slot) = (exchange.worker, race.sending.target.slot);
    worker.observe_latency(slot, winner.began.elapsed());
    if winner.held.is_some() {
        worker.shared.metrics.hedges_won.inc();
    }
    for lost in lost {
        let began = lost.began.into_std();
        worker.observe_latency(slot, lost.began.elapsed());
        observe::given_up(worker, slot, &lost.endpoint, began);
        let timing = Timing { began: Some(began), connect: None };
        tries.push(note::of(
            (exchange.started, std::time::Instant::now()),
            lost.endpoint.uid,
            &timing,
            Ended::Abandoned,
        ));
    }
}

/// Brings what a race has shown into the exchange.
pub fn finish(exchange: &mut Exchange<'_>, tried: &mut Tried, outcome: Outcome) -> Result<Sent, Failed> {
    let entry = &mut exchange.entry;
    entry.attempts += outcome.extra;
    entry.head = Some(std::time::Instant::now());
    let mut tries = outcome.tries;
    tries.sort_by_key(|one| one.began_us);
    tries.into_iter().for_each(|one| entry.trail.add(one));
    if outcome.extra > 0 {
        // Whoever was asked here is not asked again; the first is added by who asked for the race.
        *tried = outcome.asked;
    }
    if outcome.winner.is_some() {
        entry.chosen = outcome.winner;
    }
    outcome.result
}

/// The first that ends.
async fn next(runners: &mut [Runner<'_>]) -> (usize, Result<Sent, Failed>, Timing) {
    std::future::poll_fn(|cx| {
        for (at, runner) in runners.iter_mut().enumerate() {
            if let Poll::Ready((result, timing)) = runner.running.as_mut().poll(cx) {
                return Poll::Ready((at, result, timing));
            }
        }
        Poll::Pending
    })
    .await
}

/// How long one waits before another is asked; `None` when that is not known yet.
fn delay(exchange: &Exchange<'_>, race: &Race<'_>) -> Option<Duration> {
    match race.rules.after {
        HedgeAfter::Delay(delay) => Some(delay),
        HedgeAfter::Percentile(percent) => exchange.worker.latency(race.sending.target.slot, percent / 100.0),
    }
}

/// Another instance and the request once more, if there may be one more.
fn another(
    exchange: &Exchange<'_>,
    race: &Race<'_>,
    tried: &Tried,
    extra: u32,
) -> Option<(InFlight, Request<Body>)> {
    let (worker, slot) = (exchange.worker, race.sending.target.slot);
    let request = race.kept.again()?;
    let mut asked = race.asked.after(exchange.entry.attempts + extra);
    let open = !observe::may_go_on(worker, slot, &mut asked);
    let chosen = choose::now(worker, slot, asked, tried)?;
    if exchange.repeated || open || !worker.may_retry(slot) {
        worker.shared.metrics.hedges_denied.inc();
        return None;
    }
    Some((chosen, request))
}

/// Asks one.
fn runner<'a>(
    exchange: &'a Exchange<'_>,
    race: &'a Race<'_>,
    endpoint: Arc<Endpoint>,
    held: Option<InFlight>,
    mut request: Request<Body>,
) -> Runner<'a> {
    if held.is_some() {
        exchange.worker.shared.metrics.hedges.inc();
        request.headers_mut().insert(hints::ATTEMPT, HeaderValue::from(exchange.entry.attempts + 1));
    }
    let asked = Arc::clone(&endpoint);
    let running = async move {
        let mut timing = Timing::default();
        let result = attempt::once(exchange, race.sending, &asked, &mut Some(request), &mut timing).await;
        (result, timing)
    };
    Runner { running: Box::pin(running), endpoint, held, began: Instant::now() }
}
