//! One body for everything: requests and responses, in and out, HTTP/1.1 and HTTP/2.
//!
//! A body is pulled: nothing is read from a connection before somebody asks for the next frame, and nothing is
//! asked of a source before the connection can take it. That is the whole of the backpressure.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tutti_core::Origin;

use crate::deadline::Deadline;
use crate::error::BodyError;
use crate::form::has_blank_ends;
use crate::h1::{RequestBody, ResponseBody};
use crate::pace::{MinRate, Pace};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxedBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// A stream of data frames, then perhaps one frame of trailers.
///
/// `size_hint` is exact when the length is known (`Content-Length`, or bytes in memory). Dropping a body that came from
/// a connection before its end gives up the message.
pub struct Body {
    kind: Kind,
    watch: Option<Box<Watching>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Request(RequestBody),
    Response(ResponseBody),
    Http2(hyper::body::Incoming, Origin),
    Channel(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>),
    Boxed(BoxedBody),
}

struct Watching {
    watch: Option<Box<dyn Watch>>,
    bytes: u64,
    complete: bool,
    lost: bool,
}

/// Learns what became of a body. For access logs and for counting requests under way.
pub trait Watch: Send {
    /// Called once, when the body is dropped: after its last byte was handed to the system, or when
    /// whoever read it went away, or when it failed.
    fn ended(self: Box<Self>, seen: Seen);
}

/// What was seen of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of data that passed; no framing, no trailers.
    pub bytes: u64,
    /// Whether it was read to its end and handed to the system. (Over HTTP/2: to the connection.)
    pub complete: bool,
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self { kind: Kind::Empty, watch: None }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, watch: None }
    }

    /// Any other body.
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self { kind: Kind::Boxed(Box::pin(body)), watch: None }
    }

    /// A body whose frames are sent through a channel that holds at most `depth` of them. Dropping the sender without
    /// [`BodySender::finish`] makes the body fail: a truncated body never looks whole.
    pub fn channel(depth: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(depth.max(1));
        (BodySender { sender }, Self { kind: Kind::Channel(receiver), watch: None })
    }

    /// Lets `watch` know when the body ends. A second watch replaces the first, whose part ends there.
    #[must_use]
    pub fn watched(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(Box::new(Watching {
            watch: Some(watch),
            bytes: 0,
            complete: self.is_end_stream(),
            lost: false,
        }));
        self
    }

    /// Makes the body fail with [`BodyError::Idle`] when the next frame takes longer than `idle`. Time in which nobody asks for a
    /// frame does not count. Costs nothing for bodies in memory.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        if matches!(self.kind, Kind::Empty | Kind::Full(_)) {
            return self;
        }
        let kind = std::mem::replace(&mut self.kind, Kind::Empty);
        let inner = Body { kind, watch: None };
        self.kind = Kind::Boxed(Box::pin(IdleBody { inner, idle, deadline: Deadline::default() }));
        self
    }

    /// Makes the body fail with [`BodyError::Slow`] when whoever sends it, `from`, keeps us waiting below a rate. Time in which
    /// nobody asks for a frame does not count. Costs nothing for bodies in memory.
    #[must_use]
    pub fn with_min_rate(mut self, rate: MinRate, from: Origin) -> Self {
        if matches!(self.kind, Kind::Empty | Kind::Full(_)) {
            return self;
        }
        let kind = std::mem::replace(&mut self.kind, Kind::Empty);
        let inner = Body { kind, watch: None };
        let (pace, deadline) = (Pace::new(rate), Deadline::default());
        self.kind = Kind::Boxed(Box::pin(PacedBody { inner, pace, deadline, rate, from }));
        self
    }

    /// A request's body, read from its HTTP/1.1 connection.
    pub(crate) fn from_request(body: RequestBody) -> Self {
        Self { kind: Kind::Request(body), watch: None }
    }

    /// A response's body, read from its HTTP/1.1 connection.
    pub(crate) fn from_response(body: ResponseBody) -> Self {
        Self { kind: Kind::Response(body), watch: None }
    }

    /// A body that arrives over HTTP/2.
    pub(crate) fn from_http2(body: hyper::body::Incoming, from: Origin) -> Self {
        let kind = if body.is_end_stream() { Kind::Empty } else { Kind::Http2(body, from) };
        Self { kind, watch: None }
    }

    /// The bytes of a body that is in memory; such a body can be sent a second time.
    pub fn in_memory(&self) -> Option<Bytes> {
        match &self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// What was read of this body did not reach the peer.
    pub(crate) fn mark_lost(&mut self) {
        if let Some(watching) = &mut self.watch {
            watching.lost = true;
        }
    }

    /// The whole body and its trailers in memory, if it has at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
        if self.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge(limit));
        }
        let (mut first, mut rest, mut trailers) = (Bytes::new(), BytesMut::new(), None);
        while let Some(frame) = self.frame().await {
            match frame?.into_data() {
                Ok(data) if first.len() + rest.len() + data.len() > limit => {
                    return Err(BodyError::TooLarge(limit));
                }
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => rest.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        if !rest.is_empty() {
            let mut whole = BytesMut::with_capacity(first.len() + rest.len());
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&rest);
            first = whole.freeze();
        }
        Ok((first, trailers))
    }

    /// The next frame; `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(this.kind.poll_frame(cx));
        if let Some(watching) = &mut this.watch {
            match &frame {
                None => watching.complete = true,
                Some(Ok(frame)) => {
                    watching.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    watching.complete = frame.is_trailers() || this.kind.is_end_stream();
                }
                Some(Err(_)) => watching.lost = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Request(body) => body.size_hint(),
            Kind::Response(body) => body.size_hint(),
            Kind::Http2(body, _) => body.size_hint(),
            Kind::Channel(_) => SizeHint::default(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Request(body) => body.poll_frame(cx),
            Kind::Response(body) => body.poll_frame(cx),
            Kind::Http2(body, from) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) if frame.trailers_ref().is_some_and(has_blank_ends) => {
                        Err(BodyError::Malformed(*from, "a trailer's value begins or ends with whitespace"))
                    }
                    Ok(frame) => Ok(frame),
                    Err(error) => Err(BodyError::Http2(*from, error)),
                }))
            }
            Kind::Channel(receiver) => Poll::Ready(match ready!(receiver.poll_recv(cx)) {
                Some(Ok(frame)) if is_mark(&frame) => None,
                Some(frame) => Some(frame),
                None => Some(Err(BodyError::Aborted(None))),
            }),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Channel(_) => false,
            Kind::Request(body) => body.is_end_stream(),
            Kind::Response(body) => body.is_end_stream(),
            Kind::Http2(body, _) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.ended(Seen { bytes: self.bytes, complete: self.complete && !self.lost });
        }
    }
}

