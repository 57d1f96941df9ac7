//! A request's body on its way to the upstream: counted, and known to move.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::{Classify as _, Kind, Origin, Retry};
use tutti_net::{Body, BodyError};

use crate::error::Fault;
use crate::guard::identity::Fields;
use crate::model::headers;

/// How far a body got. Shared between the body and whoever waits for the answer to it.
#[derive(Debug)]
pub struct Progress {
    origin: Instant,
    bytes: AtomicU64,
    moved_us: AtomicU64,
    failed: OnceLock<Fault>,
}

/// What is told of a request's body that fails through its client; `None` if it fails through somebody else.
pub fn fault(cause: &BodyError) -> Option<Fault> {
    let unsafe_ = |fault: Fault| Some(Fault { retry: Retry::Unsafe, ..fault });
    match cause {
        BodyError::TooLarge(limit) => Some(Fault::too_large(*limit as u64)),
        BodyError::Malformed(Origin::Client, _) => {
            unsafe_(Fault::bad_request(format!("the request's body is malformed: {cause}")))
        }
        BodyError::Slow(Origin::Client, rate) => Some(Fault::slow_client(rate.bytes_per_second)),
        cause if cause.kind() == Kind::Timeout || cause.origin() == Origin::Client => {
            Some(Fault::client_body(format!("the request's body did not come: {cause}")))
        }
        _ => None,
    }
}

impl Progress {
    /// Why it failed, if it did through its client. Over HTTP/2 nothing else says so: the stream is just reset.
    pub fn failed(&self) -> Option<&Fault> {
        self.failed.get()
    }

    /// Bytes that have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When the last of them passed.
    pub fn moved(&self) -> Instant {
        self.origin + Duration::from_micros(self.moved_us.load(Ordering::Relaxed))
    }

    fn pass(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let us = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(us, Ordering::Relaxed);
    }
}

struct Upload {
    body: Body,
    /// Fields that only we set, so no trailer may have them.
    identity: Option<Arc<Fields>>,
    progress: Arc<Progress>,
}

/// Wraps a body that comes from a client.
pub fn watch(body: Body, identity: Option<Arc<Fields>>) -> (Body, Arc<Progress>) {
    let progress = Arc::new(Progress {
        origin: Instant::now(),
        bytes: AtomicU64::new(0),
        moved_us: AtomicU64::new(0),
        failed: OnceLock::new(),
    });
    (Body::boxed(Upload { body, identity, progress: Arc::clone(&progress) }), progress)
}

/// A body that had arrived with its head.
pub fn arrived(bytes: usize) -> Arc<Progress> {
    Arc::new(Progress {
        origin: Instant::now(),
        bytes: AtomicU64::new(bytes as u64),
        moved_us: AtomicU64::new(0),
        failed: OnceLock::new(),
    })
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame
            && let Some(fault) = fault(error)
        {
            let _ = self.progress.failed.set(fault);
        }
        if let Some(Ok(frame)) = &mut frame {
            self.progress.pass(frame.data_ref().map_or(0, Bytes::len));
            if let Some(trailers) = frame.trailers_mut() {
                headers::clean_trailers(trailers);
                if let Some(identity) = &self.identity {
                    identity.strip(trailers);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
