//! A body that is compressed as it passes.
//!
//! When nothing more comes for the moment, what is there is flushed: events of a stream reach the client as fast as
//! without compression. One poll compresses at most [`SLICE`] bytes a few times over, so that a body in memory, however
//! large, does not hold up the other requests of its worker.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::limits;
use tutti_net::{Body, BodyError};
use tutti_ports::routing::Coding;

/// So many bytes are compressed at once.
const SLICE: usize = 16 << 10;

/// So many slices in one poll.
const SLICES: usize = 4;

/// What was compressed is sent on when it is so long, or when nothing more comes.
const SEND: usize = 8 << 10;

/// The window of every coding: 256 KiB, so that a response costs no megabytes.
const WINDOW_LOG: u32 = 18;

/// A place among the bodies of a worker that are being coded; given back when dropped.
pub struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// Takes a place; `None` when there is none.
    pub fn take(used: &Arc<AtomicUsize>) -> Option<Self> {
        if used.fetch_add(1, Ordering::Relaxed) >= limits::CODINGS {
            used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(Arc::clone(used)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding, level: u32) -> io::Result<Self> {
        let level = level.clamp(1, 9);
        Ok(match coding {
            Coding::Gzip => {
                Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level)))
            }
            Coding::Br => {
                Encoder::Br(Box::new(brotli::CompressorWriter::new(Vec::new(), 4_096, level, WINDOW_LOG)))
            }
            Coding::Zstd => {
                let level = i32::try_from(level).unwrap_or(3);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(WINDOW_LOG)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Br(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        }
    }

    fn made(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Br(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Br(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// The next frame of a body; the outer error is the compressor's.
type Next = io::Result<Option<Result<Frame<Bytes>, BodyError>>>;

struct Encoded {
    inner: Body,
    /// `None` when it is finished.
    encoder: Option<Encoder>,
    /// What came and is not compressed yet.
    pending: Bytes,
    /// Something was compressed since the last flush.
    dirty: bool,
    trailers: Option<HeaderMap>,
    _permit: Permit,
}

/// Compresses a body. The error hands it back as it was.
pub fn encoded(inner: Body, coding: Coding, level: u32, permit: Permit) -> Result<Body, Body> {
    match Encoder::new(coding, level) {
        Ok(encoder) => Ok(Body::boxed(Encoded {
            inner,
            encoder: Some(encoder),
            pending: Bytes::new(),
            dirty: false,
            trailers: None,
            _permit: permit,
        })),
        Err(error) => {
            tracing::warn!(%error, coding = coding.as_str(), "a response is sent as it is: no compressor could be made");
            Err(inner)
        }
    }
}

impl Encoded {
    /// Compresses one slice of what is there. Says whether something can be sent on.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let slice = self.pending.split_to(self.pending.len().min(SLICE));
        encoder.writer().write_all(&slice)?;
        self.dirty = true;
        Ok((encoder.made().len() >= SEND).then(|| Bytes::from(std::mem::take(encoder.made()))))
    }

    fn flush(&mut self) -> io::Result<Option<Bytes>> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| self.dirty) else { return Ok(None) };
        self.dirty = false;
        encoder.writer().flush()?;
        let made = std::mem::take(encoder.made());
        Ok((!made.is_empty()).then(|| Bytes::from(made)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut slices = 0;
        loop {
            if !self.pending.is_empty() {
                if slices == SLICES {
                    // Others of this worker have their turn first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                slices += 1;
                if let Some(made) = self.step()? {
                    return Poll::Ready(Ok(Some(Ok(Frame::data(made)))));
                }
                continue;
            }
            if self.encoder.is_none() {
                return Poll::Ready(Ok(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))));
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.pending = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Ok(Some(Err(error)))),
                Poll::Ready(None) => {
                    if let Some(encoder) = self.encoder.take() {
                        return Poll::Ready(Ok(Some(Ok(Frame::data(encoder.finish()?.into())))));
                    }
                }
                Poll::Pending => {
                    return match self.flush()? {
                        Some(made) => Poll::Ready(Ok(Some(Ok(Frame::data(made))))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll(cx)
            .map(|polled| polled.unwrap_or_else(|error| Some(Err(BodyError::Aborted(Some(error.into()))))))
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
