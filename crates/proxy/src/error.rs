//! What can go wrong: with the configuration ([`ApplyError`]), and with a request ([`Fault`]).

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tutti_core::{Classify, Code, Kind, Origin, Retry, code};
use tutti_ports::rate::StoreError;

use crate::model::router::RouteError;
use crate::transport::TransportError;

/// Why listeners and routes were not applied. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Two listeners of one name or address.
    #[error("two listeners have the {what} {value}")]
    Duplicate {
        /// `name` or `address`.
        what: &'static str,
        /// Which.
        value: String,
    },
    /// A route that does not compile.
    #[error("listener {listener:?}")]
    Route {
        /// The listener.
        listener: String,
        /// Why.
        #[source]
        source: RouteError,
    },
    /// A transport that cannot be set up.
    #[error("listener {listener:?}")]
    Transport {
        /// The listener.
        listener: String,
        /// Why.
        #[source]
        source: Box<TransportError>,
    },
    /// An address that cannot be listened at.
    #[error("listener {listener:?} cannot be bound to {address}")]
    Bind {
        /// The listener.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Routes of a listener were to be changed that is not there or has none.
    #[error("there is no listener {0:?} that has routes")]
    NoListener(String),
    /// An address at which HTTP/3 cannot be spoken.
    #[error("HTTP/3 of listener {listener:?} cannot be bound to UDP {address}")]
    BindHttp3 {
        /// The listener.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An access log that cannot be written.
    #[error("the access log {} cannot be written", path.display())]
    AccessLog {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too many.
    #[error("there are more than {0} listeners")]
    TooMany(usize),
    /// A thread, runtime or log file could not be made.
    #[error("cannot start {what}")]
    Start {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A service cannot be called as was asked.
    #[error("the service {service} cannot be called as it is declared")]
    Upstream {
        /// The service.
        service: tutti_core::ServiceName,
        /// Why.
        #[source]
        source: Box<crate::transport::TransportError>,
    },
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    Closed,
}

impl Classify for ApplyError {
    fn kind(&self) -> Kind {
        match self {
            ApplyError::Duplicate { .. }
            | ApplyError::Route { .. }
            | ApplyError::Transport { .. }
            | ApplyError::Upstream { .. } => Kind::Invalid,
            ApplyError::Bind { source, .. } | ApplyError::BindHttp3 { source, .. }
                if source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                Kind::Conflict
            }
            ApplyError::Bind { source, .. } | ApplyError::BindHttp3 { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Kind::Denied
            }
            ApplyError::Bind { .. } | ApplyError::BindHttp3 { .. } | ApplyError::Closed => Kind::Unavailable,
            ApplyError::NoListener(_) => Kind::NotFound,
            ApplyError::AccessLog { .. } => Kind::Denied,
            ApplyError::TooMany(_) => Kind::Exhausted,
            ApplyError::Start { .. } => Kind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Safe
    }

    fn code(&self) -> Option<Code> {
        match self {
            ApplyError::Route { source: RouteError::Description { .. }, .. } => Some(code::OPENAPI_FILE),
            ApplyError::Duplicate { .. } | ApplyError::Route { .. } => Some(code::BAD_ROUTING),
            ApplyError::Transport { .. } => Some(code::TLS_FILES),
            ApplyError::Upstream { .. } => Some(code::UPSTREAM_TLS_FILES),
            ApplyError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some(code::PORT_TAKEN)
            }
            ApplyError::Bind { .. } => Some(code::LISTEN),
            ApplyError::BindHttp3 { .. } => Some(code::HTTP3_LISTEN),
            ApplyError::AccessLog { .. } => Some(code::ACCESS_LOG),
            _ => None,
        }
    }
}

/// Why a request got no answer from its service. Becomes the answer that the client sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// The kind.
    pub kind: Kind,
    /// Who is at fault.
    pub origin: Origin,
    /// The status the client sees.
    pub status: StatusCode,
    /// Whether the request may be sent again without being carried out twice.
    pub retry: Retry,
    /// The hop that failed, as `catalog (catalog-2 at 127.0.0.1:4001)`.
    pub hop: Option<String>,
    /// What happened, for a person. Holds no secret and nothing of the request's content.
    pub message: String,
    /// After how many seconds it may be better.
    pub retry_after: Option<u32>,
    /// What is not as described, one by one.
    pub problems: Vec<Problem>,
}

/// One thing that is not as described. Holds nothing of what stood there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// `path`, `query`, `header`, `cookie` or `body`.
    #[serde(rename = "in")]
    pub place: &'static str,
    /// The name of the parameter, or where in the body (JSON pointer).
    pub name: String,
    /// What was expected.
    pub detail: String,
}

impl Fault {
    fn new(code: Code, kind: Kind, origin: Origin, status: StatusCode, message: String) -> Self {
        let (retry, hop, retry_after, problems) = (Retry::Safe, None, None, Vec::new());
        Self { code, kind, origin, status, retry, hop, message, retry_after, problems }
    }

