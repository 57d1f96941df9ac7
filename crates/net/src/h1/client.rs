//! A connection to an HTTP/1.1 server: one request at a time, used again as long as both sides allow.
//!
//! [`Connection::send`] sends and receives in one future. The response's body then holds the connection, and sends it home when
//! it has been read to its end. Only when a response begins before its request is sent whole is a task started,
//! owned by the response's body, which sends the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request, Response, StatusCode, request};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use tutti_core::{Origin, limits};

use super::Settings;
use super::encode::{self, Framing as OutFraming};
use super::head::{Fault, First, Limits, Scanner};
use super::incoming::{self, Decoder};
use super::io::{Reader, Writer};
use super::request::Framing;
use super::response::{self, ResponseHead};
use super::sending::{Sending, SendingError};
use crate::body::Body;
use crate::deadline::Deadline;
use crate::error::{BodyError, SendCause, SendError, Stage};
use crate::stream::Stream;
use crate::upgrade;

/// Where a connection goes when its response has been read to the end and it can be used again: a pool.
/// It comes home before `send` returns when the response was short enough to have arrived whole.
/// A connection that cannot be used again is closed, and does not come home.
pub trait Home: Send + Sync + 'static {
    /// Takes the connection back.
    fn come_home(&self, connection: Connection);
}

/// A home for connections that are used once.
#[derive(Debug)]
pub struct Nowhere;

impl Home for Nowhere {
    fn come_home(&self, connection: Connection) {
        drop(connection);
    }
}

/// How long a request with `Expect: 100-continue` waits for the server's word before it sends its body all the same
/// (RFC 9110 section 10.1.1: it must not wait for ever).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is ready for a request.
pub struct Connection(Box<Inner>);

struct Inner {
    reader: Reader,
    /// `None` while a task sends the rest of a request.
    writer: Option<Writer>,
    scanner: Scanner,
    limits: Limits,
    /// A field map that was used before, for the next response.
    spare: HeaderMap,
    home: Weak<dyn Home>,
    requests: u64,
    /// Whether the response under way allows another request.
    keep_alive: bool,
    /// How long the server says that it keeps the connection.
    keep_for: Option<Duration>,
    upload: Option<Upload>,
}

impl Connection {
    /// Makes a connection of a fresh stream. `home` is asked for only while it lives; `Weak::<Nowhere>::new()` is for
    /// single use.
    pub fn new(stream: Stream, settings: &Settings, home: Weak<dyn Home>) -> Self {
        let (unread, read, write) = stream.into_parts();
        Self(Box::new(Inner {
            reader: Reader::new(read, unread),
            writer: Some(Writer::new(write)),
            scanner: Scanner::new(First::Response),
            limits: Limits { bytes: settings.head_bytes, fields: settings.fields, target: 0 },
            spare: HeaderMap::new(),
            home,
            requests: 0,
            keep_alive: false,
            keep_for: None,
            upload: None,
        }))
    }

    /// Whether the peer has neither closed the connection nor sent something unasked. Ask before using an idle
    /// connection; usually costs no system call.
    pub fn is_usable(&self) -> bool {
        self.0.writer.is_some() && self.0.reader.is_quiet()
    }

    /// How long the server has said that it keeps the connection while it is idle (`Keep-Alive: timeout=`).
    pub fn keep_for(&self) -> Option<Duration> {
        self.0.keep_for
    }

    /// How many requests were sent on it.
    pub fn requests(&self) -> u64 {
        self.0.requests
    }

    /// Sends a request and waits for the head of its response. The request's body is sent while the response is awaited and,
    /// when the response comes early, while it is read. There is no timeout here: drop the future.
    ///
    /// With `Expect: 100-continue` the body waits for the server's word, at most a second. A request with `Upgrade` may be
    /// answered 101: see [`crate::upgrade::take`].
    pub async fn send(mut self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        // What came unasked must not be taken for the answer.
        let usable = self.is_usable();
        let Some(mut writer) = self.0.writer.take().filter(|_| usable) else {
            return Err(unsent(request, SendCause::Closed));
        };
        let framing = encode::plan_request(&request);
        if let Err(reason) = encode::request_head(&request, framing, &mut writer.flat) {
            return Err(unsent(request, SendCause::Request(reason)));
        }
        self.0.requests += 1;
        let (head, body) = request.into_parts();
        let mut exchange = Exchange::new(&mut self.0, writer, head, body, framing);
        match std::future::poll_fn(|cx| exchange.poll(cx)).await {
            Ok(response) => {
                let Exchange { writer, sending, head, held, .. } = exchange;
                self.0.scanner.reset();
                // Whoever refuses a body before it was sent does not want it.
                let unwanted =
                    held && (response.status.is_client_error() || response.status.is_server_error());
                let rest = if unwanted { None } else { Some(sending) };
                Ok(self.respond(response, writer, rest, &head))
            }
            Err(cause) => Err(exchange.into_error(cause)),
        }
    }

