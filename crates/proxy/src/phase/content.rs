//! Phase 7: whether the request is one that the route takes, and how its answer is written.
//!
//! What can be told from the head is told before a byte of the body is read. Limits of bodies whose length is not known hold
//! as they pass: a request that grows too long is answered 413 as long as no answer has begun, and a response that
//! grows too long is cut, so that nobody takes a part of it for the whole.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::{Response, header};
use http_body::Body as _;
use tutti_core::limits;
use tutti_net::Body;
use tutti_ports::routing::{Coding, Decompression, RequestLimits};

use super::{Exchange, Stop};
use crate::content::coding::{self, may_be_coded};
use crate::content::encode::{Permit, encoded};
use crate::content::{ContentPlan, cors, decode, size};
use crate::error::Fault;
use crate::model::forwarded;

/// What must be known of the request when its answer is written, and is gone with it by then.
#[derive(Default)]
pub struct Asked {
    origin: Option<http::HeaderValue>,
    accepted: Option<Coding>,
    tls: bool,
    /// The methods that a description has where the request's is not among them.
    pub(super) allow: Option<http::HeaderValue>,
}

/// The answer to a preflight. It comes before everything that asks who the client is: preflights carry no credentials.
pub fn preflight(exchange: &Exchange<'_>, plan: &ContentPlan) -> Option<Response<Body>> {
    let rules = plan.cors.as_ref()?;
    let headers = exchange.request.headers();
    cors::preflight_of(exchange.request.method(), headers).map(|_| rules.preflight(headers))
}

/// What the answer will need, also if it is one of ours.
pub fn remember(exchange: &mut Exchange<'_>, plan: &ContentPlan) {
    let headers = exchange.request.headers();
    let accepted = plan.compression.as_ref().and_then(|(rules, _)| coding::wanted(headers, &rules.codings));
    exchange.asked = Asked {
        origin: plan.cors.as_ref().and_then(|_| headers.get(header::ORIGIN).cloned()),
        accepted,
        tls: headers.get(forwarded::PROTO).is_some_and(|proto| proto == "https"),
        allow: None,
    };
}

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>, plan: &ContentPlan) -> Result<(), Stop> {
    let request = &exchange.request;
    if let Some((methods, _)) = &plan.methods
        && !methods.contains(request.method())
    {
        return Err(Fault::method_not_allowed(request.method()).into());
    }
    if let Some(limits) = &plan.request {
        head(exchange, limits)?;
    }
    let whole = exchange.request.body().is_end_stream();
    if let Some(types) = &plan.types
        && !whole
        && !exchange
            .request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| types.hold(kind.as_bytes()))
    {
        return Err(Fault::unsupported("a body of this type is not taken here").into());
    }
    if let Some(limits) = plan.decompression
        && !whole
    {
        decompress(exchange, limits)?;
    }
    if let Some(limit) = plan.request.and_then(|limits| limits.body) {
        let body = exchange.request.body_mut();
        if body.size_hint().lower() > limit {
            return Err(Fault::too_large(limit).into());
        }
        let inner = std::mem::take(body);
        *body = size::limited(inner, limit, None);
    }
    Ok(())
}

fn head(exchange: &Exchange<'_>, limits: &RequestLimits) -> Result<(), Stop> {
    let (uri, headers) = (exchange.request.uri(), exchange.request.headers());
    let over = |limit: Option<u32>, is: usize| limit.filter(|limit| is > *limit as usize);
    let query = uri.query().unwrap_or_default();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if let Some(limit) = over(limits.uri_bytes, target) {
        return Err(Fault::uri_too_long(format!("the path and query are longer than {limit} bytes")).into());
    }
    if let Some(limit) = over(limits.query_bytes, query.len()) {
        return Err(Fault::uri_too_long(format!("the query is longer than {limit} bytes")).into());
    }
    let parameters = query.split('&').filter(|part| !part.is_empty()).count();
    if let Some(limit) = over(limits.query_parameters, parameters) {
        return Err(Fault::uri_too_long(format!("the query has more than {limit} parameters")).into());
    }
    // What we have added ourselves is not the client's.
    let theirs = || headers.iter().filter(|(name, _)| !forwarded::is_claim(name.as_str()));
    if let Some(limit) = over(limits.fields, theirs().count()) {
        return Err(Fault::header_too_large(format!("the header has more than {limit} fields")).into());
    }
    let length = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    if limits.header_bytes.is_some()
        && let Some(limit) = over(limits.header_bytes, theirs().map(length).sum())
    {
        return Err(Fault::header_too_large(format!("the header is longer than {limit} bytes")).into());
    }
    Ok(())
}

