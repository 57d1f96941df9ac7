//! Bodies of gRPC that fail in the middle: the client is told a status in trailers, as a service would, instead of a stream that is
//! reset. A message that is cut in two stays cut; the status says that it is not the whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::{Code, Origin, code};
use tutti_net::{Body, BodyError};

use super::status::{self, Status};
use crate::model::outlier::Outcome;
use crate::model::retry;
use crate::phase::observe::Judge;

/// A body whose failure is told in trailers, and to `broke`; how it ends is told to `judge`.
pub fn told(body: Body, broke: Broke, judge: Option<Judge>) -> Body {
    if body.in_memory().is_some() { body } else { Body::boxed(Ending { body: Some(body), broke, judge }) }
}

/// What has failed in the middle of a body, if something has, and what its trailers say. Shared between the body and whoever records it.
#[derive(Clone, Debug, Default)]
pub struct Broke(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// The place in [`WAYS`] and one; 0 is nothing.
    way: AtomicU8,
    /// The status of the service's own trailers and one; 0 is none.
    said: AtomicU8,
}

/// In the words of codes, statuses and sentences.
const WAYS: [(Status, Code, &str); 4] = [
    (Status::ResourceExhausted, code::ANSWER_TOO_LARGE, "the answer is longer than the route lets through"),
    (Status::DeadlineExceeded, code::UPSTREAM_TIMEOUT, "nothing more of the answer came in time"),
    (Status::Internal, code::UPSTREAM_MALFORMED, "the answer is malformed"),
    (Status::Unavailable, code::UPSTREAM_BROKE, "the answer broke off"),
];

impl Broke {
    /// What it was.
    pub fn fault(&self) -> Option<(Code, Origin)> {
        let way = usize::from(self.0.way.load(Ordering::Relaxed)).checked_sub(1)?;
        WAYS.get(way).map(|(_, code, _)| (*code, Origin::Upstream))
    }

    /// The status that the service has told in its trailers.
    pub fn said(&self) -> Option<u8> {
        self.0.said.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes a failure, and says what is told of it.
    fn note(&self, error: &BodyError) -> HeaderMap {
        let way = match error {
            BodyError::TooLarge(_) => 0,
            BodyError::Idle(_) | BodyError::Slow(..) => 1,
            BodyError::Malformed(..) => 2,
            BodyError::Incomplete(_) | BodyError::Io(..) | BodyError::Http2(..) | BodyError::Aborted(_) => 3,
        };
        self.0.way.store(way + 1, Ordering::Relaxed);
        let mut trailers = HeaderMap::new();
        if let Some((status, code, text)) = WAYS.get(usize::from(way)) {
            status::tell(&mut trailers, *status as u8, &format!("{code}: {text}"));
        }
        trailers
    }
}

struct Ending {
    /// `None` once it has failed.
    body: Option<Body>,
    broke: Broke,
    /// `None` once it has judged.
    judge: Option<Judge>,
}

impl Ending {
    fn settle(&mut self, outcome: Outcome) {
        if let Some(judge) = self.judge.take() {
            judge.settle(outcome);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Whoever was told that nothing comes any more does not ask; of what was given up in the middle nothing is known.
        if self.judge.is_some() && self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.settle(Outcome::Fine);
        }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Err(error)) => {
                this.body = None;
                match &error {
                    // It was too long for us.
                    BodyError::TooLarge(_) => this.judge = None,
                    _ => this.settle(Outcome::Local),
                }
                Poll::Ready(Some(Ok(Frame::trailers(this.broke.note(&error)))))
            }
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let said = retry::grpc_status(trailers);
                    this.broke.0.said.store(said.map_or(0, |said| said.saturating_add(1)), Ordering::Relaxed);
                    this.settle(said.map_or(Outcome::Fine, Outcome::of_grpc));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                this.settle(Outcome::Fine);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // A length that was announced may not be kept.
        match &self.body {
            Some(body) if !body.is_end_stream() => SizeHint::default(),
            _ => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_told_in_trailers() {
        let (mut sender, body) = Body::channel(2);
        let broke = Broke::default();
        let mut body = told(body, broke.clone(), None);
        sender.send(Bytes::from("half a mess")).await.unwrap();
        sender.abort("gone".into()).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"TUT0504: the answer broke off".parse().unwrap())
        );
        assert_eq!((broke.fault(), broke.said()), (Some((code::UPSTREAM_BROKE, Origin::Upstream)), None));
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }
}
