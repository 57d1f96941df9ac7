//! Streams of one direction (RFC 9114 section 6.2): what the client says of its connection as a whole. It has little to say that
//! matters to a server; what it must not say ends the connection.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::Link;
use super::frame::{self, Frames, Source, kind};
use super::qpack::{DecoderStream, EncoderStream};
use super::{Broken, Code, varint};

/// Types of streams (section 6.2, RFC 9204 section 4.2).
mod stream {
    pub(super) const CONTROL: u64 = 0x0;
    pub(super) const PUSH: u64 = 0x1;
    pub(super) const ENCODER: u64 = 0x2;
    pub(super) const DECODER: u64 = 0x3;
}

/// Longest payload of a frame on a control stream that is looked at; what means something there is a few integers.
const FRAME_BYTES: u64 = 4 << 10;

/// Which streams there were that there may be one of.
#[derive(Debug, Default)]
pub(super) struct Seen {
    control: Cell<bool>,
    encoder: Cell<bool>,
    decoder: Cell<bool>,
}

/// Reads a stream to its end, or as far as it is of interest.
pub(super) async fn run(link: Arc<Link>, stream: quinn::RecvStream, seen: Rc<Seen>) {
    match read(Frames::new(stream), &seen, || link.nothing()).await {
        Ok(()) | Err(Broken::Lost | Broken::Reset) => {}
        Err(Broken::Stream(code, reason) | Broken::Connection(code, reason)) => link.fail(code, reason),
    }
}

/// The same, of any source.
pub(super) async fn read<S: Source>(
    mut frames: Frames<S>,
    seen: &Seen,
    nothing: impl Fn() -> Result<(), Broken>,
) -> Result<(), Broken> {
    // It may end before it says what it is.
    let Some(kind) = frames.integer().await? else { return Ok(()) };
    let only = |flag: &Cell<bool>| {
        if flag.replace(true) {
            return Err(Broken::Connection(Code::StreamCreation, "a stream is there a second time"));
        }
        Ok(())
    };
    let ended = match kind {
        stream::CONTROL => {
            only(&seen.control)?;
            control(&mut frames, nothing).await
        }
        stream::ENCODER => {
            only(&seen.encoder)?;
            let text = "the encoder uses a dynamic table that was not offered";
            instructions(&mut frames, Code::EncoderStream, text, |octets| EncoderStream.allows(octets)).await
        }
        stream::DECODER => {
            only(&seen.decoder)?;
            let mut decoder = DecoderStream::default();
            let text = "the decoder acknowledges what was not sent";
            instructions(&mut frames, Code::DecoderStream, text, |octets| decoder.allows(octets)).await
        }
        stream::PUSH => {
            return Err(Broken::Connection(Code::StreamCreation, "a client does not push"));
        }
        _ => {
            // Section 6.2: of an unknown type, which means nothing.
            frames.blame(Code::StreamCreation);
            return nothing();
        }
    };
    match ended {
        // Sections 6.2.1 and RFC 9204 section 4.2: as long as the connection is there, so are these.
        Ok(()) | Err(Broken::Reset) => {
            Err(Broken::Connection(Code::ClosedCritical, "a stream that a connection needs has ended"))
        }
        Err(broken) => Err(broken),
    }
}

/// The control stream (section 6.2.1).
async fn control<S: Source>(
    frames: &mut Frames<S>,
    nothing: impl Fn() -> Result<(), Broken>,
) -> Result<(), Broken> {
    let (mut settled, mut goaway, mut pushes) = (false, varint::MOST, 0);
    while let Some(head) = frames.head().await? {
        if !settled && head.kind != kind::SETTINGS {
            return Err(Broken::Connection(Code::MissingSettings, "the settings do not come first"));
        }
        nothing()?;
        if !frame::is_known(head.kind) {
            frames.skip().await?;
            continue;
        }
        if head.length > FRAME_BYTES {
            return Err(Broken::Connection(Code::ExcessiveLoad, "a frame on the control stream is too long"));
        }
        let payload = frames.payload().await?;
        match head.kind {
            kind::SETTINGS if !settled => {
                settings(&payload)?;
                settled = true;
            }
            kind::GOAWAY => {
                let id = alone(&payload)?;
                if id > goaway {
                    return Err(Broken::Connection(Code::Id, "GOAWAY takes back what was said"));
                }
                goaway = id;
            }
            kind::MAX_PUSH_ID => {
                let id = alone(&payload)?;
                if id < pushes {
                    return Err(Broken::Connection(Code::Id, "MAX_PUSH_ID takes back what was said"));
                }
                pushes = id;
            }
            kind::CANCEL_PUSH => {
                alone(&payload)?;
                return Err(Broken::Connection(Code::Id, "nothing was pushed that could be cancelled"));
            }
            _ => {
                let reason = "a frame is on the control stream that must not be there";
                return Err(Broken::Connection(Code::FrameUnexpected, reason));
            }
        }
    }
    Ok(())
}

/// One integer and nothing else.
fn alone(payload: &[u8]) -> Result<u64, Broken> {
    match varint::read(payload) {
        Some((value, length)) if length == payload.len() => Ok(value),
        _ => Err(Broken::Connection(Code::Frame, "a frame has another length than it needs")),
    }
}

/// Settings (section 7.2.4). None of them changes what we send: we use no dynamic table and push nothing.
fn settings(mut payload: &[u8]) -> Result<(), Broken> {
    let mut seen = BTreeSet::new();
    while !payload.is_empty() {
        let mut next = || {
            let (value, length) = varint::read(payload)?;
            payload = payload.get(length..)?;
            Some(value)
        };
        let (Some(id), Some(_)) = (next(), next()) else {
            return Err(Broken::Connection(Code::Frame, "the settings are cut off"));
        };
        // Section 7.2.4.1: those of HTTP/2 that HTTP/3 has not.
        if matches!(id, 0x0 | 0x2..=0x5) || !seen.insert(id) {
            return Err(Broken::Connection(Code::Settings, "a setting is there that must not be, or twice"));
        }
    }
    Ok(())
}

async fn instructions<S: Source>(
    frames: &mut Frames<S>,
    code: Code,
    reason: &'static str,
    mut allows: impl FnMut(&[u8]) -> bool,
) -> Result<(), Broken> {
    while let Some(octets) = frames.octets().await? {
        if !allows(&octets) {
            return Err(Broken::Connection(code, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
