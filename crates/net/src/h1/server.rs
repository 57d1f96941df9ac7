//! The server's side of an HTTP/1.1 connection (RFC 9112): one request after the other, answered in order.
//!
//! A connection is one future. While the handler works, the same future sends what is still to be sent, says `100 Continue` when
//! the handler begins to read the body, and notices that the client has gone away, which drops the handler.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use tutti_core::limits;

use super::Settings;
use super::encode::{self, Framing as OutFraming};
use super::head::{First, Limits, Scanner};
use super::incoming::{self, Decoder, News, RequestBody, Slot};
use super::io::{Reader, Writer, poll_discard};
use super::request::{self, Framing, RequestHead};
use super::sending::{Sending, SendingError};
use super::spare;
use crate::body::Body;
use crate::deadline::Deadline;
use crate::drain::DrainSignal;
use crate::lodge::lodge;
use crate::pace::{MinRate, Pace};
use crate::server::{ConnectionInfo, LocalHandler, Refusal};
use crate::stream::Stream;
use crate::upgrade::{self, Continuation};

/// How much may be read ahead of the request that is being answered.
const READ_AHEAD_BYTES: usize = 16 << 10;
/// With more than this waiting, the next pipelined request is not begun.
const PIPELINE_BYTES: usize = 16 << 10;

/// Serves a connection to its end.
pub(crate) async fn serve<H: LocalHandler>(
    stream: Stream,
    handler: &H,
    info: &ConnectionInfo,
    settings: &Settings,
    drain: &DrainSignal,
) {
    let mut connection = Connection::new(stream, settings);
    connection.rate = handler.min_rate();
    let mut draining = pin!(drain.idle_over());
    loop {
        let head = match connection.read_head(draining.as_mut()).await {
            Ok(Some(head)) => head,
            Ok(None) => return connection.writer.farewell(),
            Err(refused) => {
                handler.refused(refused, info);
                return connection.refuse(refused).await;
            }
        };
        if head.method == Method::CONNECT && !settings.connect {
            let refused =
                Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: "CONNECT is not implemented here" };
            handler.refused(refused, info);
            return connection.refuse(refused).await;
        }
        // In a box: an idle connection has no use for the room that an exchange takes.
        match lodge(|| connection.exchange(head, handler, info, drain)).await {
            Next::Request => {}
            Next::Close => return connection.writer.farewell(),
            Next::Linger => return connection.linger().await,
            Next::Abort => return connection.writer.abort(),
            Next::Leave(then) => return connection.leave(then).await,
        }
    }
}

/// What becomes of the connection after an exchange.
enum Next {
    /// Another request.
    Request,
    /// Nothing more; nothing unread can be lost.
    Close,
    /// Nothing more, but the client may still be sending.
    Linger,
    /// The response is truncated and only a reset shows it.
    Abort,
    /// Another protocol takes over.
    Leave(Continuation),
}

struct Connection<'a> {
    settings: &'a Settings,
    limits: Limits,
    /// `None` while a body has it.
    reader: Option<Box<Reader>>,
    writer: Writer,
    slot: Option<Arc<Slot>>,
    scanner: Scanner,
    timer: Deadline,
    first: bool,
    /// The client waits for `100 Continue`.
    held_back: bool,
    /// How fast the client must take what it asked for.
    rate: Option<MinRate>,
}

/// What has to be remembered of a request while it is answered.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
}

impl<'a> Connection<'a> {
    fn new(stream: Stream, settings: &'a Settings) -> Self {
        let (unread, read, write) = stream.into_parts();
        Self {
            settings,
            limits: Limits {
                bytes: settings.head_bytes,
                fields: settings.fields,
                target: settings.target_bytes,
            },
            reader: Some(Box::new(Reader::lean(read, unread))),
            writer: Writer::new(write),
            slot: None,
            scanner: Scanner::new(First::Request),
            timer: Deadline::default(),
            first: true,
            held_back: false,
            rate: None,
        }
    }