fn decompress(exchange: &mut Exchange<'_>, limits: Decompression) -> Result<(), Stop> {
    let headers = exchange.request.headers();
    let mut codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let Some(coding) = codings.next() else { return Ok(()) };
    let (Some(coding), None) = (Coding::of(coding), codings.next()) else {
        return Err(Fault::unsupported(
            "a body of this coding is not taken here: br, gzip and zstd are, one at a time",
        )
        .into());
    };
    let Some(permit) = Permit::take(&exchange.worker.codings) else {
        let message = format!("{} bodies are being coded on this worker", limits::CODINGS);
        return Err(Fault::overloaded(message).into());
    };
    let body = std::mem::take(exchange.request.body_mut());
    let body = decode::decoded(body, coding, limits, permit)
        .map_err(|error| Fault::overloaded(format!("no decompressor could be made: {error}")))?;
    *exchange.request.body_mut() = body;
    let headers = exchange.request.headers_mut();
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    Ok(())
}

/// What is said in the header of every answer, our own included.
pub fn tell(exchange: &Exchange<'_>, plan: &ContentPlan, response: &mut Response<Body>) {
    let asked = &exchange.asked;
    let status = response.status();
    let headers = response.headers_mut();
    if let Some(cors) = &plan.cors {
        cors.apply(asked.origin.as_ref(), headers);
    }
    if let Some(security) = &plan.security {
        security.apply(headers, asked.tls);
    }
    if let Some(allow) = &asked.allow {
        headers.insert(header::ALLOW, allow.clone());
    }
    if let Some((_, allow)) = &plan.methods
        && status == http::StatusCode::METHOD_NOT_ALLOWED
        && exchange.entry.fault.is_some()
    {
        headers.insert(header::ALLOW, allow.clone());
    }
}

/// The body of a service's answer, held to its limit.
pub fn hold(
    exchange: &mut Exchange<'_>,
    plan: &ContentPlan,
    mut response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    if let Some(limit) = plan.response_bytes.filter(|_| exchange.entry.over.is_none()) {
        if response.body().size_hint().lower() > limit {
            let hop =
                exchange.entry.chosen.as_ref().map_or(String::new(), |chosen| chosen.endpoint().hop.clone());
            return Err(Fault::answer_too_large(&hop, limit).into());
        }
        let over = Arc::<AtomicBool>::default();
        exchange.entry.over = Some(Arc::clone(&over));
        response = response.map(|body| size::limited(body, limit, Some(over)));
    }
    Ok(response)
}

/// The body of a service's answer: held to its limit, then compressed.
pub fn write(
    exchange: &mut Exchange<'_>,
    plan: &ContentPlan,
    response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    let mut response = hold(exchange, plan, response)?;
    if let Some(compression) = &plan.compression
        && may_be_coded(exchange.entry.method(), response.status(), response.headers(), compression)
    {
        coding::vary(response.headers_mut(), &header::ACCEPT_ENCODING);
        if let Some(coding) = exchange.asked.accepted
            && *exchange.entry.method() != http::Method::HEAD
            && let Some(permit) = Permit::take(&exchange.worker.codings)
        {
            let (head, body) = response.into_parts();
            let level = compression.0.level;
            let (coded, body) = match encoded(body, coding, level, permit) {
                Ok(body) => (true, body),
                Err(body) => (false, body),
            };
            response = Response::from_parts(head, body);
            if coded {
                coding::mark(response.headers_mut(), coding);
            }
        }
    }
    Ok(response)
}
