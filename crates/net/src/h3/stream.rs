//! One request, from its head to the last octet of its answer.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use tokio::time::timeout;

use super::body::{Exchange, Incoming};
use super::connection::Link;
use super::frame::{self, Frames, Head as FrameHead, kind};
use super::head::{self, Fault, Head, Limits};
use super::qpack;
use super::{Broken, Code};
use crate::body::Body;
use crate::form;
use crate::server::{ConnectionInfo, LocalHandler, Refusal, Shared};
use crate::upgrade;

/// Why there is no request.
enum Unread {
    Broken(Broken),
    Malformed(&'static str),
    Refused(Refusal),
}

impl From<Broken> for Unread {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Stream(_, reason) => Unread::Malformed(reason),
            broken => Unread::Broken(broken),
        }
    }
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable => {
                Unread::Broken(Broken::Connection(Code::Decompression, "a field section cannot be read"))
            }
            Fault::Malformed(reason) => Unread::Malformed(reason),
            Fault::Refused(refusal) => Unread::Refused(refusal),
        }
    }
}

/// Serves a request to its end.
pub(super) async fn serve<H: LocalHandler>(
    shared: &Shared<H>,
    link: Arc<Link>,
    info: &ConnectionInfo,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
) {
    let limits = Limits {
        octets: shared.settings.h2.header_list_bytes as usize,
        fields: shared.settings.h1.fields,
        target: shared.settings.h1.target_bytes,
    };
    let mut answer = Answer { send, stall: shared.settings.h2.write_timeout, finished: false };
    let mut frames = Frames::new(recv);
    let reading = timeout(shared.settings.h1.head_timeout, read(&mut frames, &link, limits));
    let (head, first) = match reading.await.unwrap_or(Err(Unread::Refused(SLOW))) {
        Ok(read) => read,
        Err(Unread::Broken(broken)) => return unread(broken, &link, &mut answer),
        Err(Unread::Malformed(reason)) => {
            // Section 4.1.2.
            frames.blame(Code::Message);
            answer.reset(Code::Message);
            shared.handler.refused(Refusal { status: StatusCode::BAD_REQUEST, reason }, info);
            return;
        }
        Err(Unread::Refused(refusal)) => {
            shared.handler.refused(refusal, info);
            let exchange = Exchange::default();
            return respond(&mut answer, form::refuse(refusal), false, &exchange).await;
        }
    };
    let exchange = Arc::new(Exchange::default());
    let Head { request, length } = head;
    let to_head = *request.method() == Method::HEAD;
    let body = match first {
        Next::End => Body::empty(),
        Next::Frame(first) => {
            let (link, exchange) = (Arc::clone(&link), Arc::clone(&exchange));
            match Incoming::new(frames, first, Arc::clone(&link), exchange, (length, limits)) {
                Ok(body) => Body::boxed(body),
                Err(broken) => return unread(broken, &link, &mut answer),
            }
        }
    };
    let Some(mut response) = handle(shared, request.map(|()| body), info, &exchange, &mut answer).await
    else {
        link.cancelled();
        return answer.reset(Code::Cancelled);
    };
    if response.extensions().get::<upgrade::Reset>().is_some() {
        return answer.reset(exchange.code());
    }
    link.answered();
    response.extensions_mut().remove::<upgrade::Reset>();
    respond(&mut answer, form::in_their_form(response, to_head), to_head, &exchange).await;
}

const SLOW: Refusal =
    Refusal { status: StatusCode::REQUEST_TIMEOUT, reason: "the request's head came too slowly" };

/// There was no request.
fn unread(broken: Broken, link: &Link, answer: &mut Answer) {
    match broken {
        Broken::Reset => {
            link.cancelled();
            answer.reset(Code::Cancelled);
        }
        Broken::Lost => answer.reset(Code::Cancelled),
        Broken::Stream(code, _) => answer.reset(code),
        Broken::Connection(code, reason) => link.fail(code, reason),
    }
}

/// What follows a head.
enum Next {
    /// Nothing: there is no body.
    End,
    /// Perhaps a body, whose first frame has begun, if it was waited for.
    Frame(Option<FrameHead>),
}

