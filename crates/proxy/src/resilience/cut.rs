//! A response's body that ends when the caller's deadline passes: nobody waits for the rest.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tutti_core::code;
use tutti_net::{Body, BodyError};

use crate::grpc::status::{self, Status};

/// Ends a body at `deadline`: for gRPC with the status DEADLINE_EXCEEDED, else with an error, so that what was cut does
/// not look whole.
pub fn at(body: Body, deadline: Instant, grpc: bool) -> Body {
    if body.in_memory().is_some() {
        return body;
    }
    Body::boxed(Cut { body: Some(body), timer: Box::pin(tokio::time::sleep_until(deadline)), grpc })
}

struct Cut {
    /// `None` once the deadline has passed.
    body: Option<Body>,
    timer: Pin<Box<Sleep>>,
    grpc: bool,
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if this.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        if !this.grpc {
            return Poll::Ready(Some(Err(BodyError::Aborted(Some("the caller's deadline passed".into())))));
        }
        let mut trailers = HeaderMap::new();
        let text = format!("{}: the caller's deadline passed", code::DEADLINE_PASSED);
        status::tell(&mut trailers, Status::DeadlineExceeded as u8, &text);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_not_waited_for() {
        for grpc in [true, false] {
            let (mut sender, body) = Body::channel(1);
            let began = Instant::now();
            let mut body = at(body, began + Duration::from_secs(3), grpc);
            sender.send(Bytes::from("a")).await.unwrap();
            assert!(body.frame().await.unwrap().unwrap().is_data());
            let last = body.frame().await.unwrap();
            assert_eq!(began.elapsed().as_secs(), 3);
            match last {
                Ok(frame) => assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "4"),
                Err(error) => assert!(!grpc && matches!(error, BodyError::Aborted(_))),
            }
            assert!(body.frame().await.is_none() && body.is_end_stream());
            // Whoever makes the rest learns that nobody wants it.
            assert!(sender.send(Bytes::from("b")).await.is_err());
        }
    }
}
