//! How a fault looks to the client: JSON, a small HTML page, or the trailers of gRPC, as its request asks.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Serialize;
use tutti_core::Origin;

use crate::error::Fault;
use crate::grpc::status;
use crate::grpc::web::Web;

/// Names who is at fault: `upstream`, `client` or `tutti`.
pub const FAULT: HeaderName = HeaderName::from_static("x-tutti-fault");

/// The form in which the client wants to hear of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`; for programs.
    Json,
    /// A page; for people.
    Html,
    /// Status 200 with `grpc-status` and `grpc-message` (gRPC over HTTP/2, "Trailers-Only").
    Grpc,
}

impl Form {
    /// From the request: gRPC, also over the web, by its content type, else the first of HTML and JSON that `Accept` names; a browser
    /// names HTML first, a program often nothing at all.
    pub fn of(headers: &HeaderMap) -> Self {
        let typed = headers.contains_key(header::CONTENT_TYPE);
        if typed && (is_grpc(headers) || Web::of(headers).is_some()) {
            return Form::Grpc;
        }
        let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
        for range in accept.split(|byte| *byte == b',') {
            let name = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"text/html") || name.eq_ignore_ascii_case(b"application/xhtml+xml")
            {
                return Form::Html;
            }
            if name.eq_ignore_ascii_case(b"application/json") {
                return Form::Json;
            }
        }
        Form::Json
    }
}

/// Whether a message is gRPC's: `application/grpc` or `application/grpc+…`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let kind = kind.as_bytes();
    kind.starts_with(b"application/grpc") && matches!(kind.get(16), None | Some(b'+' | b';' | b' '))
}

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: String,
    kind: &'a str,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hop: Option<&'a str>,
    message: &'a str,
    request_id: &'a str,
}

/// What a stranger is told of a fault behind us: the service and what kind of fault it is. Addresses, instances and what
/// their health checks said are for those who run them.
pub fn for_strangers(fault: &Fault) -> Fault {
    let mut told = fault.clone();
    if fault.origin == Origin::Upstream {
        told.message = fault.code.title().to_owned();
        told.problems.clear();
        told.hop = fault.hop.as_deref().and_then(|hop| hop.split(" (").next()).map(str::to_owned);
    }
    told
}

/// The answer to a request that failed. A HEAD request gets the head alone.
pub fn render(fault: &Fault, form: Form, method: &Method, request_id: &str) -> Response<Bytes> {
    let (kind, body) = match form {
        Form::Json if !fault.problems.is_empty() => ("application/problem+json", problem(fault, request_id)),
        Form::Json => ("application/json", json(fault, request_id)),
        Form::Html => ("text/html; charset=utf-8", html(fault, request_id)),
        Form::Grpc => ("application/grpc", String::new()),
    };
    let body = if *method == Method::HEAD { Bytes::new() } else { Bytes::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = if form == Form::Grpc { StatusCode::OK } else { fault.status };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(FAULT, HeaderValue::from_static(fault.origin.as_str()));
    if let Some(seconds) = fault.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if form == Form::Grpc {
        status::tell_fault(headers, fault);
    }
    response
}

fn json(fault: &Fault, request_id: &str) -> String {
    let body = Body {
        error: Error {
            code: fault.code.to_string(),
            kind: fault.kind.as_str(),
            origin: fault.origin.as_str(),
            hop: fault.hop.as_deref(),
            message: &fault.message,
            request_id,
        },
    };
    let mut text = serde_json::to_string(&body).unwrap_or_default();
    text.push('\n');
    text
}

/// RFC 9457.
#[derive(Serialize)]
struct ProblemDetails<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: String,
    request_id: &'a str,
    errors: &'a [crate::error::Problem],
}

