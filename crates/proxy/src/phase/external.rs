//! At the end of the guard: another service is asked whether the request may pass.
//!
//! It is asked about the request as it was routed, before any filter has changed it, and after everything that costs less has let it pass.
//! Without a decision nobody is let in, unless the route says otherwise.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tutti_core::{Origin, code, limits};
use tutti_net::{Body, BodyError};
use tutti_ports::routing::ExternalBody;

use super::call::{self, Question};
use super::{Exchange, Stop, guard, respond, upload};
use crate::error::Fault;
use crate::guard::external::cache::Key;
use crate::guard::external::{About, Allowed, Decision, Denied, ExternalPlan, QUESTION};
use crate::page::Form;
use crate::snapshot::plan::RoutePlan;

/// Runs the phase.
pub async fn run(exchange: &mut Exchange<'_>, plan: &ExternalPlan, route: &RoutePlan) -> Result<(), Stop> {
    if exchange.request.headers().contains_key(QUESTION) {
        return Err(Fault::external_loop().into());
    }
    let body = match &plan.body {
        Some(rule) => Some(begin_of_body(exchange, rule, route).await?),
        None => None,
    };
    let key = plan.cache.as_ref().map(|cache| cache.key(plan, &about(exchange, None)));
    if let (Some(cache), Some(key)) = (&plan.cache, &key)
        && let Some(allowed) = cache.get(key)
    {
        plan.counters.remembered.inc();
        permit(exchange, plan, allowed);
        return Ok(());
    }
    match ask(exchange, plan, body).await {
        Ok(Decision::Allowed(allowed)) => {
            plan.counters.allowed.inc();
            remember(plan, key, &allowed);
            permit(exchange, plan, allowed);
            Ok(())
        }
        Ok(Decision::Denied(denied)) => {
            plan.counters.denied.inc();
            Err(refuse(exchange, plan, *denied))
        }
        Err(why) => {
            let service = plan.service.as_str();
            tracing::warn!(
                request_id = exchange.entry.id(),
                service,
                why,
                "an authorization service gave no decision"
            );
            if plan.open {
                plan.counters.passed.inc();
                // Nobody has said who asks, so nobody may say so himself.
                permit(exchange, plan, Arc::default());
                return Ok(());
            }
            plan.counters.refused.inc();
            Err(Fault::external_unknown(service).into())
        }
    }
}

fn about<'a>(exchange: &'a Exchange<'_>, body: Option<(Bytes, bool)>) -> About<'a> {
    About {
        request: &exchange.request,
        client: guard::client(exchange),
        peer: exchange.connection.peer.socket_addr(),
        local: exchange.connection.local.socket_addr(),
        tls: exchange.connection.tls.as_deref(),
        protocol: exchange.connection.protocol,
        id: exchange.entry.id(),
        body,
    }
}

/// The decision; the error is a sentence.
async fn ask(
    exchange: &Exchange<'_>,
    plan: &ExternalPlan,
    body: Option<(Bytes, bool)>,
) -> Result<Decision, String> {
    let Some(_place) = plan.begin() else {
        return Err(format!("{} questions to it are under way", limits::EXTERNAL_QUESTIONS));
    };
    let request = plan.question(&about(exchange, body))?;
    let until = Instant::now() + plan.timeout;
    let until = exchange.deadline.map_or(until, |deadline| deadline.min(until));
    let question = Question { request, target: plan.target, until, most: limits::EXTERNAL_ANSWER_BYTES };
    plan.decision(call::call(exchange.worker, &question).await?)
}

fn remember(plan: &ExternalPlan, key: Option<Key>, allowed: &Arc<Allowed>) {
    if let (Some(cache), Some(key)) = (&plan.cache, key)
        && allowed.is_common()
    {
        cache.put(key, Arc::clone(allowed));
    }
}

