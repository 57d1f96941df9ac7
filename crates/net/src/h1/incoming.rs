//! The body of a message that arrives: decoding it, and lending the receiving direction to whoever reads it.
//!
//! While a body is read, its reader has the connection's [`Reader`] itself: no channel and no second task stand
//! between the socket and the consumer. At the body's end, or when it is dropped, the reader goes back through a [`Slot`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tutti_core::Origin;

use super::chunked;
use super::io::Reader;
use super::request::Framing;
use crate::error::BodyError;

/// How the body under way goes on.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// So many bytes are left, at least one.
    Length(u64),
    /// Chunks.
    Chunked(chunked::Decoder),
    /// Until the peer closes.
    UntilClose,
    /// The body has ended.
    Done,
    /// The body is broken: nothing after it can be understood.
    Failed,
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
    More,
}

impl Decoder {
    /// The decoder for a framing, with at most `fields` trailers.
    pub(crate) fn new(framing: Framing, fields: usize) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(chunked::Decoder::new(fields)),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// The next piece of what is in the buffer.
    fn piece(&mut self, buf: &mut BytesMut) -> Result<Piece, &'static str> {
        match self {
            Decoder::Done => Ok(Piece::End(None)),
            Decoder::Failed => Err("it was malformed before"),
            _ if buf.is_empty() => Ok(Piece::More),
            Decoder::UntilClose => Ok(Piece::Data(buf.split().freeze())),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= take as u64;
                if *left == 0 {
                    *self = Decoder::Done;
                }
                Ok(Piece::Data(buf.split_to(take).freeze()))
            }
            Decoder::Chunked(chunks) => match chunks.step(buf)? {
                chunked::Step::Data(data) => Ok(Piece::Data(data)),
                chunked::Step::More => Ok(Piece::More),
                chunked::Step::End(trailers) => {
                    *self = Decoder::Done;
                    Ok(Piece::End(trailers))
                }
            },
        }
    }

    /// How many bytes are to come, if that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Decoder::Length(left) => SizeHint::with_exact(*left),
            Decoder::Done => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}

/// Reads the next frame of the body under way. `None` at its end.
pub(crate) fn poll_frame(
    reader: &mut Reader,
    from: Origin,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    loop {
        match reader.decoder.piece(&mut reader.buf) {
            Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Piece::End(trailers)) => {
                return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
            }
            Ok(Piece::More) => {}
            Err(reason) => return fail(reader, BodyError::Malformed(from, reason)),
        }
        match ready!(reader.poll_fill(cx)) {
            Ok(0) if matches!(reader.decoder, Decoder::UntilClose) => {
                reader.decoder = Decoder::Done;
                return Poll::Ready(None);
            }
            Ok(0) => return fail(reader, BodyError::Incomplete(from)),
            Ok(_) => {}
            Err(error) => return fail(reader, BodyError::Io(from, error)),
        }
    }
}

fn fail(reader: &mut Reader, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    reader.decoder = Decoder::Failed;
    Poll::Ready(Some(Err(error)))
}

/// Where a body gives the reader back to its server connection, and asks for `100 Continue`.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    inner: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    back: Option<Box<Reader>>,
    wants_continue: bool,
    waker: Option<Waker>,
}

/// What a slot has for its connection.
#[derive(Debug)]
pub(crate) enum News {
    /// The body is done with the reader.
    Back(Box<Reader>),
    /// The body is being read: the client may send it.
    Continue,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news.
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<News> {
        let mut state = self.state();
        if std::mem::take(&mut state.wants_continue) {
            return Poll::Ready(News::Continue);
        }
        if let Some(reader) = state.back.take() {
            return Poll::Ready(News::Back(reader));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tell(&self, change: impl FnOnce(&mut SlotState)) {
        let waker = {
            let mut state = self.state();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A request's body that is read straight from its connection.
#[derive(Debug)]
pub(crate) struct RequestBody {
    reader: Option<Box<Reader>>,
    slot: Arc<Slot>,
    /// The client waits for `100 Continue` before it sends the body.
    unasked: bool,
}

impl RequestBody {
    /// Lends the reader, whose decoder is set up, to a body.
    pub(crate) fn new(reader: Box<Reader>, slot: Arc<Slot>, unasked: bool) -> Self {
        Self { reader: Some(reader), slot, unasked }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
        if std::mem::take(&mut self.unasked) {
            self.slot.tell(|state| state.wants_continue = true);
        }
        let frame = ready!(poll_frame(reader, Origin::Client, cx));
        if matches!(reader.decoder, Decoder::Done | Decoder::Failed) {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.reader.as_ref().map_or(SizeHint::with_exact(0), |reader| reader.decoder.size_hint())
    }

    /// Whether the end has been reached.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }

    fn give_back(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            if self.unasked && !reader.decoder.is_done() {
                // The client was never asked for the body: what it sends next may be the body or not.
                reader.decoder = Decoder::Failed;
            }
            self.slot.tell(|state| state.back = Some(reader));
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.give_back();
    }
}
