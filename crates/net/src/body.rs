//! One body for everything: requests and responses, in and out, HTTP/1.1 and HTTP/2.
//!
//! A body is pulled: nothing is read from a connection before somebody asks for the next frame, and nothing is
//! asked of a source before the connection can take it. That is the whole of the backpressure.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::error::BodyError;

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
    Boxed(BoxedBody),
    Channel(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>),
}

struct Watching {
    watch: Box<dyn Watch>,
    bytes: u64,
    complete: bool,
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
    /// Whether it was read to its end.
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
        (BodySender { sender: Some(sender) }, Self { kind: Kind::Channel(receiver), watch: None })
    }

    /// Lets `watch` know when the body ends. A second watch replaces the first, which is told that its part ended incomplete.
    #[must_use]
    pub fn watched(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(Box::new(Watching { watch, bytes: 0, complete: false }));
        self
    }

    /// Makes the body fail with [`BodyError::Idle`] when the next frame takes longer than `idle`.
    /// Costs nothing for bodies in memory.
    #[must_use]
    pub fn with_idle_timeout(self, idle: Duration) -> Self {
        let _ = idle;
        self
    }

    /// The whole body and its trailers in memory, if it has at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let _ = (frame?, limit);
        }
        Ok((whole.split().freeze(), None))
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
        let _ = cx;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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
    sender: Option<mpsc::Sender<Result<Frame<Bytes>, BodyError>>>,
}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct BodyGone;

impl BodySender {
    /// Sends data, waiting for room.
    pub async fn send(&mut self, data: Bytes) -> Result<(), BodyGone> {
        self.frame(Ok(Frame::data(data))).await
    }

    /// Sends the trailers and ends the body.
    pub async fn finish_with(mut self, trailers: HeaderMap) -> Result<(), BodyGone> {
        self.frame(Ok(Frame::trailers(trailers))).await?;
        self.finish();
        Ok(())
    }

    /// Ends the body well.
    pub fn finish(self) {}

    /// Ends the body with an error.
    pub fn abort(self, source: Option<BoxError>) {
        let _ = source;
    }

    async fn frame(&mut self, frame: Result<Frame<Bytes>, BodyError>) -> Result<(), BodyGone> {
        let sender = self.sender.as_ref().ok_or(BodyGone)?;
        sender.send(frame).await.map_err(|_| BodyGone)
    }
}
