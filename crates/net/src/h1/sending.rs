//! Sending a body: frames are pulled as fast as the peer takes them, and written in the message's framing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::chunked;
use super::encode::Framing;
use super::io::Writer;
use crate::body::Body;
use crate::error::BodyError;

/// When so much waits to be sent, no more is pulled until the peer has taken it.
const GATHER_BYTES: usize = 64 << 10;

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum SendingError {
    /// The connection failed.
    Io(std::io::Error),
    /// The body failed, or did not keep to its announced length.
    Body(BodyError),
}

/// A body on its way out.
#[derive(Debug)]
pub(crate) struct Sending {
    body: Option<Body>,
    framing: Framing,
    /// Bytes still announced, for [`Framing::Length`].
    left: u64,
    /// Whether all of it is in the writer.
    gathered: bool,
    /// Whether anything was asked of the body.
    touched: bool,
}

impl Sending {
    /// Begins; the head is in the writer already.
    pub(crate) fn new(body: Body, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        let gathered = framing == Framing::Nothing;
        Self { body: (!gathered).then_some(body), framing, left, gathered, touched: false }
    }

    /// Whether every byte is with the system.
    pub(crate) fn is_sent(&self, writer: &Writer) -> bool {
        self.gathered && writer.waiting() == 0
    }

    /// Gives back a body of which nothing was asked yet.
    pub(crate) fn into_untouched(self) -> Option<Body> {
        self.body.filter(|_| !self.touched)
    }

    /// Pulls and sends. Ready when every byte is in the writer and, with `flush`, with the system.
    pub(crate) fn poll(
        &mut self,
        writer: &mut Writer,
        flush: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendingError>> {
        loop {
            let starved = self.gather(writer, cx).map_err(SendingError::Body)?;
            if self.gathered && !flush {
                break;
            }
            if let Err(error) = ready!(writer.poll_flush(cx)) {
                if let Some(body) = &mut self.body {
                    body.mark_lost();
                }
                return Poll::Ready(Err(SendingError::Io(error)));
            }
            if self.gathered {
                break;
            }
            if starved {
                return Poll::Pending;
            }
        }
        self.body = None;
        Poll::Ready(Ok(()))
    }

    /// Moves frames from the body to the writer. Whether the body has nothing more for now.
    fn gather(&mut self, writer: &mut Writer, cx: &mut Context<'_>) -> Result<bool, BodyError> {
        while !self.gathered && writer.waiting() < GATHER_BYTES {
            let Some(body) = &mut self.body else { break };
            self.touched = true;
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => self.end(None, writer)?,
                Poll::Ready(Some(frame)) => self.frame(frame?, writer)?,
            }
        }
        Ok(false)
    }

    fn frame(&mut self, frame: Frame<Bytes>, writer: &mut Writer) -> Result<(), BodyError> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.data(data, writer)?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return self.end(Some(trailers), writer);
                }
            }
        }
        // Saves a poll, and lets the last data and the end go out together.
        if self.body.as_ref().is_some_and(Body::is_end_stream) { self.end(None, writer) } else { Ok(()) }
    }

    fn data(&mut self, data: Bytes, writer: &mut Writer) -> Result<(), BodyError> {
        match self.framing {
            Framing::Length(_) => {
                self.left =
                    self.left.checked_sub(data.len() as u64).ok_or_else(|| broken_promise("longer"))?;
                writer.push(data);
            }
            Framing::Chunked => {
                chunked::encode_size(data.len(), &mut writer.flat);
                writer.push(data);
                writer.flat.put_slice(b"\r\n");
            }
            Framing::UntilClose => writer.push(data),
            Framing::Nothing => {}
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>, writer: &mut Writer) -> Result<(), BodyError> {
        if self.left > 0 {
            return Err(broken_promise("shorter"));
        }
        if self.framing == Framing::Chunked {
            chunked::encode_end(trailers.as_ref(), &mut writer.flat);
        }
        self.gathered = true;
        Ok(())
    }
}

fn broken_promise(how: &str) -> BodyError {
    BodyError::Aborted(Some(format!("the body is {how} than its Content-Length").into()))
}