    /// The client's request cannot be accepted.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(code::BAD_REQUEST, Kind::Invalid, Origin::Client, StatusCode::BAD_REQUEST, message.into())
    }

    /// CONNECT.
    pub fn not_served(message: impl Into<String>) -> Self {
        Self::new(
            code::NOT_SERVED,
            Kind::Invalid,
            Origin::Client,
            StatusCode::NOT_IMPLEMENTED,
            message.into(),
        )
    }

    /// No route matches.
    pub fn no_route(message: String) -> Self {
        Self::new(code::NO_ROUTE, Kind::NotFound, Origin::Client, StatusCode::NOT_FOUND, message)
    }

    /// The connection was made for another host (RFC 9110 section 15.5.20).
    pub fn misdirected() -> Self {
        let message = "the certificate of this connection is not for that host: ask on another connection";
        let status = StatusCode::MISDIRECTED_REQUEST;
        Self::new(code::MISDIRECTED, Kind::Invalid, Origin::Client, status, message.to_owned())
    }

    /// The route leads nowhere.
    pub fn no_backend(route: &str) -> Self {
        let message = format!("the route {route:?} has no backend");
        Self::new(code::NO_BACKEND, Kind::Internal, Origin::Us, StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Nothing is ready to take the request.
    pub fn no_instance(service: String, message: String) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::NO_INSTANCE, Kind::Unavailable, Origin::Upstream, status, message);
        Self { hop: Some(service), retry_after: Some(1), ..fault }
    }

    /// There is no room.
    pub fn shed(what: &str) -> Self {
        let message = format!("{what} has as many requests as it takes at a time");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::SHED, Kind::Exhausted, Origin::Us, status, message);
        Self { retry_after: Some(1), ..fault }
    }

    /// A fault on purpose.
    pub fn injected() -> Self {
        let message = "the route makes this fault on purpose".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(code::FAULT_INJECTED, Kind::Unavailable, Origin::Us, status, message)
    }

    /// The caller does not wait any longer.
    pub fn deadline_passed() -> Self {
        let message = "the caller's deadline passed before the request could be sent".to_owned();
        let status = StatusCode::GATEWAY_TIMEOUT;
        Self::new(code::DEADLINE_PASSED, Kind::Timeout, Origin::Client, status, message)
    }

    /// A named limit.
    pub fn overloaded(message: String) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::OVERLOADED, Kind::Exhausted, Origin::Us, status, message);
        Self { retry_after: Some(1), ..fault }
    }

    /// The service's circuit breaker is open.
    pub fn breaker_open(service: &str, after: std::time::Duration) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let message = format!("too many requests to {service} failed, so it is left in peace for a moment");
        let fault = Self::new(code::BREAKER_OPEN, Kind::Unavailable, Origin::Upstream, status, message);
        let seconds = u32::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        Self { hop: Some(service.to_owned()), retry_after: Some(seconds), retry: Retry::Unsafe, ..fault }
    }

    /// The upstream failed; `status` is 502 or 504.
    pub fn upstream(code: Code, kind: Kind, hop: &str, message: String, retry: Retry) -> Self {
        let status = match kind {
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let fault = Self::new(code, kind, Origin::Upstream, status, message);
        Self { hop: Some(hop.to_owned()), retry, ..fault }
    }

    /// The client asks too often; `wait` is when it may ask again.
    pub fn rate_limited(wait: Duration) -> Self {
        let seconds = crate::model::rate::header::seconds(wait).max(1);
        let message = format!("too many requests: the next may come in {seconds} s");
        let status = StatusCode::TOO_MANY_REQUESTS;
        let fault = Self::new(code::RATE_LIMITED, Kind::Exhausted, Origin::Client, status, message);
        Self { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..fault }
    }

    /// The route is not for the client's address.
    pub fn address_denied(client: std::net::IpAddr) -> Self {
        let message = format!("requests from {client} are not taken here");
        Self::new(code::ADDRESS_DENIED, Kind::Denied, Origin::Client, StatusCode::FORBIDDEN, message)
    }

    /// It cannot be found out whether the client asks too often.
    pub fn rates_unknown(error: &StoreError) -> Self {
        tracing::warn!(%error, "requests are refused, since they cannot be counted");
        let message = "it cannot be found out how often was asked".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::RATES_UNKNOWN, Kind::Unavailable, Origin::Us, status, message);
        Self { retry_after: Some(1), ..fault }
    }

    /// The route asks for a credential, and there is none that is good. Why is for the log alone.
    pub fn unauthenticated() -> Self {
        let message = "the route needs a credential that is good".to_owned();
        let status = StatusCode::UNAUTHORIZED;
        Self::new(code::UNAUTHENTICATED, Kind::Denied, Origin::Client, status, message)
    }

    /// It is known who asks, or need not be, and the route is not for them.
    pub fn not_allowed(why: &str) -> Self {
        let status = StatusCode::FORBIDDEN;
        Self::new(code::NOT_ALLOWED, Kind::Denied, Origin::Client, status, why.to_owned())
    }

    /// Tokens cannot be verified now.
    pub fn keys_unknown(why: &str) -> Self {
        tracing::warn!(why, "tokens cannot be verified");
        let message = "tokens cannot be verified now".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::KEYS_UNKNOWN, Kind::Unavailable, Origin::Us, status, message);
        Self { retry_after: Some(5), ..fault }
    }

    /// Another service was asked and said no, and nothing else.
    pub fn external_denied(status: StatusCode) -> Self {
        let message = "the authorization service refused the request".to_owned();
        Self::new(code::EXTERNAL_DENIED, Kind::Denied, Origin::Client, status, message)
    }

    /// Another service was asked and has not decided. Why is for the log alone.
    pub fn external_unknown(service: &str) -> Self {
        let message = "it could not be decided whether the request may pass".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = Self::new(code::EXTERNAL_UNKNOWN, Kind::Unavailable, Origin::Upstream, status, message);
        Self { hop: Some(service.to_owned()), retry_after: Some(1), ..fault }
    }

    /// A question of ours came back to us (RFC 5842 section 7.2).
    pub fn external_loop() -> Self {
        let message = "a question to an authorization service must not lead to the same question".to_owned();
        let status = StatusCode::LOOP_DETECTED;
        Self::new(code::EXTERNAL_LOOP, Kind::Internal, Origin::Client, status, message)
    }

    /// The client's body is longer than the route takes.
    pub fn too_large(limit: u64) -> Self {
        let message = format!("the request's body is longer than {limit} bytes");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let fault = Self::new(code::BODY_TOO_LARGE, Kind::Invalid, Origin::Client, status, message);
        Self { retry: Retry::Unsafe, ..fault }
    }

    /// The path or query is longer than the route takes.
    pub fn uri_too_long(message: String) -> Self {
        let status = StatusCode::URI_TOO_LONG;
        Self::new(code::URI_TOO_LONG, Kind::Invalid, Origin::Client, status, message)
    }

    /// The header is larger than the route takes.
    pub fn header_too_large(message: String) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(code::HEADER_TOO_LARGE, Kind::Invalid, Origin::Client, status, message)
    }

    /// The route does not take the method.
    pub fn method_not_allowed(method: &http::Method) -> Self {
        let (status, message) = (StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not taken here"));
        Self::new(code::METHOD_NOT_ALLOWED, Kind::Invalid, Origin::Client, status, message)
    }

    /// The route does not take such bodies.
    pub fn unsupported(message: &str) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code::UNSUPPORTED_TYPE, Kind::Invalid, Origin::Client, status, message.to_owned())
    }

    /// A service's answer is longer than the route lets through.
    pub fn answer_too_large(hop: &str, limit: u64) -> Self {
        let message = format!("the answer is longer than {limit} bytes");
        Self::upstream(code::ANSWER_TOO_LARGE, Kind::Exhausted, hop, message, Retry::Unsafe)
    }

    /// The request is not as described.
    pub fn not_as_described(status: StatusCode, problems: Vec<Problem>) -> Self {
        let message = "the request is not as the service's description says".to_owned();
        let fault = Self::new(code::NOT_AS_DESCRIBED, Kind::Invalid, Origin::Client, status, message);
        Self { problems, ..fault }
    }

    /// There is no such operation.
    pub fn not_described(status: StatusCode, message: String) -> Self {
        Self::new(code::NOT_DESCRIBED, Kind::NotFound, Origin::Client, status, message)
    }

    /// The answer is not as described.
    pub fn answer_not_as_described(hop: &str, problems: Vec<Problem>) -> Self {
        let message = "the answer is not as the service's description says".to_owned();
        let fault =
            Self::upstream(code::ANSWER_NOT_AS_DESCRIBED, Kind::Internal, hop, message, Retry::Unsafe);
        Self { problems, ..fault }
    }

    /// A request's body that failed before it was whole.
    pub fn of_body(error: &tutti_net::BodyError) -> Self {
        match error {
            tutti_net::BodyError::TooLarge(limit) => Self::too_large(*limit as u64),
            tutti_net::BodyError::Malformed(..) => {
                Self::bad_request(format!("the request's body is malformed: {error}"))
            }
            tutti_net::BodyError::Slow(_, rate) => Self::slow_client(rate.bytes_per_second),
            _ => Self::client_body(format!("the request's body did not come: {error}")),
        }
    }

    /// The client's own body failed or stood still.
    pub fn client_body(message: String) -> Self {
        let status = StatusCode::REQUEST_TIMEOUT;
        let fault = Self::new(code::CLIENT_GONE, Kind::Timeout, Origin::Client, status, message);
        Self { retry: Retry::Unsafe, ..fault }
    }

    /// The client sends its body at less than the least rate.
    pub fn slow_client(bytes_per_second: u32) -> Self {
        let message = format!("the request's body came at less than {bytes_per_second} bytes a second");
        let status = StatusCode::REQUEST_TIMEOUT;
        let fault = Self::new(code::CLIENT_SLOW, Kind::Timeout, Origin::Client, status, message);
        Self { retry: Retry::Unsafe, ..fault }
    }
}