fn permit(exchange: &mut Exchange<'_>, plan: &ExternalPlan, allowed: Arc<Allowed>) {
    allowed.apply(&mut exchange.request, &plan.upstream);
    if let Some(guarded) = &mut exchange.entry.guarded {
        guarded.allowed = Some(allowed);
    }
}

fn refuse(exchange: &mut Exchange<'_>, plan: &ExternalPlan, denied: Denied) -> Stop {
    let fault = Fault::external_denied(denied.status);
    if exchange.form == Form::Grpc || !denied.told {
        return fault.into();
    }
    exchange.entry.fault = Some((code::EXTERNAL_DENIED, Origin::Client));
    let signs_in = denied.status == StatusCode::UNAUTHORIZED && exchange.form == Form::Html;
    let target = if signs_in { plan.sign_in(&about(exchange, None)) } else { None };
    let mut response: Response<Body> = denied.response();
    if let Some(target) = target {
        *response.status_mut() = StatusCode::FOUND;
        *response.body_mut() = Body::empty();
        let headers = response.headers_mut();
        headers.remove(header::WWW_AUTHENTICATE);
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::LOCATION, target);
    }
    if *exchange.entry.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    // It is about this request and whoever sent it.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-store"));
    Stop::Answer(Box::new(respond::own(exchange, response)))
}

/// Takes the beginning of the request's body, which goes on as if nobody had looked at it. Says whether there is more of it.
async fn begin_of_body(
    exchange: &mut Exchange<'_>,
    rule: &ExternalBody,
    route: &RoutePlan,
) -> Result<(Bytes, bool), Stop> {
    let body = exchange.request.body_mut();
    if !rule.partial && body.size_hint().lower() > rule.max_bytes as u64 {
        return Err(Fault::too_large(rule.max_bytes as u64).into());
    }
    if let Some(whole) = body.in_memory() {
        let partial = whole.len() > rule.max_bytes;
        return Ok((whole.slice(..whole.len().min(rule.max_bytes)), partial));
    }
    let mut rest = std::mem::take(body);
    if let Some(idle) = route.idle {
        rest = rest.with_idle_timeout(idle);
    }
    if let Some(rate) = exchange.listener.min_rate() {
        rest = rest.with_min_rate(rate, Origin::Client);
    }
    let (mut seen, mut frames, mut trailers, mut ended) = (BytesMut::new(), VecDeque::new(), None, false);
    while seen.len() <= rule.max_bytes && !ended {
        match rest.frame().await {
            None => ended = true,
            Some(Err(error)) => return Err(unread(&error).into()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    seen.extend_from_slice(&data);
                    frames.push_back(data);
                }
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    ended = true;
                }
            },
        }
    }
    let more = seen.len() > rule.max_bytes;
    if more && !rule.partial {
        return Err(Fault::too_large(rule.max_bytes as u64).into());
    }
    let seen = seen.freeze();
    *exchange.request.body_mut() = if ended && trailers.is_none() {
        Body::full(seen.clone())
    } else {
        Body::boxed(Rejoined { frames, trailers, rest, ended })
    };
    Ok((seen.slice(..seen.len().min(rule.max_bytes)), more))
}

fn unread(error: &BodyError) -> Fault {
    let other = || Fault::client_body(format!("the request's body did not come: {error}"));
    upload::fault(error).unwrap_or_else(other)
}

/// A body whose beginning was taken off it.
struct Rejoined {
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Body,
    ended: bool,
}

impl HttpBody for Rejoined {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.ended {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(ready!(Pin::new(&mut self.rest).poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && if self.ended { self.trailers.is_none() } else { self.rest.is_end_stream() }
    }

    fn size_hint(&self) -> SizeHint {
        let seen: u64 = self.frames.iter().map(|data| data.len() as u64).sum();
        let mut hint = if self.ended { SizeHint::with_exact(0) } else { self.rest.size_hint() };
        if let Some(exact) = hint.exact() {
            hint.set_exact(exact + seen);
        } else {
            hint.set_lower(hint.lower() + seen);
        }
        hint
    }
}