/// Reads a request's head, and as much more as it takes to know whether there is a body.
async fn read(
    frames: &mut Frames<quinn::RecvStream>,
    link: &Link,
    limits: Limits,
) -> Result<(Head, Next), Unread> {
    let section = loop {
        let Some(found) = frames.head().await? else {
            // Section 4.1.
            return Err(Unread::Broken(Broken::Stream(Code::Incomplete, "the stream ends before a request")));
        };
        match found.kind {
            kind::HEADERS if found.length > limits.octets as u64 => return Err(head::too_large().into()),
            kind::HEADERS => break frames.payload().await?,
            other if frame::is_known(other) => {
                let reason = "a request does not begin with its head";
                return Err(Unread::Broken(Broken::Connection(Code::FrameUnexpected, reason)));
            }
            _ => {
                link.nothing()?;
                frames.skip().await?;
            }
        }
    };
    let head = head::request(&section, limits)?;
    let method = head.request.method();
    let next =
        if head.length == Some(0) || head.length.is_none() && matches!(*method, Method::GET | Method::HEAD) {
            // There is hardly ever a body, and the end may be in the next packet.
            frames.head().await?
        } else {
            let now = std::future::poll_fn(|cx| match frames.poll_head(cx) {
                Poll::Ready(found) => Poll::Ready(Some(found)),
                Poll::Pending => Poll::Ready(None),
            });
            match now.await {
                None => return Ok((head, Next::Frame(None))),
                Some(found) => found?,
            }
        };
    match next {
        None if head.length.is_some_and(|length| length > 0) => {
            Err(Unread::Malformed("there is less data than Content-Length says"))
        }
        None => Ok((head, Next::End)),
        Some(first) => Ok((head, Next::Frame(Some(first)))),
    }
}

/// Lets the handler answer. `None` if the client does not want to know any more.
async fn handle<H: LocalHandler>(
    shared: &Shared<H>,
    request: Request<Body>,
    info: &ConnectionInfo,
    exchange: &Exchange,
    answer: &mut Answer,
) -> Option<Response<Body>> {
    let mut waits = request.headers().contains_key(header::EXPECT);
    let mut handling = pin!(shared.handler.handle(request, info));
    let mut stopped = pin!(answer.send.stopped());
    loop {
        tokio::select! {
            biased;
            response = handling.as_mut() => return Some(response),
            _ = stopped.as_mut() => return None,
            () = exchange.wanted.notified(), if waits => {
                waits = false;
                let mut interim = BytesMut::new();
                qpack::response(StatusCode::CONTINUE, &header::HeaderMap::new(), &mut interim);
                answer.frame(kind::HEADERS, interim.freeze()).await.ok()?;
            }
        }
    }
}

/// Sends an answer.
async fn respond(answer: &mut Answer, response: Response<Body>, to_head: bool, exchange: &Exchange) {
    let (parts, mut body) = response.into_parts();
    let mut section = BytesMut::new();
    qpack::response(parts.status, &parts.headers, &mut section);
    if answer.frame(kind::HEADERS, section.freeze()).await.is_err() {
        body.mark_lost();
        return answer.reset(Code::Cancelled);
    }
    if to_head {
        drop(body);
        return answer.finish().await;
    }
    let mut stopped = pin!(answer.send.stopped());
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = stopped.as_mut() => {
                body.mark_lost();
                return answer.reset(Code::Cancelled);
            }
        };
        let sent = match frame {
            None => {
                drop(body);
                return answer.finish().await;
            }
            Some(Err(error)) => {
                tracing::debug!(error = %tutti_core::error::chain(&error), "an HTTP/3 answer is cut");
                return answer.reset(exchange.code());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => Ok(()),
                Ok(data) => answer.frame(kind::DATA, data).await,
                Err(frame) => match frame.into_trailers() {
                    Ok(mut trailers) => {
                        form::strip_connection_fields(&mut trailers);
                        let mut section = BytesMut::new();
                        qpack::trailers(&trailers, &mut section);
                        answer.frame(kind::HEADERS, section.freeze()).await
                    }
                    Err(_) => Ok(()),
                },
            },
        };
        if sent.is_err() {
            body.mark_lost();
            return answer.reset(Code::Cancelled);
        }
    }
}

/// Our direction of the stream. Unless it is finished, its end is told to be none.
struct Answer {
    send: quinn::SendStream,
    /// How long the client may take nothing.
    stall: Duration,
    finished: bool,
}

/// The client does not want it any more, or takes nothing.
struct Unwanted;

impl Answer {
    /// Sends a frame, as fast as the client's windows open.
    async fn frame(&mut self, kind: u64, payload: Bytes) -> Result<(), Unwanted> {
        let mut head = BytesMut::with_capacity(16);
        frame::write_head(&mut head, kind, payload.len() as u64);
        let mut pieces = [head.freeze(), payload];
        let mut left = pieces.as_mut_slice();
        while !left.is_empty() {
            let written = timeout(self.stall, self.send.write_chunks(left)).await;
            let written = written.map_err(|_| Unwanted)?.map_err(|_| Unwanted)?;
            left = left.get_mut(written.chunks..).ok_or(Unwanted)?;
        }
        Ok(())
    }

    /// Ends the answer, and waits until the client has all of it, before which the connection must not be closed: what is
    /// written is not yet sent. Whoever takes so long that nobody would wait for its window is not waited for here either.
    async fn finish(&mut self) {
        self.finished = true;
        if self.send.finish().is_ok() {
            let _ = timeout(self.stall, self.send.stopped()).await;
        }
    }

    fn reset(&mut self, code: Code) {
        self.finished = true;
        let _ = self.send.reset(code.wire());
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.finished {
            self.reset(Code::Internal);
        }
    }
}
