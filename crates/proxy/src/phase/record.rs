//! Phase 10: what became of a request, counted and logged when its last byte is gone.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::uri::Uri;
use http::{HeaderValue, Method, Request, Response};
use tutti_core::{Code, Origin, code};
use tutti_net::body::{Seen, Watch};
use tutti_net::{Body, ConnectionInfo, Protocol, Refusal, upgrade};

use super::observe::Deferred;
use super::respond::Switched;
use super::upload::Progress;
use crate::access_log::line::Line;
use crate::access_log::{Feed, Opened};
use crate::explain::diary::Diary;
use crate::explain::record::{Record, Text, Trail, Trouble};
use crate::grpc::ending::Broke;
use crate::guard::Guarded;
use crate::metrics::{Metrics, ServiceMetrics};
use crate::model::outlier::Outcome;
use crate::model::trace::Context;
use crate::resilience::gate::Permit;
use crate::snapshot::plan::{ListenerPlan, RoutePlan};
use crate::upstream::endpoint::InFlight;
use crate::upstream::pool::Place;

/// Status of a request whose client went away, in logs only (nginx's invention, known to every reader of logs).
const CLIENT_GONE: u16 = 499;

/// One worker's book of requests.
pub struct Recorder {
    /// The access log.
    pub feed: Feed,
    /// Requests that are remembered, for explanations.
    diary: Arc<Diary>,
    /// The beginning of the engine's clock.
    origin: Instant,
    metrics: Arc<Metrics>,
    under_way: AtomicU64,
}

impl Recorder {
    /// An empty book.
    pub fn new(log: Opened, diary: Arc<Diary>, origin: Instant, metrics: Arc<Metrics>) -> Self {
        let feed = Feed::new(log, Arc::clone(&metrics));
        Self { feed, diary, origin, metrics, under_way: AtomicU64::new(0) }
    }

    /// Requests of this worker that are under way.
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// A request was refused by the codec.
    pub fn refused(&self, listener: &ListenerPlan, connection: &ConnectionInfo, refusal: &Refusal) {
        self.metrics.refused.inc();
        self.unheard(
            listener,
            connection,
            (code::BAD_REQUEST, "TUT0507"),
            refusal.status.as_u16(),
            refusal.reason,
        );
    }

    /// A connection was closed because its client flooded it.
    pub fn flooded(&self, listener: &ListenerPlan, connection: &ConnectionInfo, reason: &'static str) {
        self.metrics.floods.inc();
        tracing::debug!(listener = %listener.name, peer = %connection.peer, reason, "a connection was closed");
        self.unheard(listener, connection, (code::FLOOD, "TUT0525"), CLIENT_GONE, reason);
    }

    /// A proxy in front did not say for whom it connects.
    pub fn unproxied(&self, listener: &ListenerPlan, connection: &ConnectionInfo, reason: &'static str) {
        self.unheard(listener, connection, (code::PROXY_HEADER, "TUT0573"), CLIENT_GONE, reason);
    }

    /// No route is for the name that a client of TLS asks for.
    pub fn unrouted(&self, listener: &ListenerPlan, connection: &ConnectionInfo) {
        let reason = "no route is for the name that the client asks for";
        self.unheard(listener, connection, (code::NO_STREAM_ROUTE, "TUT0576"), CLIENT_GONE, reason);
    }