fn problem(fault: &Fault, request_id: &str) -> String {
    let details = ProblemDetails {
        r#type: format!("urn:tutti:{}", fault.code),
        title: fault.code.title(),
        status: fault.status.as_u16(),
        detail: &fault.message,
        code: fault.code.to_string(),
        request_id,
        errors: &fault.problems,
    };
    let mut text = serde_json::to_string(&details).unwrap_or_default();
    text.push('\n');
    text
}

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1d1d28;--dim:#6b6b7b;--page:#f6f5f2;--card:#fff;--line:#e2e0da;\
--mark:#b3362b}@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--dim:#9a9aaa;--page:#15151b;--card:#1f1f28;--line:#33333f;\
--mark:#ff8a7a}}*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;\
background:var(--page);color:var(--ink);font:16px/1.55 system-ui,sans-serif}main{max-width:38rem;width:100%;padding:2rem;\
background:var(--card);border:1px solid var(--line);border-radius:14px}h1{margin:.2rem 0 .8rem;font-size:1.35rem;line-height:1.3}\
.status{color:var(--mark);font-weight:600}p{margin:.6rem 0;overflow-wrap:anywhere}ol{display:flex;flex-wrap:wrap;gap:.5rem;\
list-style:none;margin:1.2rem 0;padding:0}li{padding:.25rem .75rem;border:1px solid var(--line);border-radius:99px;\
font-size:.875rem}li.bad{border-color:var(--mark);color:var(--mark);font-weight:600}small,code{color:var(--dim)}code{font-size:.85em}";

fn html(fault: &Fault, request_id: &str) -> String {
    let title = escape(fault.code.title());
    let status = fault.status.as_u16();
    let reason = fault.status.canonical_reason().unwrap_or("Error");
    let bad = |origin: &str| if fault.origin.as_str() == origin { " class=\"bad\"" } else { "" };
    let hop = fault.hop.as_deref().map_or("the service".to_owned(), escape);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{status} {reason}</title>\
<style>{STYLE}</style></head><body><main><div class=\"status\">{status} {reason}</div><h1>{title}</h1>\
<p>{message}</p><ol aria-label=\"The way of the request\"><li{client}>you</li><li{us}>Tutti</li><li{upstream}>{hop}</li></ol>\
<small>{code} · request <code>{id}</code></small></main></body></html>\n",
        message = escape(&fault.message),
        client = bad("client"),
        us = bad("tutti"),
        upstream = bad("upstream"),
        code = fault.code,
        id = escape(request_id),
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_core::{Kind, Retry, code};

    fn fault() -> Fault {
        Fault::upstream(
            code::UPSTREAM_BROKE,
            Kind::Unavailable,
            "catalog (catalog-2 at 127.0.0.1:4001)",
            "it said <b>no</b> – 100%".to_owned(),
            Retry::Unsafe,
        )
    }

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_form_is_what_the_request_asks_for() {
        let accept = |value| Form::of(&with(header::ACCEPT, value));
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
        assert_eq!(accept("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Html);
        assert_eq!(accept("application/json, text/html"), Form::Json);
        assert_eq!(accept("*/*"), Form::Json);
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&with(header::CONTENT_TYPE, kind)), grpc, "{kind}");
        }
    }

    #[test]
    fn json_says_which_hop_failed() {
        let response = render(&fault(), Form::Json, &Method::GET, "id-1");
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()[FAULT], "upstream");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"]["code"], "TUT0504");
        assert_eq!(body["error"]["hop"], "catalog (catalog-2 at 127.0.0.1:4001)");
        assert_eq!(body["error"]["origin"], "upstream");
        assert_eq!(body["error"]["request_id"], "id-1");
    }

    #[test]
    fn html_is_escaped_and_needs_nothing_from_outside() {
        let response = render(&fault(), Form::Html, &Method::GET, "\"><script>");
        let page = std::str::from_utf8(response.body()).unwrap();
        assert!(page.contains("&lt;b&gt;no&lt;/b&gt;") && !page.contains("<script>"));
        assert!(!page.contains("http://") && !page.contains("src=") && !page.contains("url("));
        assert!(page.contains("<li class=\"bad\">catalog"));
    }

    #[test]
    fn grpc_hears_in_its_own_way() {
        let response = render(&fault(), Form::Grpc, &Method::POST, "id");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "TUT0504: it said <b>no</b> %E2%80%93 100%25");
        assert!(response.body().is_empty());
        let missing = render(&Fault::no_route("none".into()), Form::Grpc, &Method::POST, "id");
        assert_eq!(missing.headers()["grpc-status"], "12");
    }

    #[test]
    fn head_gets_no_body() {
        assert!(render(&fault(), Form::Json, &Method::HEAD, "id").body().is_empty());
    }
}
