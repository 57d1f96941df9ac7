//! A request's body as it arrives: nothing is read from the stream before somebody asks, so the client's window grows only as fast
//! as the handler takes what it sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tutti_core::Origin;

use super::connection::Link;
use super::frame::{self, Frames, Head, kind};
use super::head::{self, Fault, Limits};
use super::{Broken, Code};
use crate::error::BodyError;

/// What the two directions of a request tell each other.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Somebody wants the body of a client that waits to be asked for it (RFC 9110 section 10.1.1).
    pub(super) wanted: Notify,
    /// With which words the answer is cut, if it is.
    blame: AtomicU16,
}

impl Exchange {
    /// The request turned out to be at fault.
    fn blame(&self, code: Code) {
        self.blame.store(code as u16, Ordering::Relaxed);
    }

    /// The words for an answer that is cut.
    pub(super) fn code(&self) -> Code {
        if self.blame.load(Ordering::Relaxed) == Code::Message as u16 {
            Code::Message
        } else {
            Code::Internal
        }
    }
}

/// The body of a request.
pub(super) struct Incoming {
    frames: Frames<quinn::RecvStream>,
    link: Arc<Link>,
    exchange: Arc<Exchange>,
    limits: Limits,
    /// What `Content-Length` says.
    declared: Option<u64>,
    seen: u64,
    state: State,
}

enum State {
    /// Before the first frame.
    Begun,
    /// Before a frame.
    Between,
    /// In data.
    Data,
    /// In a frame that means nothing.
    Nothing,
    /// In trailers, with what came of them.
    Trailers(BytesMut),
    /// Behind the trailers, where nothing may come that means something.
    Behind,
    /// In a frame that means nothing, behind the trailers.
    BehindNothing,
    Ended,
}

impl Incoming {
    /// What follows a request's head. `first` is a frame's head, if one was read already.
    pub(super) fn new(
        frames: Frames<quinn::RecvStream>,
        first: Option<Head>,
        link: Arc<Link>,
        exchange: Arc<Exchange>,
        (declared, limits): (Option<u64>, Limits),
    ) -> Result<Self, Broken> {
        let mut body = Self { frames, link, exchange, limits, declared, seen: 0, state: State::Begun };
        if let Some(first) = first {
            body.enter(first)?;
        }
        Ok(body)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Broken>> {
        loop {
            match &mut self.state {
                State::Begun => {
                    self.exchange.wanted.notify_one();
                    self.state = State::Between;
                }
                State::Between => match ready!(self.frames.poll_head(cx))? {
                    Some(head) => self.enter(head)?,
                    None => {
                        self.state = State::Ended;
                        self.check_length()?;
                    }
                },
                State::Data => {
                    if let Some(piece) = ready!(self.frames.poll_payload(cx))? {
                        self.seen += piece.len() as u64;
                        return Poll::Ready(Ok(Some(Frame::data(piece))));
                    }
                    self.state = State::Between;
                }
                State::Nothing => {
                    if ready!(self.frames.poll_payload(cx))?.is_none() {
                        self.state = State::Between;
                    }
                }
                State::Trailers(section) => match ready!(self.frames.poll_payload(cx))? {
                    Some(piece) => section.extend_from_slice(&piece),
                    None => {
                        let section = std::mem::take(section);
                        self.state = State::Behind;
                        self.check_length()?;
                        let trailers = self.trailers(&section)?;
                        self.look_behind(cx)?;
                        return Poll::Ready(Ok(Some(Frame::trailers(trailers))));
                    }
                },
                State::Behind => {
                    ready!(self.poll_behind(cx))?;
                }
                State::BehindNothing => {
                    if ready!(self.frames.poll_payload(cx))?.is_none() {
                        self.state = State::Behind;
                    }
                }
                State::Ended => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// The next frame behind the trailers.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.state = match ready!(self.frames.poll_head(cx))? {
            Some(head) if frame::is_known(head.kind) => {
                return Poll::Ready(Err(unexpected("a frame follows the trailers")));
            }
            Some(_) => {
                self.link.nothing()?;
                State::BehindNothing
            }
            None => State::Ended,
        };
        Poll::Ready(Ok(()))
    }

    /// What has come with the trailers is looked at with them: whoever has them may not ask for more.
    fn look_behind(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match self.poll_behind(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Begins a frame.
    fn enter(&mut self, head: Head) -> Result<(), Broken> {
        self.state = match head.kind {
            kind::DATA => {
                if head.length == 0 {
                    self.link.nothing()?;
                }
                let after = self.seen.saturating_add(head.length);
                if self.declared.is_some_and(|declared| after > declared) {
                    return Err(Broken::Stream(Code::Message, "there is more data than Content-Length says"));
                }
                State::Data
            }
            kind::HEADERS if head.length > self.limits.octets as u64 => {
                return Err(Broken::Stream(Code::ExcessiveLoad, "the trailers are too large"));
            }
            kind::HEADERS => State::Trailers(BytesMut::new()),
            other if frame::is_known(other) => {
                return Err(unexpected("a frame is on the stream of a request that must not be there"));
            }
            _ => {
                self.link.nothing()?;
                State::Nothing
            }
        };
        Ok(())
    }

    /// Section 4.1.2: a message whose length is another than it says is malformed.
    fn check_length(&self) -> Result<(), Broken> {
        match self.declared {
            Some(declared) if declared != self.seen => {
                Err(Broken::Stream(Code::Message, "there is less data than Content-Length says"))
            }
            _ => Ok(()),
        }
    }

    fn trailers(&self, section: &[u8]) -> Result<HeaderMap, Broken> {
        head::trailers(section, self.limits).map_err(|fault| match fault {
            Fault::Unreadable => Broken::Connection(Code::Decompression, "trailers cannot be read"),
            Fault::Malformed(reason) => Broken::Stream(Code::Message, reason),
            Fault::Refused(refusal) => Broken::Stream(Code::ExcessiveLoad, refusal.reason),
        })
    }

    fn fail(&mut self, broken: Broken) -> BodyError {
        self.state = State::Ended;
        match broken {
            Broken::Reset => BodyError::Io(Origin::Client, io::ErrorKind::ConnectionReset.into()),
            Broken::Lost => BodyError::Io(Origin::Client, io::ErrorKind::ConnectionAborted.into()),
            Broken::Stream(code, reason) => {
                self.frames.blame(code);
                self.exchange.blame(code);
                BodyError::Malformed(Origin::Client, reason)
            }
            Broken::Connection(code, reason) => {
                self.link.fail(code, reason);
                BodyError::Malformed(Origin::Client, reason)
            }
        }
    }
}

fn unexpected(reason: &'static str) -> Broken {
    Broken::Connection(Code::FrameUnexpected, reason)
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(this.poll(cx)).map_err(|broken| this.fail(broken));
        Poll::Ready(frame.transpose())
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.seen)),
            None => SizeHint::default(),
        }
    }
}
