//! Behind phase 7, and again when the answer is there: whether they are as the service's description says.
//!
//! The path that counts is the one that the service gets. A body is held until it is whole, so that the service gets no part of one that
//! is not as described; long ones are looked at on another thread, and not for longer than a while.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use tokio::sync::Semaphore;
use tutti_core::{Origin, limits};
use tutti_net::Body;
use tutti_ports::routing::OpenApiMode;

use super::{Exchange, Stop};
use crate::error::{Fault, Problem};
use crate::model::{headers, rewrite};
use crate::openapi::OpenApiPlan;
use crate::openapi::api::{Api, Content, Operation};
use crate::openapi::check;
use crate::openapi::collect::{Held, Room, hold};
use crate::page::Form;
use crate::snapshot::plan::{RoutePlan, Step};

/// The operation that a request means.
pub struct Described<'a> {
    plan: &'a OpenApiPlan,
    api: Arc<Api>,
    operation: usize,
}

impl Described<'_> {
    fn operation(&self) -> Option<&Operation> {
        self.api.operations.get(self.operation)
    }
}

/// Which part of a description a body belongs to.
enum Part {
    Request,
    Answer(usize),
}

impl Part {
    fn of<'a>(&self, operation: &'a Operation) -> Option<&'a Content> {
        match self {
            Part::Request => operation.body.as_ref(),
            Part::Answer(at) => operation.answers.get(*at)?.1.body.as_ref(),
        }
    }
}

/// Holds a request against its description. Answers with the operation whose answer is to be looked at.
pub async fn request<'a>(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    plan: &'a OpenApiPlan,
) -> Result<Option<Described<'a>>, Stop> {
    let api = plan.document.api();
    let path = served_path(exchange, route);
    let found = find(&api, &path, exchange.request.method());
    let (operation, names) = match found {
        Ok(found) => found,
        Err(_) if plan.rules.unknown_pass || plan.rules.requests == OpenApiMode::Off => return Ok(None),
        Err(unknown) if plan.rules.requests == OpenApiMode::Report => {
            tell(exchange, plan, &unknown.fault.message, &[]);
            return Ok(None);
        }
        Err(unknown) => {
            let Unknown { fault, allow } = *unknown;
            plan.requests.inc();
            exchange.asked.allow = allow;
            return Err(fault.into());
        }
    };
    if plan.rules.requests != OpenApiMode::Off
        && let Some(known) = api.operations.get(operation)
    {
        let (uri, headers) = (exchange.request.uri(), exchange.request.headers());
        let problems = check::parameters(known, &names, uri.query(), headers);
        refuse(exchange, plan, StatusCode::BAD_REQUEST, problems)?;
        body(exchange, route, plan, &api, operation).await?;
    }
    let wanted = plan.rules.responses != OpenApiMode::Off;
    Ok(wanted.then_some(Described { plan, api, operation }))
}

/// The path as the service gets it.
fn served_path(exchange: &Exchange<'_>, route: &RoutePlan) -> String {
    let mut path = exchange.request.uri().path().to_owned();
    for step in &route.filters {
        if let Step::Rewrite { path: Some(change), .. } = step {
            path = rewrite::path(change, &path, exchange.prefix);
        }
    }
    path
}

type Names<'a> = Vec<(&'a str, &'a str)>;

/// There is no such operation.
struct Unknown {
    fault: Fault,
    /// The methods that there are.
    allow: Option<HeaderValue>,
}

