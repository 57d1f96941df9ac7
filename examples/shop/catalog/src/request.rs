//! What every request passes through: its trace context, a time limit, an access line, and a goodbye while draining.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::watch;

use crate::error::ApiError;
use crate::telemetry::{log, trace_id, TraceContext};

const REQUEST_LIMIT: Duration = Duration::from_secs(4);

pub async fn observe(
    State(stopping): State<watch::Receiver<bool>>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let context = context_of(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(context.clone());

    let mut response = match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the request took too long").into_response()
        }
    };
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert("x-request-id", id);
    }
    if *stopping.borrow() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    if !matches!(path.as_str(), "/healthz" | "/readyz") || status >= 500 {
        let level = if status >= 500 { "error" } else { "info" };
        let duration_ms = (begun.elapsed().as_micros() as f64 / 100.0).round() / 10.0;
        log(
            level,
            "request",
            &json!({
                "method": method.as_str(), "path": path, "status": status, "duration_ms": duration_ms,
                "trace_id": context.trace_id, "request_id": context.request_id,
            }),
        );
    }
    response
}

fn context_of(headers: &HeaderMap) -> TraceContext {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = value("x-request-id").filter(|id| !id.is_empty() && id.len() <= 128);
    TraceContext {
        trace_id: value("traceparent").and_then(trace_id).map(str::to_owned),
        request_id: given.map_or_else(new_request_id, str::to_owned),
    }
}

/// Unlikely to repeat, and not a secret: the standard library's per-process hash keys are random enough.
fn new_request_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(Instant::now()))
}
