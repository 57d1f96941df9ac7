//! Questions of our own to a service, such as whether a request may pass: sent to one of its instances as requests of clients
//! are, with the same connections, health and circuit breaker, and again on another one, since asking twice does no harm.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use tokio::time::Instant;
use tutti_net::Body;

use super::choose::{self, Asked, Tried};
use super::observe;
use crate::error::Fault;
use crate::model::outlier::Outcome;
use crate::snapshot::cluster::is_h2c;
use crate::snapshot::plan::Target;
use crate::upstream::endpoint::{Endpoint, InFlight};
use crate::worker::Worker;

/// Most instances that are asked.
const TRIES: u32 = 3;

/// A question.
pub struct Question {
    /// It, as it is sent; with `Host`.
    pub request: Request<Bytes>,
    /// To whom.
    pub target: Target,
    /// Until when its answer is waited for.
    pub until: Instant,
    /// The longest answer.
    pub most: usize,
}

/// An answer, whole.
pub struct Answer {
    /// Its head and body.
    pub response: Response<Bytes>,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// What it says of who gave it.
    fn outcome(&self) -> Outcome {
        let status = self.response.status().as_u16();
        observe::said(status, self.trailers.as_ref().unwrap_or(self.response.headers()))
    }
}

/// Why there is no answer, for whoever runs this.
pub type NoAnswer = String;

/// Asks. The error is a sentence.
pub async fn call(worker: &Worker, question: &Question) -> Result<Answer, NoAnswer> {
    let began = Instant::now();
    let asked = tokio::time::timeout_at(question.until, tries(worker, question)).await;
    let late = || format!("there was no answer within {:?}", began.elapsed());
    let answer = asked.unwrap_or_else(|_| Err(late()));
    if let Some(cluster) = worker.snapshot().clusters.get(question.target.slot) {
        match &answer {
            Ok(answer) => {
                let failed = answer.outcome() != Outcome::Fine;
                cluster.metrics.answered(answer.response.status().as_u16(), failed, began.elapsed());
            }
            Err(_) => cluster.metrics.unanswered(Some(began.elapsed())),
        }
    }
    answer
}

async fn tries(worker: &Worker, question: &Question) -> Result<Answer, NoAnswer> {
    let slot = question.target.slot;
    let text = |fault: Fault| fault.message;
    let leave = observe::admit(worker, slot).map_err(text)?;
    let asked = Asked { spares: leave.spares, ..Asked::turn(worker.begin(slot)) };
    let mut tried = Tried::default();
    let mut chosen = choose::first(worker, slot, asked, Some(question.until)).await.map_err(text)?;
    let mut count = 1;
    loop {
        let endpoint = Arc::clone(chosen.endpoint());
        let began = Instant::now();
        let why = match once(worker, question, &chosen).await {
            Ok(answer) => {
                observe::tried(worker, slot, &endpoint, began.into_std(), answer.outcome());
                return Ok(answer);
            }
            Err(why) => why,
        };
        observe::tried(worker, slot, &endpoint, began.into_std(), Outcome::Local);
        tried.add(endpoint.uid);
        if count >= TRIES || !worker.may_retry(slot) {
            return Err(format!("{}: {why}", endpoint.hop));
        }
        count += 1;
        let other = choose::now(worker, slot, asked.after(count), &tried);
        let other = match other {
            Some(other) => Some(other),
            None => choose::again(worker, slot, asked, question.until).await,
        };
        chosen = other.ok_or(why)?;
    }
}

async fn once(worker: &Worker, question: &Question, chosen: &InFlight) -> Result<Answer, NoAnswer> {
    let endpoint = chosen.endpoint();
    // We ask for ourselves.
    let pool = worker.pool_for(endpoint, || None);
    let timeout = worker.shared.options.connect_timeout;
    let request = || question.request.clone().map(Body::full);
    let chain = |error: &dyn std::error::Error| tutti_core::error::chain(error);
    if is_h2c(endpoint.protocol, question.target.protocol) {
        let shared = pool.share(timeout, |driver| worker.own(driver)).await;
        let (mut connection, _place) = shared.map_err(|error| refused(worker, endpoint, chain(&error)))?;
        let mut request = request();
        request.headers_mut().insert(header::TE, http::HeaderValue::from_static("trailers"));
        return whole(connection.send(request).await.map_err(|error| chain(&error))?, question.most).await;
    }
    if let Some(kept) = pool.take(false) {
        // It may have been closed a moment ago; that says nothing of the instance.
        if let Ok(response) = kept.send(request()).await {
            return whole(response, question.most).await;
        }
    }
    let fresh = pool.dial(timeout).await.map_err(|error| refused(worker, endpoint, chain(&error)))?;
    whole(fresh.send(request()).await.map_err(|error| chain(&error))?, question.most).await
}

async fn whole(response: Response<Body>, most: usize) -> Result<Answer, NoAnswer> {
    let (head, body) = response.into_parts();
    let (body, trailers) = body.collect(most).await.map_err(|error| tutti_core::error::chain(&error))?;
    Ok(Answer { response: Response::from_parts(head, body), trailers })
}

fn refused(worker: &Worker, endpoint: &Endpoint, why: String) -> NoAnswer {
    if endpoint.cool(worker.now(), worker.shared.options.cool_off) {
        worker.shared.catalog.suspect(&endpoint.instance, &why);
    }
    why
}