    /// Records what no handler saw; the reason stands where the path would.
    fn unheard(
        &self,
        listener: &ListenerPlan,
        connection: &ConnectionInfo,
        (code, fault): (Code, &'static str),
        status: u16,
        reason: &'static str,
    ) {
        self.metrics.fault(code, Origin::Client);
        self.feed.record(&Line {
            at: SystemTime::now(),
            listener: &listener.name,
            route: None,
            client: connection.peer.socket_addr().map(|peer| peer.ip()),
            method: "-",
            host: b"",
            path: reason,
            protocol: protocol(connection.protocol),
            status,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            first_byte: None,
            service: None,
            instance: None,
            attempts: 0,
            request_id: b"-",
            trace: 0,
            trace_id: b"-",
            fault: Some(fault),
        });
    }
}

/// The room that a request takes where there is only so much.
#[derive(Default)]
pub struct Permits {
    /// Of its route.
    pub route: Option<Permit>,
    /// Of the service.
    pub upstream: Option<Permit>,
}

/// What is known of one request. Dropping it records it: there is no way to forget one.
pub struct Entry {
    recorder: Arc<Recorder>,
    listener: Arc<ListenerPlan>,
    started: Instant,
    method: Method,
    uri: Uri,
    protocol: &'static str,
    /// `Host` as the client sent it.
    pub host: Option<HeaderValue>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The route.
    pub route: Option<Arc<RoutePlan>>,
    /// The counters of the service that is asked.
    pub service: Option<Arc<ServiceMetrics>>,
    /// How many tries there were at others before.
    pub tried: usize,
    /// The instance tried last, counted as busy as long as this lives.
    pub chosen: Option<InFlight>,
    /// The place on a shared connection.
    pub place: Option<Place>,
    /// The room that it takes.
    pub permits: Permits,
    /// How many instances were tried.
    pub attempts: u32,
    /// The trace.
    pub trace: Option<Context>,
    /// The id.
    pub request_id: Option<HeaderValue>,
    /// The request's body on its way.
    pub upload: Option<Arc<Progress>>,
    /// What is noted on its way, for explanations.
    pub trail: Trail,
    /// Set when the budget of the service forbade another try.
    pub denied: Cell<bool>,
    /// What the limits of rate said, and who asks.
    pub guarded: Option<Box<Guarded>>,
    /// When the answer's head was there.
    pub head: Option<Instant>,
    /// What there is to say of its failure.
    pub trouble: Option<Box<Trouble>>,
    /// Why it failed.
    pub fault: Option<(Code, Origin)>,
    /// Set when the service's answer grew longer than the route lets through.
    pub over: Option<Arc<AtomicBool>>,
    /// What has failed in the middle of an answer of gRPC, which was told in trailers.
    pub broke: Option<Broke>,
    /// The status of gRPC in the head of the service's answer.
    pub said: Option<u8>,
    /// What the answer says of its instance, if that is known at its end only.
    pub deferred: Option<Deferred>,
    /// The status that was answered; until then, the client's leaving is what happened.
    pub status: u16,
    /// Bytes of a tunnel, from and to the client.
    pub tunnelled: (u64, u64),
    seen: Option<Seen>,
}

impl Entry {
    /// Begins with a request.
    pub fn begin(
        recorder: &Arc<Recorder>,
        listener: &Arc<ListenerPlan>,
        request: &Request<Body>,
        connection: &ConnectionInfo,
        started: Instant,
    ) -> Box<Self> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self::new(recorder, listener, (method, uri), protocol(connection.protocol), connection, started)
    }

    /// Begins with a connection whose bytes are passed on.
    pub fn tcp(
        recorder: &Arc<Recorder>,
        listener: &Arc<ListenerPlan>,
        connection: &ConnectionInfo,
    ) -> Box<Self> {
        let nothing = (Method::CONNECT, Uri::from_static("/"));
        Self::new(recorder, listener, nothing, "tcp", connection, Instant::now())
    }

    fn new(
        recorder: &Arc<Recorder>,
        listener: &Arc<ListenerPlan>,
        (method, uri): (Method, Uri),
        protocol: &'static str,
        connection: &ConnectionInfo,
        started: Instant,
    ) -> Box<Self> {
        recorder.under_way.fetch_add(1, Ordering::Relaxed);
        recorder.metrics.in_flight.add(1);
        Box::new(Self {
            recorder: Arc::clone(recorder),
            listener: Arc::clone(listener),
            started,
            method,
            uri,
            protocol,
            host: None,
            client: connection.peer.socket_addr().map(|peer| peer.ip()),
            route: None,
            service: None,
            tried: 0,
            chosen: None,
            place: None,
            permits: Permits::default(),
            attempts: 0,
            trace: None,
            request_id: None,
            upload: None,
            trail: Trail::default(),
            denied: Cell::new(false),
            guarded: None,
            head: None,
            trouble: None,
            fault: None,
            over: None,
            broke: None,
            said: None,
            deferred: None,
            status: CLIENT_GONE,
            tunnelled: (0, 0),
            seen: None,
        })
    }