/// A body with a limit on silence.
struct IdleBody {
    inner: Body,
    idle: Duration,
    deadline: Deadline,
}

impl HttpBody for IdleBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.deadline.clear();
            return Poll::Ready(frame);
        }
        this.deadline.ensure(this.idle);
        this.deadline.poll_passed(cx).map(|()| Some(Err(BodyError::Idle(this.idle))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body whose sender must keep to a rate.
struct PacedBody {
    inner: Body,
    pace: Pace,
    deadline: Deadline,
    rate: MinRate,
    from: Origin,
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            this.pace.moved(data.map_or(0, |data| data.len() as u64), Instant::now());
            this.deadline.clear();
            return Poll::Ready(frame);
        }
        this.deadline.ensure(this.pace.wait(Instant::now()));
        let slow = BodyError::Slow(this.from, this.rate);
        this.deadline.poll_passed(cx).map(|()| Some(Err(slow)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// The sending end of [`Body::channel`].
#[derive(Debug)]
pub struct BodySender {
    sender: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct BodyGone;

/// The end of a body: no frame that the sender makes is an empty one.
fn end_mark() -> Frame<Bytes> {
    Frame::data(Bytes::new())
}

fn is_mark(frame: &Frame<Bytes>) -> bool {
    frame.data_ref().is_some_and(Bytes::is_empty)
}

impl BodySender {
    /// Sends data, waiting for room.
    pub async fn send(&mut self, data: Bytes) -> Result<(), BodyGone> {
        if data.is_empty() {
            return Ok(());
        }
        self.frame(Ok(Frame::data(data))).await
    }

    /// Ends the body well.
    pub async fn finish(self) -> Result<(), BodyGone> {
        self.frame(Ok(end_mark())).await
    }

    /// Sends the trailers and ends the body well.
    pub async fn finish_with(self, trailers: HeaderMap) -> Result<(), BodyGone> {
        self.frame(Ok(Frame::trailers(trailers))).await?;
        self.finish().await
    }

    /// Ends the body with an error.
    pub async fn abort(self, source: BoxError) -> Result<(), BodyGone> {
        self.frame(Err(BodyError::Aborted(Some(source)))).await
    }

    async fn frame(&self, frame: Result<Frame<Bytes>, BodyError>) -> Result<(), BodyGone> {
        self.sender.send(frame).await.map_err(|_| BodyGone)
    }
}

#[cfg(test)]
mod tests;