    /// Waits for the next request. `None`: the client is gone or has nothing more to say, or we are draining.
    async fn read_head(
        &mut self,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<RequestHead>, Refusal> {
        self.scanner.reset();
        self.timer.clear();
        let fresh = std::mem::take(&mut self.first);
        std::future::poll_fn(|cx| self.poll_head(fresh, draining.as_mut(), cx)).await
    }

    fn poll_head(
        &mut self,
        fresh: bool,
        draining: Pin<&mut impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<RequestHead>, Refusal>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(Ok(None)) };
        loop {
            let whole =
                if reader.buf.is_empty() { None } else { self.scanner.scan(&reader.buf, &self.limits)? };
            if let Some(length) = whole {
                let bytes = reader.buf.split_to(length).freeze();
                let headers = spare::map();
                let head = request::parse(&bytes, self.scanner.lines(), headers, self.limits.target)?;
                return Poll::Ready(Ok(Some(head)));
            }
            // Answers that were held back for this request go out before more is read.
            if self.writer.waiting() > 0 {
                self.timer.ensure(self.settings.write_timeout);
                match self.writer.poll_flush(cx) {
                    Poll::Pending => return self.timer.poll_passed(cx).map(|()| Ok(None)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Ok(())) => self.timer.clear(),
                }
            }
            match reader.poll_fill(cx) {
                // An end in the middle of a head: nobody is there for an answer.
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(read)) if read == reader.buf.len() => self.timer.clear(),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    // If it fails, reading fails.
                    let _ = self.writer.poll_greet(cx);
                    break;
                }
            }
        }
        let begun = !reader.buf.is_empty();
        let idle = !begun && !fresh;
        self.timer.ensure(if idle { self.settings.idle_timeout } else { self.settings.head_timeout });
        if self.timer.poll_passed(cx).is_ready() {
            return Poll::Ready(if begun { Err(TOO_SLOW) } else { Ok(None) });
        }
        if !begun && draining.poll(cx).is_ready() {
            return Poll::Ready(Ok(None));
        }
        Poll::Pending
    }

    /// Answers one request.
    async fn exchange<H: LocalHandler>(
        &mut self,
        head: RequestHead,
        handler: &H,
        info: &ConnectionInfo,
        drain: &DrainSignal,
    ) -> Next {
        let asked = Asked { method: head.method.clone(), version: head.version, keep_alive: head.keep_alive };
        let request = self.request(head);
        let answer = {
            // Its room is the response's afterwards.
            let mut answering = pin!(handler.handle(request, info));
            let answer = std::future::poll_fn(|cx| {
                if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                self.poll_beside(cx).map(|_gone| None)
            });
            answer.await
        };
        match answer {
            None => Next::Close,
            Some(response) => self.respond(response, asked, drain).await,
        }
    }

    /// Makes the request, with its body in memory if all of it is here.
    fn request(&mut self, head: RequestHead) -> Request<Body> {
        let body = self.request_body(&head);
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        request
    }

    fn request_body(&mut self, head: &RequestHead) -> Body {
        let Some(reader) = &mut self.reader else { return Body::empty() };
        match head.framing {
            Framing::Empty | Framing::UntilClose => return Body::empty(),
            Framing::Length(length) if length <= reader.buf.len() as u64 => {
                return Body::full(reader.buf.split_to(length as usize).freeze());
            }
            Framing::Length(_) | Framing::Chunked => {}
        }
        reader.decoder = Decoder::new(head.framing, self.settings.fields);
        self.held_back = head.expects_continue && reader.buf.is_empty();
        let slot = self.slot.get_or_insert_default();
        match self.reader.take() {
            Some(reader) => Body::from_request(RequestBody::new(reader, Arc::clone(slot), self.held_back)),
            None => Body::empty(),
        }
    }

    /// What goes on while the handler or its response's body is waited for. Ready when the client is gone.
    fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_slot(cx);
        if let Poll::Ready(Err(_)) = self.writer.poll_flush(cx) {
            return Poll::Ready(());
        }
        self.poll_gone(cx)
    }

    /// Hears what the request's body has to say.
    fn poll_slot(&mut self, cx: &mut Context<'_>) {
        while let (None, Some(slot)) = (&self.reader, &self.slot) {
            match slot.poll_news(cx) {
                Poll::Ready(News::Back(reader)) => self.reader = Some(reader),
                Poll::Ready(News::Continue) => self.say_continue(),
                Poll::Pending => return,
            }
        }
    }

    /// Asks the client for the body that it holds back, once.
    fn say_continue(&mut self) {
        if std::mem::take(&mut self.held_back) {
            self.writer.flat.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Ready when the client has closed. What it sends ahead is kept, up to a limit.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reader) = &mut self.reader else { return Poll::Pending };
        // The rest of a body that nobody wanted is not read here: the client may wait to be asked for it.
        if !reader.decoder.is_done() {
            return Poll::Pending;
        }
        while reader.buf.len() < READ_AHEAD_BYTES {
            match ready!(reader.poll_fill(cx)) {
                Ok(0) if self.settings.half_close => return Poll::Pending,
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Sends the response and finds out how the connection goes on.
    async fn respond(&mut self, mut response: Response<Body>, asked: Asked, drain: &DrainSignal) -> Next {
        if response.extensions_mut().remove::<upgrade::Reset>().is_some() {
            return Next::Abort;
        }
        let leave = upgrade::accepted(response.extensions_mut());
        if !is_final(&response, &asked, leave.is_some()) {
            tracing::error!(
                status = response.status().as_u16(),
                "a handler answered with a response that cannot end an exchange"
            );
            response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let mut readable = self.body_can_be_finished();
        if self.reader.is_none() {
            // The response is made while the body is read, and nothing can be said after its head has been.
            self.say_continue();
        }
        self.held_back = false;
        let allowed = asked.keep_alive && readable && !drain.is_draining();
        let plan = encode::plan_response(&asked.method, asked.version, allowed, &response);
        self.writer.wake();
        encode::response_head(&response, &asked.method, asked.version, plan, &mut self.writer.flat);
        let (parts, body) = response.into_parts();
        spare::give_map(parts.headers);
        let sent = self.send_body(Sending::new(body, plan.framing), plan.keep_alive).await;
        self.writer.rest();
        match (sent, leave) {
            (Sent::Gone, _) => Next::Close,
            (Sent::Truncated, _) if plan.framing == OutFraming::UntilClose => Next::Abort,
            (Sent::Truncated, _) => Next::Linger,
            (Sent::Whole, Some(then)) => Next::Leave(then),
            (Sent::Whole, None) => {
                readable = readable && self.finish_body().await;
                match (readable, plan.keep_alive) {
                    (true, true) => Next::Request,
                    (true, false) if self.nothing_unread() => Next::Close,
                    _ => Next::Linger,
                }
            }
        }
    }

    /// Whether what is left of the request's body is worth reading, as far as it is known by now.
    fn body_can_be_finished(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.poll_slot(&mut context);
        match self.reader.as_ref().map(|reader| &reader.decoder) {
            Some(Decoder::Failed) => false,
            Some(Decoder::Length(left)) => *left <= limits::HTTP_DRAIN_BYTES,
            _ => true,
        }
    }

    async fn send_body(&mut self, mut sending: Sending, more: bool) -> Sent {
        self.timer.clear();
        let mut progress = self.writer.total();
        let mut pace = self.rate.map(Pace::new);
        std::future::poll_fn(|cx| {
            // With the next request already here, its answer may go out in the same packet.
            let pipelined = self.reader.as_ref().is_some_and(|reader| !reader.buf.is_empty());
            let flush = !(more && pipelined && self.writer.waiting() < PIPELINE_BYTES);
            match sending.poll(&mut self.writer, flush, cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Sent::Whole),
                Poll::Ready(Err(SendingError::Io(_))) => return Poll::Ready(Sent::Gone),
                Poll::Ready(Err(SendingError::Body(error))) => {
                    tracing::debug!(%error, "a response is truncated because its body failed");
                    return Poll::Ready(Sent::Truncated);
                }
                Poll::Pending => {}
            }
            let taken = self.writer.total() - std::mem::replace(&mut progress, self.writer.total());
            if let Some(pace) = pace.as_mut().filter(|_| taken > 0) {
                pace.moved(taken, Instant::now());
            }
            if self.writer.waiting() == 0 {
                self.timer.clear();
            } else {
                // The client is waited for: it takes nothing at all, or too little.
                let slow = pace.as_mut().map_or(Duration::MAX, |pace| pace.wait(Instant::now()));
                let wait = self.settings.write_timeout.min(slow);
                if taken > 0 { self.timer.set(wait) } else { self.timer.ensure(wait) }
            }
            if self.timer.poll_passed(cx).is_ready() {
                return Poll::Ready(Sent::Gone);
            }
            self.poll_slot(cx);
            self.poll_gone(cx).map(|()| Sent::Gone)
        })
        .await
    }

    /// Gets the reader back and reads what the handler left of the request's body, if it is little. Whether the next
    /// bytes are the next request.
    async fn finish_body(&mut self) -> bool {
        if self.reader.as_ref().is_some_and(|reader| reader.decoder.is_done()) {
            return true;
        }
        self.timer.set(limits::HTTP_LINGER_TIME);
        let mut left = limits::HTTP_DRAIN_BYTES;
        std::future::poll_fn(|cx| {
            let _ = self.writer.poll_flush(cx);
            if self.timer.poll_passed(cx).is_ready() {
                return Poll::Ready(false);
            }
            self.poll_slot(cx);
            let Some(reader) = &mut self.reader else { return Poll::Pending };
            loop {
                match ready!(incoming::poll_frame(reader, tutti_core::Origin::Client, cx)) {
                    None => return Poll::Ready(true),
                    Some(Err(_)) => return Poll::Ready(false),
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                        left = match left.checked_sub(length) {
                            Some(left) => left,
                            None => return Poll::Ready(false),
                        };
                    }
                }
            }
        })
        .await
    }

    /// Whether closing now cannot make the system throw away an answer because something is unread.
    fn nothing_unread(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.is_quiet() || reader.eof)
    }

    /// Answers a request that never became one, and ends the connection.
    async fn refuse(&mut self, refused: Refusal) {
        encode::refusal(refused.status, refused.reason, &mut self.writer.flat);
        self.linger().await;
    }

    /// Sends what waits, closes our direction, and reads for a while, so that the answer arrives.
    async fn linger(&mut self) {
        let mut left = limits::HTTP_LINGER_BYTES;
        self.timer.set(self.settings.write_timeout.min(limits::HTTP_LINGER_TIME));
        std::future::poll_fn(|cx| {
            if self.timer.poll_passed(cx).is_ready() {
                return Poll::Ready(());
            }
            if ready!(self.poll_flush_and_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.poll_slot(cx);
            match &mut self.reader {
                Some(reader) => poll_discard(reader, &mut left, cx),
                None => Poll::Pending,
            }
        })
        .await;
    }

    fn poll_flush_and_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writer.poll_flush(cx))?;
        self.writer.poll_shutdown(cx)
    }

    /// Hands the stream to another protocol.
    async fn leave(mut self, then: Continuation) {
        if std::future::poll_fn(|cx| self.writer.poll_flush(cx)).await.is_err() {
            return;
        }
        self.poll_slot(&mut Context::from_waker(std::task::Waker::noop()));
        let Some(reader) = self.reader.filter(|reader| reader.decoder.is_done()) else {
            tracing::error!("a handler upgraded a connection without reading the request's body");
            return;
        };
        let (read, unread) = reader.into_parts();
        if let Some(stream) = Stream::from_parts(unread, read, self.writer.into_half()) {
            then(stream).await;
        }
    }
}

/// How far a response got.
enum Sent {
    Whole,
    /// Its body failed.
    Truncated,
    /// The client is gone.
    Gone,
}

/// A response ends its exchange; 101 and a 2xx to CONNECT do so by leaving HTTP.
fn is_final(response: &Response<Body>, asked: &Asked, leaves: bool) -> bool {
    let tunnel = asked.method == Method::CONNECT && response.status().is_success();
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if response.status().is_informational() || tunnel { leaves && (switches || tunnel) } else { !leaves }
}

const TOO_SLOW: Refusal =
    Refusal { status: StatusCode::REQUEST_TIMEOUT, reason: "the request head did not arrive in time" };

#[cfg(test)]
mod tests;
