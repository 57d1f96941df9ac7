//! Bodies that fail when they become longer than they may be.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_net::{Body, BodyError};

struct Limited {
    inner: Body,
    limit: u64,
    left: u64,
    over: Option<Arc<AtomicBool>>,
}

/// A body that fails with [`BodyError::TooLarge`] behind `limit` bytes; `over` is then set.
pub fn limited(inner: Body, limit: u64, over: Option<Arc<AtomicBool>>) -> Body {
    if inner.size_hint().upper().is_some_and(|upper| upper <= limit) {
        return inner;
    }
    Body::boxed(Limited { inner, limit, left: limit, over })
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => {
                    if let Some(over) = &self.over {
                        over.store(true, Ordering::Relaxed);
                    }
                    let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
                    return Poll::Ready(Some(Err(BodyError::TooLarge(limit))));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