    /// The request's id, as text.
    pub fn id(&self) -> &str {
        self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("-")
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Whether the answer did not reach its end.
    fn is_cut(&self) -> bool {
        self.seen.is_some_and(|seen| !seen.complete) || (self.seen.is_none() && self.status == CLIENT_GONE)
    }

    /// Bytes from the client and to it.
    fn bytes(&self) -> (u64, u64) {
        let uploaded = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        (uploaded + self.tunnelled.0, self.seen.map_or(0, |seen| seen.bytes) + self.tunnelled.1)
    }

    /// What is remembered of it.
    fn record(&self, took: Duration) -> Record {
        let id = self.request_id.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        let host = self.host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        let verdicts = self.guarded.iter().flat_map(|guarded| &guarded.verdicts).map(|(_, verdict)| *verdict);
        Record {
            began: self.started.saturating_duration_since(self.recorder.origin),
            took,
            head: self.head.map(|head| head.saturating_duration_since(self.started)),
            route: self.route.as_ref().map_or(self.listener.unmatched.number, |route| route.metrics.number),
            id: Text::of(id),
            trace: self.trace.map_or(0, |trace| trace.trace),
            client: self.client,
            method: Text::of(if self.protocol == "tcp" { b"-" } else { self.method.as_str().as_bytes() }),
            host: Text::of(host),
            path: Text::of(self.uri.path().as_bytes()),
            protocol: self.protocol,
            status: self.status,
            bytes: self.bytes(),
            cut: self.is_cut(),
            fault: self.fault,
            limits: Record::verdicts(verdicts),
            attempts: self.attempts,
            chosen: self.chosen.as_ref().map_or(0, |chosen| chosen.endpoint().uid),
            denied: self.denied.get(),
            trail: self.trail,
        }
    }

    /// Counts what has become of the request at the service that was asked last: a status, or whose fault it is that there is none.
    pub fn settle(&mut self, became: Result<u16, Origin>, now: Instant) {
        let Some(service) = self.service.take() else { return };
        let (whole, first) =
            (now.saturating_duration_since(self.started), self.trail.tries().get(self.tried));
        let took = first.map(|one| whole.saturating_sub(Duration::from_micros(u64::from(one.began_us))));
        match became {
            Ok(status) => service.answered(status, self.has_failed(status), took.unwrap_or(whole)),
            Err(Origin::Upstream) => service.unanswered(took),
            // A client that leaves, or what we refuse, says nothing of the service.
            Err(Origin::Client | Origin::Us) => {}
        }
    }

    /// Whether an answer with this status is an error of the service's own.
    fn has_failed(&self, status: u16) -> bool {
        let said = self.broke.as_ref().and_then(Broke::said).or(self.said);
        status >= 500 || said.is_some_and(|said| Outcome::of_grpc(said) != Outcome::Fine)
    }

    /// Counts it at its route and its service.
    fn count(&mut self, now: Instant) {
        let duration = now.saturating_duration_since(self.started);
        let blamed = self.fault.map(|(_, origin)| origin);
        // What a service answers with 5xx, or a status of gRPC like it, is its error, though nothing has failed on the way.
        let own = (self.has_failed(self.status) && self.trail.slot != 0).then_some(Origin::Upstream);
        let metrics = match &self.route {
            Some(route) => &route.metrics,
            None => &*self.listener.unmatched,
        };
        metrics.record(self.status, blamed.or(own), duration);
        self.settle(blamed.map_or(Ok(self.status), Err), now);
    }

    fn log(&self, duration: Duration) {
        let code = self.fault.map(|(code, _)| code.to_string());
        let cut = self.is_cut();
        let trace = self.trace.map(|trace| trace.trace_id());
        let endpoint = self.chosen.as_ref().map(InFlight::endpoint);
        let (bytes_in, bytes_out) = self.bytes();
        self.recorder.feed.record(&Line {
            at: SystemTime::now(),
            listener: &self.listener.name,
            route: self.route.as_ref().map(|route| route.name.as_str()),
            client: self.client,
            method: if self.protocol == "tcp" { "-" } else { self.method.as_str() },
            host: self.host.as_ref().map_or(&[][..], HeaderValue::as_bytes),
            path: self.uri.path(),
            protocol: self.protocol,
            status: self.status,
            bytes_in,
            bytes_out,
            duration,
            first_byte: self.head.map(|head| head.saturating_duration_since(self.started)),
            service: endpoint.map(|endpoint| endpoint.service.as_str()),
            instance: endpoint.map(|endpoint| endpoint.instance.as_str()),
            attempts: self.attempts,
            request_id: self.id().as_bytes(),
            trace: self.trace.map_or(0, |trace| trace.trace),
            trace_id: trace.as_ref().map_or(&b"-"[..], |trace| &trace[..]),
            fault: code.as_deref().or(cut.then_some("cut")),
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.started);
        if self.status == CLIENT_GONE && self.fault.is_none() {
            self.fault = Some((code::CLIENT_GONE, Origin::Client));
        }
        if self.over.as_ref().is_some_and(|over| over.load(Ordering::Relaxed)) {
            self.fault = Some((code::ANSWER_TOO_LARGE, Origin::Upstream));
        }
        if let Some(fault) = self.broke.as_ref().and_then(Broke::fault) {
            self.fault.get_or_insert(fault);
        }
        self.count(now);
        let metrics = &self.recorder.metrics;
        self.recorder.under_way.fetch_sub(1, Ordering::Relaxed);
        metrics.in_flight.add(-1);
        if let Some((code, origin)) = self.fault {
            metrics.fault(code, origin);
        }
        if self.recorder.feed.is_open() && self.route.as_ref().is_none_or(|route| route.logged) {
            self.log(duration);
        }
        let record = self.record(duration);
        self.recorder.diary.add(record, self.trouble.take());
    }
}

impl Watch for Entry {
    fn ended(mut self: Box<Self>, seen: Seen) {
        self.seen = Some(seen);
    }
}

/// Runs the phase: from now on the response's body, or the tunnel, carries the entry, and its end is the request's end.
pub fn finish(
    mut entry: Box<Entry>,
    switched: Option<Switched>,
    mut response: Response<Body>,
) -> Response<Body> {
    entry.status = response.status().as_u16();
    entry.head.get_or_insert_with(Instant::now);
    match switched {
        None => response.map(|body| body.watched(entry)),
        Some(switched) => {
            upgrade::accept(&mut response, move |client| switched.carry(entry, client));
            response
        }
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
        Protocol::Http3 => "h3",
    }
}
