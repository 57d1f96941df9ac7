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

/// A body whose failure is told in trailers, and to `broke`.
pub fn told(body: Body, broke: Broke) -> Body {
    if body.in_memory().is_some() { body } else { Body::boxed(Ending { body: Some(body), broke }) }
}

/// What has failed in the middle of a body, if something has. Shared between the body and whoever records it.
#[derive(Clone, Debug, Default)]
pub struct Broke(Arc<AtomicU8>);

/// In the words of codes, statuses and sentences; 0 is nothing.
const WAYS: [(Status, Code, &str); 4] = [
    (Status::ResourceExhausted, code::ANSWER_TOO_LARGE, "the answer is longer than the route lets through"),
    (Status::DeadlineExceeded, code::UPSTREAM_TIMEOUT, "nothing more of the answer came in time"),
    (Status::Internal, code::UPSTREAM_MALFORMED, "the answer is malformed"),
    (Status::Unavailable, code::UPSTREAM_BROKE, "the answer broke off"),
];

impl Broke {
    /// What it was.
    pub fn fault(&self) -> Option<(Code, Origin)> {
        let way = usize::from(self.0.load(Ordering::Relaxed)).checked_sub(1)?;
        WAYS.get(way).map(|(_, code, _)| (*code, Origin::Upstream))
    }

    /// Notes a failure, and says what is told of it.
    fn note(&self, error: &BodyError) -> HeaderMap {
        let way = match error {
            BodyError::TooLarge(_) => 0,
            BodyError::Idle(_) | BodyError::Slow(..) => 1,
            BodyError::Malformed(..) => 2,
            BodyError::Incomplete(_) | BodyError::Io(..) | BodyError::Http2(..) | BodyError::Aborted(_) => 3,
        };
        self.0.store(way + 1, Ordering::Relaxed);
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
                Poll::Ready(Some(Ok(Frame::trailers(this.broke.note(&error)))))
            }
            frame => Poll::Ready(frame),
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
        let mut body = told(body, broke.clone());
        sender.send(Bytes::from("half a mess")).await.unwrap();
        sender.abort("gone".into()).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"TUT0504: the answer broke off".parse().unwrap())
        );
        assert_eq!(broke.fault(), Some((code::UPSTREAM_BROKE, Origin::Upstream)));
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }
}
