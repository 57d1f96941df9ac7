//! Frames (RFC 9114 section 7) as they come on a stream: a type, a length, and so much payload, of which nothing is held that
//! nobody asked for.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use super::{Broken, Code, varint};

/// Types of frames (section 7.2).
pub(super) mod kind {
    pub(in super::super) const DATA: u64 = 0x0;
    pub(in super::super) const HEADERS: u64 = 0x1;
    pub(in super::super) const CANCEL_PUSH: u64 = 0x3;
    pub(in super::super) const SETTINGS: u64 = 0x4;
    pub(in super::super) const PUSH_PROMISE: u64 = 0x5;
    pub(in super::super) const GOAWAY: u64 = 0x7;
    pub(in super::super) const MAX_PUSH_ID: u64 = 0xd;

    /// Whether HTTP/2 has such a frame and HTTP/3 has not (section 7.2.8).
    pub(in super::super) fn is_of_http2(kind: u64) -> bool {
        matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
    }
}

/// Whether a frame means something somewhere, so that it must not be where it means nothing.
pub(super) fn is_known(kind: u64) -> bool {
    use kind::{CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, SETTINGS};
    matches!(kind, DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID)
        || kind::is_of_http2(kind)
}

/// What the heads of two integers have at most.
const HEAD: usize = 16;

/// Where octets come from: a stream of QUIC, or a test.
pub(super) trait Source {
    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>>;

    /// Nothing more is wanted.
    fn stop(&mut self, code: Code);
}

impl Source for quinn::RecvStream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        // It keeps nothing between two polls.
        let piece = ready!(pin!(self.read_chunk(usize::MAX, true)).poll(cx));
        Poll::Ready(piece.map(|piece| piece.map(|piece| piece.bytes)).map_err(Broken::from))
    }

    fn stop(&mut self, code: Code) {
        // One that has ended has nothing to be stopped.
        let _ = quinn::RecvStream::stop(self, code.wire());
    }
}

/// A stream, frame by frame.
pub(super) struct Frames<S: Source> {
    source: S,
    /// What was received and not looked at.
    piece: Bytes,
    /// The beginning of a head that came in pieces.
    start: [u8; HEAD],
    started: usize,
    /// What is left of the frame's payload.
    left: u64,
    ended: bool,
    /// With which words the peer is told to stop, if that comes before the end.
    farewell: Code,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its type.
    pub(super) kind: u64,
    /// The length of its payload.
    pub(super) length: u64,
}

impl<S: Source> Frames<S> {
    /// Reads from the beginning of a stream.
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            piece: Bytes::new(),
            start: [0; HEAD],
            started: 0,
            left: 0,
            ended: false,
            farewell: Code::NoError,
        }
    }

    /// From now on the end of interest in the stream is told so.
    pub(super) fn blame(&mut self, code: Code) {
        self.farewell = code;
    }

    /// Whether something is at hand that was not looked at. `false` at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        while self.piece.is_empty() && !self.ended {
            match ready!(self.source.poll_piece(cx)) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => self.ended = true,
                Err(broken) => {
                    self.ended = true;
                    return Poll::Ready(Err(broken));
                }
            }
        }
        Poll::Ready(Ok(!self.piece.is_empty()))
    }

    /// One integer, as streams of one direction begin with; `None` if the stream ends before it.
    pub(super) fn poll_integer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, Broken>> {
        loop {
            let known = self.start.get(..self.started).unwrap_or_default();
            if let Some((value, _)) = varint::read(known) {
                self.started = 0;
                return Poll::Ready(Ok(Some(value)));
            }
            if !ready!(self.poll_more(cx))? {
                return Poll::Ready(Ok(None));
            }
            self.take_one();
        }
    }

    fn take_one(&mut self) {
        if self.piece.has_remaining()
            && let Some(place) = self.start.get_mut(self.started)
        {
            *place = self.piece.get_u8();
            self.started += 1;
        }
    }

    /// The head of the next frame, after the payload of the one before was read; `None` at the end of the stream.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Broken>> {
        debug_assert_eq!(self.left, 0, "the payload before was not read");
        loop {
            let known = self.start.get(..self.started).unwrap_or_default();
            if let Some((kind, first)) = varint::read(known)
                && let Some((length, _)) = varint::read(known.get(first..).unwrap_or_default())
            {
                self.started = 0;
                self.left = length;
                return Poll::Ready(Ok(Some(Head { kind, length })));
            }
            if !ready!(self.poll_more(cx))? {
                let whole = self.started == 0;
                return Poll::Ready(if whole { Ok(None) } else { Err(CUT) });
            }
            self.take_one();
        }
    }

    /// The next piece of the frame's payload; `None` at its end.
    pub(super) fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if !ready!(self.poll_more(cx))? {
            return Poll::Ready(Err(CUT));
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.piece.len());
        self.left -= length as u64;
        Poll::Ready(Ok(Some(self.piece.split_to(length))))
    }

    /// The head of the next frame.
    pub(super) async fn head(&mut self) -> Result<Option<Head>, Broken> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    /// The whole payload of a frame, which was found to be small.
    pub(super) async fn payload(&mut self) -> Result<Bytes, Broken> {
        let mut whole = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_payload(cx)).await? {
            if whole.is_empty() && joined.is_empty() {
                whole = piece;
                continue;
            }
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&piece);
        }
        Ok(if joined.is_empty() { whole } else { joined.freeze() })
    }

    /// Goes on behind the payload of a frame.
    pub(super) async fn skip(&mut self) -> Result<(), Broken> {
        while std::future::poll_fn(|cx| self.poll_payload(cx)).await?.is_some() {}
        Ok(())
    }

    /// What comes on a stream without frames; `None` at its end.
    pub(super) async fn octets(&mut self) -> Result<Option<Bytes>, Broken> {
        let more = std::future::poll_fn(|cx| self.poll_more(cx)).await?;
        Ok(more.then(|| std::mem::take(&mut self.piece)))
    }

    /// See [`Frames::poll_integer`].
    pub(super) async fn integer(&mut self) -> Result<Option<u64>, Broken> {
        std::future::poll_fn(|cx| self.poll_integer(cx)).await
    }
}

impl<S: Source> Drop for Frames<S> {
    fn drop(&mut self) {
        if !self.ended {
            self.source.stop(self.farewell);
        }
    }
}

/// Section 7.1.
const CUT: Broken = Broken::Connection(Code::Frame, "a stream ends in the middle of a frame");

/// Writes a frame's head.
pub(super) fn write_head(out: &mut BytesMut, kind: u64, length: u64) {
    varint::write(out, kind);
    varint::write(out, length);
}
