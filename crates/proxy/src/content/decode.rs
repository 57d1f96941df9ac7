//! A body that is decompressed as it passes.
//!
//! A few kilobytes can become gigabytes, so what comes out is counted against two limits: its length, and how many times longer
//! it is than what went in. One poll makes at most [`SLICE`] bytes.

use std::io::{self, BufRead, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::Origin;
use tutti_net::{Body, BodyError};
use tutti_ports::routing::{Coding, Decompression};

use super::encode::Permit;

/// So many bytes are made at once.
const SLICE: usize = 16 << 10;

/// The ratio does not count before so many bytes were made: a short text of one letter is no bomb.
const FREE: u64 = 64 << 10;

/// The largest window that a `zstd` body may ask for: 8 MiB (RFC 9659 section 3).
const WINDOW_LOG_MAX: u32 = 23;

/// What has come and is not decompressed yet.
#[derive(Default)]
struct Source {
    bytes: Bytes,
    ended: bool,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.advance(amount.min(self.bytes.len()));
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let length = there.len().min(into.len());
        if let (Some(from), Some(to)) = (there.get(..length), into.get_mut(..length)) {
            to.copy_from_slice(from);
        }
        self.consume(length);
        Ok(length)
    }
}

enum Decoder {
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source>>),
    Br(Box<brotli::Decompressor<Source>>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
}

impl Decoder {
    fn new(coding: Coding) -> io::Result<Self> {
        let source = Source::default();
        Ok(match coding {
            Coding::Gzip => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Coding::Br => Decoder::Br(Box::new(brotli::Decompressor::new(source, 4_096))),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Decoder::Zstd(decoder)
            }
        })
    }

    fn source(&mut self) -> &mut Source {
        match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Br(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Br(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
        }
    }
}

struct Decoded {
    inner: Body,
    decoder: Decoder,
    limits: Decompression,
    came: u64,
    made: u64,
    trailers: Option<HeaderMap>,
    done: bool,
    _permit: Permit,
}

/// Decompresses a body.
pub fn decoded(inner: Body, coding: Coding, limits: Decompression, permit: Permit) -> io::Result<Body> {
    let decoder = Decoder::new(coding)?;
    Ok(Body::boxed(Decoded {
        inner,
        decoder,
        limits,
        came: 0,
        made: 0,
        trailers: None,
        done: false,
        _permit: permit,
    }))
}

impl Decoded {
    fn count(&mut self, made: usize) -> Result<(), BodyError> {
        self.made += made as u64;
        let by_ratio = self.came.saturating_mul(u64::from(self.limits.max_ratio)).max(FREE);
        let limit = self.limits.max_bytes.min(by_ratio);
        if self.made > limit {
            return Err(BodyError::TooLarge(usize::try_from(limit).unwrap_or(usize::MAX)));
        }
        Ok(())
    }

    /// Takes the next part of what comes.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            None => self.decoder.source().ended = true,
            Some(frame) => match frame?.into_data() {
                Ok(data) => {
                    self.came += data.len() as u64;
                    self.decoder.source().bytes = data;
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            },
        }
        Poll::Ready(Ok(()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        if self.done {
            return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers)));
        }
        let mut made = vec![0; SLICE];
        loop {
            match self.decoder.read(&mut made) {
                Ok(0) => {
                    // The coding has ended; so must the body.
                    while !self.decoder.source().ended {
                        if !self.decoder.source().bytes.is_empty() {
                            return Poll::Ready(Err(malformed()));
                        }
                        ready!(self.poll_more(cx))?;
                    }
                    self.done = true;
                    return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers)));
                }
                Ok(length) => {
                    self.count(length)?;
                    made.truncate(length);
                    return Poll::Ready(Ok(Some(Frame::data(made.into()))));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.poll_more(cx))?,
                Err(_) => return Poll::Ready(Err(malformed())),
            }
        }
    }
}

fn malformed() -> BodyError {
    BodyError::Malformed(Origin::Client, "it is not what its Content-Encoding says")
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll(cx).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        self.done && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