    /// Makes the response, and finds out who has the connection from here on.
    fn respond(
        mut self,
        head: ResponseHead,
        writer: Writer,
        rest: Option<Sending>,
        asked: &request::Parts,
    ) -> Response<Body> {
        let tunnel = asked.method == Method::CONNECT && head.status.is_success();
        let leaves = tunnel || head.status == StatusCode::SWITCHING_PROTOCOLS;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        if leaves {
            let (read, unread) = self.0.reader.into_parts();
            if let Some(stream) = Stream::from_parts(unread, read, writer.into_half()) {
                upgrade::give(&mut response, stream);
            }
            return response;
        }
        self.0.keep_alive = head.keep_alive;
        self.0.keep_for = keep_for(response.headers());
        if let Framing::Length(length) = head.framing
            && length <= self.0.reader.buf.len() as u64
        {
            *response.body_mut() = Body::full(self.0.reader.buf.split_to(length as usize).freeze());
            self.0.reader.decoder = Decoder::Done;
        } else {
            self.0.reader.decoder = Decoder::new(head.framing, self.0.limits.fields);
        }
        match rest.filter(|sending| !sending.is_sent(&writer)) {
            None => self.0.writer = Some(writer),
            Some(_) if self.0.reader.decoder.is_done() => {}
            Some(sending) => self.0.upload = Some(Upload(tokio::spawn(upload(writer, sending)))),
        }
        if self.0.reader.decoder.is_done() {
            self.go_home();
        } else {
            *response.body_mut() = Body::from_response(ResponseBody { connection: Some(self) });
        }
        response
    }

    /// The response is over: the connection is used again or closed.
    fn go_home(mut self) {
        let fit = self.0.keep_alive && self.0.writer.is_some() && self.0.reader.buf.is_empty();
        if fit && let Some(home) = self.0.home.upgrade() {
            self.0.reader.settle();
            home.come_home(self);
        }
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// `timeout` of `Keep-Alive` (RFC 2068 section 19.7.1, as servers still send it).
fn keep_for(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(&KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("timeout");
        named.then(|| seconds.trim().parse().ok().map(Duration::from_secs)).flatten()
    })
}

/// The task that sends the rest of a request; it ends with its owner.
struct Upload(JoinHandle<Option<Writer>>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("requests", &self.0.requests).finish_non_exhaustive()
    }
}

/// Sends the rest of a request whose response has begun.
async fn upload(mut writer: Writer, mut sending: Sending) -> Option<Writer> {
    match std::future::poll_fn(|cx| sending.poll(&mut writer, true, cx)).await {
        Ok(()) => Some(writer),
        Err(SendingError::Io(error)) => {
            tracing::debug!(%error, "the rest of a request was not sent");
            None
        }
        Err(SendingError::Body(error)) => {
            tracing::debug!(%error, "the rest of a request was not sent");
            None
        }
    }
}

/// One request on its way, until the head of its response is here.
struct Exchange<'a> {
    inner: &'a mut Inner,
    writer: Writer,
    sending: Sending,
    head: request::Parts,
    /// The body again, if it is in memory.
    again: Option<Bytes>,
    /// How many bytes the writer had sent before.
    before: u64,
    /// The body waits for `100 Continue`.
    held: bool,
    patience: Deadline,
    /// The request could not be sent to its end, but an answer may still come (or be here already).
    broken: Option<SendCause>,
    interim: usize,
    begun: bool,
}

