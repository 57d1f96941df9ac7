//! Bodies, held until they are whole, so that they can be looked at before anybody gets a part of them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::limits;
use tutti_net::{Body, BodyError};

/// Room for a body among those that a worker holds; given back when dropped. It is taken as the bytes come, so that who only says that a
/// body will be long takes none from others.
pub struct Room(Arc<AtomicUsize>, usize);

impl Room {
    /// None yet.
    pub fn of(used: &Arc<AtomicUsize>) -> Self {
        Self(Arc::clone(used), 0)
    }

    /// Takes more; `false` when there is none.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        self.1 += bytes;
        before + bytes <= limits::OPENAPI_HELD_BYTES
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// A body that was held.
pub enum Held {
    /// All of it, and a body that says it again.
    Whole(Bytes, Body),
    /// It is longer than that; a body that says it again.
    Longer(Body),
    /// There is no room for it; a body that says it again.
    NoRoom(Body),
}

/// Holds a body of at most `most` bytes.
pub async fn hold(mut body: Body, most: usize, room: &mut Room) -> Result<Held, BodyError> {
    if let Some(bytes) = body.in_memory() {
        return Ok(if bytes.len() > most {
            Held::Longer(body)
        } else if room.grow(bytes.len()) {
            Held::Whole(bytes, body)
        } else {
            Held::NoRoom(body)
        });
    }
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > most {
        return Ok(Held::Longer(body));
    }
    let (mut bytes, mut trailers) = (BytesMut::new(), None);
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame.transpose()? else { break };
        let mut fits = true;
        match frame.into_data() {
            Ok(data) => {
                fits = room.grow(data.len());
                bytes.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if bytes.len() > most || !fits {
            let longer = bytes.len() > most;
            let frames = VecDeque::from([Frame::data(bytes.freeze())]);
            let body = Body::boxed(Again { frames, rest: Some(body) });
            return Ok(if longer { Held::Longer(body) } else { Held::NoRoom(body) });
        }
    }
    let bytes = bytes.freeze();
    let body = match trailers {
        None if bytes.is_empty() => Body::empty(),
        None => Body::full(bytes.clone()),
        Some(trailers) => {
            let frames = VecDeque::from([Frame::data(bytes.clone()), Frame::trailers(trailers)]);
            Body::boxed(Again { frames, rest: None })
        }
    };
    Ok(Held::Whole(bytes, body))
}

/// What was held of a body, and what is still to come.
struct Again {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held: u64 =
            self.frames.iter().filter_map(|frame| frame.data_ref().map(|data| data.len() as u64)).sum();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + held);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}
