//! Asking by a request of HTTP.
//!
//! The service is told what was asked for in the fields that its kind reads: `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto` and `-For`
//! (Traefik's `forwardAuth`; Authelia, oauth2-proxy), `X-Original-URL` and `X-Original-Method` (nginx's `auth_request`). 2xx lets the
//! request pass; 5xx is no decision; anything else is what the client gets.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::{About, Allowed, Decision, Denied, ExternalPlan, QUESTION, is_ours};
use crate::model::{forwarded, headers};

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const PARTIAL: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// Fields that the service wants taken off the request, in Envoy's words.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// Fields of the request that would change what is answered to a question: it is about another thing than its path.
const NOT_ASKED: [HeaderName; 8] = [
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::CONTENT_ENCODING,
];

/// The request to the service. `fixed`: its path is one of the service's own, and it is asked with GET.
pub fn question(
    plan: &ExternalPlan,
    target: String,
    fixed: bool,
    about: &About<'_>,
) -> Result<Request<Bytes>, String> {
    let body = about.body.as_ref().map(|(body, _)| body.clone()).unwrap_or_default();
    let mut request = Request::new(body);
    let own = about.request.method();
    *request.method_mut() = if fixed && about.body.is_none() { Method::GET } else { own.clone() };
    *request.uri_mut() = target.parse().map_err(|_| format!("{target:?} is not a path"))?;
    let headers = request.headers_mut();
    let traced = ["x-request-id", "traceparent", "tracestate"];
    for (name, value) in about.request.headers() {
        let shown = plan.shows(name) || forwarded::is_claim(name.as_str()) || traced.contains(&name.as_str());
        if shown && !is_ours(name) && !(NOT_ASKED.contains(name) && about.body.is_none()) {
            headers.append(name.clone(), value.clone());
        }
    }
    let host = if fixed { HeaderValue::from_str(plan.service.as_str()).ok() } else { None };
    let host = host.or_else(|| about.request.headers().get(header::HOST).cloned());
    headers.insert(header::HOST, host.unwrap_or_else(|| HeaderValue::from_static("localhost")));
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    let asked = about.request.uri().path_and_query().map_or("/", |target| target.as_str());
    set(FORWARDED_METHOD, own.as_str());
    set(FORWARDED_URI, asked);
    set(ORIGINAL_METHOD, own.as_str());
    set(ORIGINAL_URI, asked);
    set(ORIGINAL_URL, &url(about));
    set(QUESTION, "1");
    if let Some((_, partial)) = &about.body {
        set(PARTIAL, if *partial { "true" } else { "false" });
    }
    Ok(request)
}

/// What the client asked for, as it sees it.
pub fn url(about: &About<'_>) -> String {
    let headers = about.request.headers();
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme =
        text(&forwarded::PROTO).filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or("http");
    let host = text(&header::HOST).unwrap_or_default();
    let target = about.request.uri().path_and_query().map_or("/", |target| target.as_str());
    format!("{scheme}://{host}{target}")
}

/// What the service's answer means.
pub fn decision(plan: &ExternalPlan, response: Response<Bytes>) -> Result<Decision, String> {
    let (mut head, body) = response.into_parts();
    headers::strip(&mut head.headers);
    headers::disown(&mut head.headers);
    if head.status.is_server_error() || head.status.as_u16() < 200 {
        return Err(format!("it answered {}", head.status));
    }
    if head.status.is_success() {
        return Ok(Decision::Allowed(Arc::new(allowed(plan, &head.headers))));
    }
    let mut out = HeaderMap::new();
    for (name, value) in &head.headers {
        if !is_ours(name) && plan.tells(name) {
            out.append(name.clone(), value.clone());
        }
    }
    let told =
        !body.is_empty() || head.status != StatusCode::FORBIDDEN || out.contains_key(header::SET_COOKIE);
    Ok(Decision::Denied(Box::new(Denied { status: head.status, headers: out, body, told })))
}

fn allowed(plan: &ExternalPlan, headers: &HeaderMap) -> Allowed {
    let mut out = Allowed::default();
    let wanted = headers.get_all(TO_REMOVE).iter().filter_map(|value| value.to_str().ok());
    for name in wanted.flat_map(|text| text.split(',')) {
        out.remove.extend(HeaderName::from_bytes(name.trim().as_bytes()).ok().filter(|name| !is_ours(name)));
    }
    for name in headers.keys().filter(|name| !is_ours(name)) {
        for (at, value) in headers.get_all(name).iter().enumerate() {
            let field = || (name.clone(), value.clone());
            if plan.upstream.hold(name) {
                if at == 0 { out.set.push(field()) } else { out.add.push(field()) }
            }
            if plan.on_success.hold(name) {
                out.client.push(field());
            }
        }
    }
    out
}