impl<'a> Exchange<'a> {
    fn new(
        inner: &'a mut Inner,
        writer: Writer,
        head: request::Parts,
        body: Body,
        framing: OutFraming,
    ) -> Self {
        let again = body.in_memory();
        let held = framing != OutFraming::Nothing
            && head.headers.get(header::EXPECT).is_some_and(|value| value == "100-continue");
        Self {
            before: writer.total(),
            sending: Sending::new(body, framing),
            inner,
            writer,
            head,
            again,
            held,
            patience: Deadline::default(),
            broken: None,
            interim: 0,
            begun: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendCause>> {
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_sending(cx)
        {
            match error {
                SendingError::Body(error) => return Poll::Ready(Err(SendCause::RequestBody(error))),
                SendingError::Io(error) => self.broken = Some(SendCause::Io(error)),
            }
        }
        loop {
            while let Some(head) = self.take_head()? {
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(self.final_head(head));
                }
                self.interim += 1;
                if self.interim > limits::HTTP_INTERIM_RESPONSES {
                    return Poll::Ready(Err(SendCause::Malformed("there are too many interim responses")));
                }
                if head.status == StatusCode::CONTINUE && std::mem::take(&mut self.held) {
                    // Begin the body now; and look for the response again afterwards.
                    cx.waker().wake_by_ref();
                }
            }
            match ready!(self.inner.reader.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.broken.take().unwrap_or(SendCause::Closed))),
                Ok(_) => self.begun = true,
                Err(error) => return Poll::Ready(Err(self.broken.take().unwrap_or(SendCause::Io(error)))),
            }
        }
    }

    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendingError>> {
        if self.held {
            ready!(self.writer.poll_flush(cx)).map_err(SendingError::Io)?;
            self.patience.ensure(CONTINUE_TIMEOUT);
            ready!(self.patience.poll_passed(cx));
            self.held = false;
        }
        self.sending.poll(&mut self.writer, true, cx)
    }

    /// A head, if a whole one is here.
    fn take_head(&mut self) -> Result<Option<ResponseHead>, Fault> {
        let Inner { reader, scanner, limits, spare, .. } = &mut *self.inner;
        if reader.buf.is_empty() {
            return Ok(None);
        }
        let Some(length) = scanner.scan(&reader.buf, limits)? else { return Ok(None) };
        let bytes = reader.buf.split_to(length).freeze();
        let head = response::parse(&bytes, scanner.lines(), std::mem::take(spare), &self.head.method)?;
        scanner.reset();
        Ok(Some(head))
    }

    fn final_head(&mut self, mut head: ResponseHead) -> Result<ResponseHead, SendCause> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let asked = self.head.headers.contains_key(header::UPGRADE);
            if !asked || !head.upgrade {
                return Err(SendCause::Malformed("it switches protocols without being asked to"));
            }
            if !self.sending.is_sent(&self.writer) {
                return Err(SendCause::Malformed("it switches protocols in the middle of the request"));
            }
        }
        // A body that was never begun leaves the server waiting for it.
        head.keep_alive &= !self.held && self.broken.is_none();
        // Its memory serves for the next response; the request is not going to be sent again.
        self.inner.spare = std::mem::take(&mut self.head.headers);
        self.inner.spare.clear();
        Ok(head)
    }

    /// The error, with the request if it can be sent again.
    fn into_error(self, cause: SendCause) -> SendError {
        let stage = match (self.begun, self.writer.total() > self.before) {
            (true, _) => Stage::ResponseBegan,
            (false, true) => Stage::Sent,
            (false, false) => Stage::NothingSent,
        };
        let body = match self.again {
            Some(bytes) => Some(Body::full(bytes)),
            None => self.sending.into_untouched(),
        };
        let again = if stage == Stage::ResponseBegan { None } else { body };
        let request = again.map(|body| Box::new(Request::from_parts(self.head, body)));
        SendError { stage, cause, request }
    }
}

fn unsent(request: Request<Body>, cause: SendCause) -> SendError {
    SendError { stage: Stage::NothingSent, cause, request: Some(Box::new(request)) }
}

impl From<Fault> for SendCause {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge(reason) => SendCause::TooLarge(reason),
            other => SendCause::Malformed(other.reason()),
        }
    }
}

/// A response's body that is read straight from its connection.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    connection: Option<Connection>,
}

impl ResponseBody {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let frame = ready!(incoming::poll_frame(&mut connection.0.reader, Origin::Upstream, cx));
        match connection.0.reader.decoder {
            Decoder::Done => self.finish(cx),
            Decoder::Failed => self.connection = None,
            _ => {}
        }
        Poll::Ready(frame)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.connection
            .as_ref()
            .map_or(SizeHint::with_exact(0), |connection| connection.0.reader.decoder.size_hint())
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    /// The end: if the request is sent whole too, the connection can be used again.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(mut connection) = self.connection.take() else { return };
        if let Some(upload) = &mut connection.0.upload
            && let Poll::Ready(Ok(Some(writer))) = Pin::new(&mut upload.0).poll(cx)
        {
            connection.0.upload = None;
            connection.0.writer = Some(writer);
        }
        connection.go_home();
    }
}

#[cfg(test)]
mod tests;