fn find<'a>(api: &'a Api, path: &'a str, method: &Method) -> Result<(usize, Names<'a>), Box<Unknown>> {
    let below = |base: &String| {
        let rest = path.strip_prefix(base.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(if rest.is_empty() { "/" } else { rest })
    };
    let found = api.bases.iter().filter_map(below).find_map(|path| api.paths.find(path));
    let Some((number, names)) = found else {
        let message = "the description has no such path".to_owned();
        let fault = Fault::not_described(StatusCode::NOT_FOUND, message);
        return Err(Box::new(Unknown { fault, allow: None }));
    };
    let item = api.items.get(number).map_or(&[][..], Vec::as_slice);
    let of =
        |wanted: &Method| item.iter().find(|(method, _)| method == wanted).map(|(_, operation)| *operation);
    let operation = of(method).or_else(|| (*method == Method::HEAD).then(|| of(&Method::GET)).flatten());
    match operation {
        Some(operation) => Ok((operation, names)),
        None => {
            let taken: Vec<&str> = item.iter().map(|(method, _)| method.as_str()).collect();
            let message = "the description has no such method at this path".to_owned();
            let fault = Fault::not_described(StatusCode::METHOD_NOT_ALLOWED, message);
            Err(Box::new(Unknown { fault, allow: HeaderValue::from_str(&taken.join(", ")).ok() }))
        }
    }
}

/// Counts what is wrong, and refuses it where that is what the route does.
fn refuse(
    exchange: &Exchange<'_>,
    plan: &OpenApiPlan,
    status: StatusCode,
    problems: Vec<Problem>,
) -> Result<(), Stop> {
    if problems.is_empty() {
        return Ok(());
    }
    if plan.rules.requests == OpenApiMode::Enforce {
        plan.requests.inc();
        return Err(Fault::not_as_described(status, problems).into());
    }
    tell(exchange, plan, "a request is not as described", &problems);
    Ok(())
}

fn tell(exchange: &Exchange<'_>, plan: &OpenApiPlan, what: &str, problems: &[Problem]) {
    plan.requests.inc();
    tracing::debug!(
        request_id = exchange.entry.id(),
        what,
        ?problems,
        "a request passes that is not as described"
    );
}

fn lone(place: &'static str, name: &str, detail: &str) -> Vec<Problem> {
    vec![Problem { place, name: name.to_owned(), detail: detail.to_owned() }]
}

/// Holds the body of a request against its description.
async fn body(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    plan: &OpenApiPlan,
    api: &Arc<Api>,
    operation: usize,
) -> Result<(), Stop> {
    let Some(known) = api.operations.get(operation) else { return Ok(()) };
    let empty = is_empty(exchange, route, known).await?;
    let content = match &known.body {
        None if empty => return Ok(()),
        None => return refuse(exchange, plan, StatusCode::BAD_REQUEST, lone("body", "", "there is none")),
        Some(content) if empty => {
            let missing = if content.required { lone("body", "", "it is missing") } else { Vec::new() };
            return refuse(exchange, plan, StatusCode::BAD_REQUEST, missing);
        }
        Some(content) => content,
    };
    let headers = exchange.request.headers();
    let kind = media_type(headers);
    let media = match check::media(content, headers) {
        Ok((media, _)) => media,
        Err(problem) => return refuse(exchange, plan, StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![problem]),
    };
    if !check::is_read(&kind) {
        return Ok(());
    }
    if is_coded(headers) {
        plan.unchecked.inc();
        let why = "a coded body cannot be looked at: the route would have to decompress it";
        return refuse(
            exchange,
            plan,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            lone("header", "content-encoding", why),
        );
    }
    let body = guarded(exchange, route);
    let most = usize::try_from(plan.rules.max_body).unwrap_or(usize::MAX);
    let mut room = Room::of(&exchange.worker.held);
    let (body, looked) = match hold(body, most, &mut room).await.map_err(|error| Fault::of_body(&error))? {
        Held::Longer(body) => (body, Err(Fault::too_large(plan.rules.max_body))),
        Held::NoRoom(body) => (body, Err(no_room())),
        Held::Whole(bytes, body) => {
            let about = About { api: Arc::clone(api), operation, part: Part::Request, media, kind };
            (body, about.look(&exchange.worker.looks, bytes, room).await)
        }
    };
    *exchange.request.body_mut() = body;
    match looked {
        Ok(problems) => refuse(exchange, plan, StatusCode::BAD_REQUEST, problems),
        Err(fault) => {
            plan.unchecked.inc();
            if plan.rules.requests == OpenApiMode::Enforce { Err(fault.into()) } else { Ok(()) }
        }
    }
}

/// Whether a request has no body. Of one whose end comes apart from its head, that is found out where it matters.
async fn is_empty(exchange: &mut Exchange<'_>, route: &RoutePlan, known: &Operation) -> Result<bool, Stop> {
    let body = exchange.request.body();
    if body.is_end_stream() {
        return Ok(true);
    }
    let named = known.body.is_some() && exchange.request.headers().contains_key(header::CONTENT_TYPE);
    if named || body.size_hint().lower() > 0 {
        return Ok(false);
    }
    let mut room = Room::of(&exchange.worker.held);
    let body = guarded(exchange, route);
    let (body, empty) = match hold(body, 0, &mut room).await.map_err(|error| Fault::of_body(&error))? {
        Held::Whole(_, body) => (body, true),
        Held::Longer(body) | Held::NoRoom(body) => (body, false),
    };
    *exchange.request.body_mut() = body;
    Ok(empty)
}

/// The body of a request, which must go on coming.
fn guarded(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Body {
    let body = std::mem::take(exchange.request.body_mut());
    let body = match route.idle {
        Some(idle) => body.with_idle_timeout(idle),
        None => body,
    };
    match exchange.listener.min_rate() {
        Some(rate) if exchange.form != Form::Grpc => body.with_min_rate(rate, Origin::Client),
        _ => body,
    }
}

fn no_room() -> Fault {
    Fault::overloaded(format!(
        "{} bytes of bodies are being looked at on this worker",
        limits::OPENAPI_HELD_BYTES
    ))
}

fn media_type(headers: &http::HeaderMap) -> String {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_coded(headers: &http::HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What a body is held against.
struct About {
    api: Arc<Api>,
    operation: usize,
    part: Part,
    media: usize,
    kind: String,
}

impl About {
    /// What is wrong with a body that is whole. It is our fault if nobody comes to look at it in time.
    async fn look(
        self,
        looks: &Arc<Semaphore>,
        bytes: bytes::Bytes,
        room: Room,
    ) -> Result<Vec<Problem>, Fault> {
        if bytes.len() <= limits::OPENAPI_INLINE_BYTES {
            return Ok(self.problems(&bytes));
        }
        let turn = tokio::time::timeout(limits::OPENAPI_TIME, Arc::clone(looks).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let message = "too many long bodies are being looked at on this worker".to_owned();
            return Err(Fault::overloaded(message));
        };
        let work = move || {
            // As long as somebody looks at it, it takes its room and its turn, also when nobody waits for that any more.
            let _held = (room, turn);
            self.problems(&bytes)
        };
        Ok(match tokio::time::timeout(limits::OPENAPI_TIME, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(problems)) => problems,
            Ok(Err(_)) => lone("body", "", "it could not be looked at"),
            Err(_) => lone("body", "", "it takes too long to be looked at"),
        })
    }

    fn problems(&self, bytes: &[u8]) -> Vec<Problem> {
        let content = self.api.operations.get(self.operation).and_then(|operation| self.part.of(operation));
        let media = content.and_then(|content| content.media.get(self.media));
        media.map(|(_, media)| check::body(media, &self.kind, bytes)).unwrap_or_default()
    }
}

/// Holds an answer against its description.
pub async fn response(
    exchange: &mut Exchange<'_>,
    route: &RoutePlan,
    described: &Described<'_>,
    response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    let Some(operation) = described.operation() else { return Ok(response) };
    if response.status().is_informational() || response.headers().contains_key(headers::FALLBACK) {
        return Ok(response);
    }
    let status = response.status();
    let found = operation.answers.iter().position(|(statuses, _)| statuses.hold(status));
    let Some((at, (_, answer))) = found.and_then(|at| Some((at, operation.answers.get(at)?))) else {
        let detail = format!("the status {} is not described", status.as_u16());
        return judged(exchange, described, lone("header", "status", &detail), response);
    };
    let mut problems = check::fields(&answer.headers, response.headers());
    let bodiless = *exchange.entry.method() == Method::HEAD || matches!(status.as_u16(), 204 | 304);
    let Some(content) = answer.body.as_ref().filter(|_| !bodiless && !response.body().is_end_stream()) else {
        return judged(exchange, described, problems, response);
    };
    let kind = media_type(response.headers());
    let media = match check::media(content, response.headers()) {
        Ok((media, _)) => media,
        Err(problem) => {
            problems.push(problem);
            return judged(exchange, described, problems, response);
        }
    };
    if !check::is_read(&kind) || !problems.is_empty() {
        return judged(exchange, described, problems, response);
    }
    let most = usize::try_from(described.plan.rules.max_body).unwrap_or(usize::MAX);
    if is_coded(response.headers()) {
        described.plan.unchecked.inc();
        return Ok(response);
    }
    let mut room = Room::of(&exchange.worker.held);
    let (head, body) = response.into_parts();
    let body = route.idle.into_iter().fold(body, Body::with_idle_timeout);
    let hop = hop(exchange);
    let broke = |error: tutti_net::BodyError| {
        let (code, kind) = (tutti_core::code::UPSTREAM_BROKE, tutti_core::Kind::Unavailable);
        let message = format!("the answer broke off: {error}");
        Fault::upstream(code, kind, &hop, message, tutti_core::Retry::Unsafe)
    };
    let (body, looked) = match hold(body, most, &mut room).await.map_err(broke)? {
        Held::Longer(body) | Held::NoRoom(body) => (body, None),
        Held::Whole(bytes, body) => {
            let (api, operation) = (Arc::clone(&described.api), described.operation);
            let about = About { api, operation, part: Part::Answer(at), media, kind };
            (body, about.look(&exchange.worker.looks, bytes, room).await.ok())
        }
    };
    let response = Response::from_parts(head, body);
    let Some(problems) = looked else {
        described.plan.unchecked.inc();
        return Ok(response);
    };
    judged(exchange, described, problems, response)
}

fn hop(exchange: &Exchange<'_>) -> String {
    exchange.entry.chosen.as_ref().map_or(String::new(), |chosen| chosen.endpoint().hop.clone())
}

fn judged(
    exchange: &Exchange<'_>,
    described: &Described<'_>,
    problems: Vec<Problem>,
    response: Response<Body>,
) -> Result<Response<Body>, Stop> {
    if problems.is_empty() {
        return Ok(response);
    }
    described.plan.responses.inc();
    let operation = described.operation().map_or("", |operation| operation.name.as_str());
    if described.plan.rules.responses == OpenApiMode::Enforce {
        return Err(Fault::answer_not_as_described(&hop(exchange), problems).into());
    }
    tracing::debug!(
        request_id = exchange.entry.id(),
        operation,
        ?problems,
        "an answer passes that is not as described"
    );
    Ok(response)
}
