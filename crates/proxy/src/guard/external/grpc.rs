//! Asking by `envoy.service.auth.v3.Authorization/Check`, as Envoy does.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body::Body as _;
use prost::Message as _;
use tutti_core::limits;
use tutti_net::Protocol;

use super::proto::{self, HttpResponse};
use super::{About, Allowed, Decision, Denied, ExternalPlan, QUESTION, is_ours};
use crate::model::forwarded;
use crate::phase::call::Answer;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The call.
pub fn question(
    plan: &ExternalPlan,
    context: &BTreeMap<String, String>,
    about: &About<'_>,
) -> Result<Request<Bytes>, String> {
    let address = |address: Option<SocketAddr>| {
        address.map(|address| proto::Address {
            socket_address: Some(proto::SocketAddress {
                protocol: 0,
                address: address.ip().to_string(),
                port_value: Some(u32::from(address.port())),
            }),
        })
    };
    let port =
        about.peer.filter(|peer| peer.ip().to_canonical() == about.client).map_or(0, |peer| peer.port());
    let certificate = about.tls.and_then(|tls| tls.client.as_ref());
    let of_kind = |kind: &str| {
        let names = certificate.map(|one| &*one.names).unwrap_or_default();
        names.iter().find_map(|name| name.strip_prefix(kind)).map(str::to_owned)
    };
    let principal = of_kind("URI:").or_else(|| of_kind("DNS:"));
    let principal = principal.or_else(|| certificate.map(|one| one.subject.clone())).unwrap_or_default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = proto::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    };
    let source = proto::Peer {
        address: address(Some(SocketAddr::new(about.client, port))),
        principal,
        ..proto::Peer::default()
    };
    let message = proto::CheckRequest {
        attributes: Some(proto::Attributes {
            source: Some(source),
            destination: Some(proto::Peer { address: address(about.local), ..proto::Peer::default() }),
            request: Some(proto::Request { time: Some(time), http: Some(asked(plan, about)) }),
            context_extensions: context.clone().into_iter().collect(),
            tls_session: about
                .tls
                .and_then(|tls| tls.sni.as_ref())
                .map(|sni| proto::TlsSession { sni: sni.to_string() }),
        }),
    };
    let mut request = Request::new(framed(&message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(PATH);
    let headers = request.headers_mut();
    for name in ["x-request-id", "traceparent", "tracestate"] {
        if let Some(value) = about.request.headers().get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    let host = HeaderValue::from_str(plan.service.as_str());
    headers.insert(header::HOST, host.unwrap_or_else(|_| HeaderValue::from_static("localhost")));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(QUESTION, HeaderValue::from_static("1"));
    let timeout = format!("{}m", plan.timeout.as_millis().min(99_999_999));
    if let Ok(timeout) = HeaderValue::from_str(&timeout) {
        headers.insert("grpc-timeout", timeout);
    }
    Ok(request)
}

/// The request that it is about.
fn asked(plan: &ExternalPlan, about: &About<'_>) -> proto::HttpRequest {
    let request = about.request;
    let text = |name: &HeaderName| request.headers().get(name).map_or(String::new(), lossy);
    let scheme = if text(&forwarded::PROTO) == "https" { "https" } else { "http" };
    let path = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let host = text(&header::HOST);
    let mut headers: HashMap<String, String> = HashMap::new();
    for name in request.headers().keys() {
        let shown = plan.shows(name) || forwarded::is_claim(name.as_str()) || name == "x-request-id";
        if shown && *name != header::HOST {
            let joint = if *name == header::COOKIE { "; " } else { "," };
            let values: Vec<String> = request.headers().get_all(name).iter().map(lossy).collect();
            headers.insert(name.as_str().to_owned(), values.join(joint));
        }
    }
    let pseudo = [
        (":method", request.method().as_str()),
        (":path", &*path),
        (":authority", &*host),
        (":scheme", scheme),
    ];
    headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (mut body, mut raw_body) = (String::new(), Vec::new());
    if let Some((shown, partial)) = &about.body {
        headers.insert("x-envoy-auth-partial-body".to_owned(), partial.to_string());
        if plan.body.is_some_and(|rule| rule.raw) {
            raw_body = shown.to_vec();
        } else {
            body = String::from_utf8_lossy(shown).into_owned();
        }
    }
    let size = request.body().size_hint().exact().and_then(|size| i64::try_from(size).ok());
    let protocol = match about.protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        #[allow(unreachable_patterns)]
        _ => "HTTP/3",
    };
    proto::HttpRequest {
        id: about.id.to_owned(),
        method: request.method().as_str().to_owned(),
        headers,
        path,
        host,
        scheme: scheme.to_owned(),
        size: size.unwrap_or(-1),
        protocol: protocol.to_owned(),
        body,
        raw_body,
    }
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A message with its prefix (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &proto::CheckRequest) -> Bytes {
    let bytes = message.encode_to_vec();
    let mut out = BytesMut::with_capacity(bytes.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&bytes);
    out.freeze()
}

/// The one message of an answer.
fn unframed(body: &[u8]) -> Result<&[u8], String> {
    let Some(([compressed, length @ ..], message)) = body.split_first_chunk::<5>() else {
        return Err("it answered without a message".to_owned());
    };
    if *compressed != 0 {
        return Err("it answered in a compression that it was not asked for".to_owned());
    }
    let [a, b, c, d] = *length;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if message.len() == length { Ok(message) } else { Err("it answered with half a message".to_owned()) }
}

/// What the service's answer means.
pub fn decision(plan: &ExternalPlan, answer: &Answer) -> Result<Decision, String> {
    let head = answer.response.headers();
    let field = |name: &str| {
        let value =
            answer.trailers.as_ref().and_then(|trailers| trailers.get(name)).or_else(|| head.get(name));
        value.map(lossy)
    };
    if answer.response.status() != StatusCode::OK {
        return Err(format!("it answered {}", answer.response.status()));
    }
    match field("grpc-status").as_deref() {
        Some("0") => {}
        Some(status) => {
            let why = field("grpc-message").unwrap_or_default();
            return Err(format!("it failed with the status {status} of gRPC {why:?}"));
        }
        None => return Err("it answered without a status of gRPC".to_owned()),
    }
    let message = unframed(answer.response.body())?;
    let message = proto::CheckResponse::decode(message)
        .map_err(|error| format!("it answered what is no CheckResponse: {error}"))?;
    let allowed = message.status.as_ref().is_none_or(|status| status.code == 0);
    Ok(match (allowed, message.http_response) {
        (true, Some(HttpResponse::Ok(ok))) => Decision::Allowed(Arc::new(permission(&ok))),
        (true, None) => Decision::Allowed(Arc::default()),
        // Two words that contradict each other are not a permission.
        (true, Some(HttpResponse::Denied(denied))) | (false, Some(HttpResponse::Denied(denied))) => {
            Decision::Denied(Box::new(refusal(plan, denied)))
        }
        (false, _) => Decision::Denied(Box::new(Denied {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            told: false,
        })),
    })
}

fn permission(ok: &proto::OkHttpResponse) -> Allowed {
    let mut out = Allowed::default();
    let name = |text: &String| HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()).ok();
    out.remove.extend(ok.headers_to_remove.iter().filter_map(name).filter(|name| !is_ours(name)));
    for option in ok.headers.iter().take(limits::HTTP_FIELDS) {
        let Some(field) = field(option) else { continue };
        if appends(option) { out.add.push(field) } else { out.set.push(field) }
    }
    let to_client = ok.response_headers_to_add.iter().take(limits::HTTP_FIELDS).filter_map(field);
    out.client.extend(to_client);
    let parameters = ok.query_parameters_to_set.iter().take(limits::HTTP_FIELDS);
    out.query = (
        parameters.map(|one| (one.key.clone(), one.value.clone())).collect(),
        ok.query_parameters_to_remove.iter().take(limits::HTTP_FIELDS).cloned().collect(),
    );
    out
}

fn refusal(plan: &ExternalPlan, denied: proto::DeniedHttpResponse) -> Denied {
    let code = denied.status.map_or(0, |status| status.code);
    let status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FORBIDDEN);
    let mut headers = HeaderMap::new();
    for option in denied.headers.iter().take(limits::HTTP_FIELDS) {
        let Some((name, value)) = field(option).filter(|(name, _)| plan.tells(name)) else { continue };
        if appends(option) || name == header::SET_COOKIE {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
    let told = !denied.body.is_empty() || !headers.is_empty();
    Denied { status, headers, body: Bytes::from(denied.body), told }
}

/// Whether a field is added to those that are there. In these messages the default is that it takes their place.
fn appends(option: &proto::HeaderValueOption) -> bool {
    option.append.as_ref().is_some_and(|append| append.value)
}

fn field(option: &proto::HeaderValueOption) -> Option<(HeaderName, HeaderValue)> {
    let header = option.header.as_ref()?;
    let name = HeaderName::from_bytes(header.key.to_ascii_lowercase().as_bytes()).ok()?;
    let bytes = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    let value = HeaderValue::from_bytes(bytes).ok()?;
    (!is_ours(&name)).then_some((name, value))
}
