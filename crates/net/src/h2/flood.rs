//! What a peer may send besides requests and answers: frames that cost us work and carry nothing.
//!
//! h2 bounds what such frames make us *hold*, but not how many of them it works through: PING, SETTINGS, PRIORITY,
//! WINDOW_UPDATE, unknown types and streams that are opened and cancelled (CVE-2019-9512, -9513, -9515, -9518,
//! CVE-2023-44487) cost the peer a few bytes each and us an answer, a look or a request to a service. So the heads of
//! the frames are watched as they pass, and each kind has an allowance that grows with time and with what is useful.
//! What a client really does is far below it: two WINDOW_UPDATE for each DATA frame it got, a PING now and then.

use tokio::time::Instant;
use tutti_core::limits;

use super::frames::{Frame, Heads, Limit, kind};
use crate::allowance::Allowance;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The peer asks.
    Server,
    /// The peer answers.
    Client,
}

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Frames that carry nothing.
    Control,
    /// Cancelled streams.
    Resets,
    /// Interim responses.
    Interim,
}

impl Flood {
    /// In fixed words, for logs.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Flood::Control => "an HTTP/2 connection carries too many control frames",
            Flood::Resets => "an HTTP/2 connection carries too many cancelled streams",
            Flood::Interim => "an HTTP/2 connection carries too many interim responses",
        }
    }
}

/// Watches the frames of one connection, both ways.
#[derive(Debug)]
pub(crate) struct Watch {
    side: Side,
    inbound: Heads,
    outbound: Heads,
    control: Allowance,
    resets: Allowance,
    interim: Allowance,
    last_stream: u32,
    streams: Limit,
}

impl Watch {
    /// A watch on a fresh connection.
    pub(crate) fn new(side: Side, now: Instant) -> Self {
        let (inbound, outbound) = match side {
            Side::Server => (Heads::after_preface(), Heads::default()),
            Side::Client => (Heads::default(), Heads::after_preface()),
        };
        let slow = limits::HTTP2_CONTROL_PER_SECOND;
        Self {
            side,
            inbound,
            outbound,
            control: Allowance::new(limits::HTTP2_CONTROL_FRAMES, slow, now),
            resets: Allowance::new(limits::HTTP2_CANCELLED, slow, now),
            interim: Allowance::new(INTERIM * limits::HTTP2_STREAMS, 0, now),
            last_stream: 0,
            streams: Limit::default(),
        }
    }

    /// Takes in what came; says what there is too much of.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Instant) -> Option<Flood> {
        let Self { side, inbound, control, resets, interim, last_stream, streams, .. } = self;
        let mut flood = None;
        let settings = |frame: Frame, payload: &[u8]| {
            if frame.kind == kind::SETTINGS && *side == Side::Client {
                streams.feed(payload);
            }
        };
        inbound.feed(bytes, settings, |frame| {
            let over = match frame.kind {
                kind::HEADERS if *side == Side::Server => {
                    *last_stream = (*last_stream).max(frame.stream);
                    control.give(PER_MESSAGE);
                    None
                }
                kind::HEADERS => interim.take(now).then_some(Flood::Interim),
                // h2 counts those that are small; the last one of a stream is one of its request.
                kind::DATA if frame.length > 0 || frame.ends_stream() => None,
                // h2 bounds them for each field section.
                kind::CONTINUATION => None,
                kind::RST_STREAM => resets.take(now).then_some(Flood::Resets),
                _ => control.take(now).then_some(Flood::Control),
            };
            flood = flood.or(over);
        });
        flood
    }

    /// Takes in what was sent.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let Self { side, outbound, control, resets, interim, .. } = self;
        outbound.feed(
            bytes,
            |_, _| {},
            |frame: Frame| match frame.kind {
                kind::HEADERS => {
                    control.give(PER_MESSAGE);
                    // An answer has begun, or a request was made: cancelling it is no more than it cost.
                    resets.give(1);
                    if *side == Side::Client {
                        interim.give(INTERIM);
                    }
                }
                kind::DATA => control.give(PER_DATA),
                _ => {}
            },
        );
    }

    /// Whether the peer has said what it can do: its settings come first (RFC 9113 section 3.4).
    pub(crate) fn is_settled(&self) -> bool {
        self.inbound.has_first()
    }

    /// How many streams at a time a server allows us since these bytes, if they say so.
    pub(crate) fn streams(&mut self) -> Option<u32> {
        self.streams.take()
    }

    /// The frame to end with (RFC 9113 section 6.8: GOAWAY with ENHANCE_YOUR_CALM), if one can be begun now.
    pub(crate) fn farewell(&self) -> Option<[u8; 17]> {
        if !self.outbound.between_frames() {
            return None;
        }
        let [a, b, c, d] = self.last_stream.to_be_bytes();
        Some([0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, ENHANCE_YOUR_CALM])
    }
}

/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u8 = 11;

/// Control frames that a message allows: windows, priorities, a ping.
const PER_MESSAGE: u32 = 4;

/// Control frames that a DATA frame of ours allows: its window, the connection's, a measurement of the way's capacity.
const PER_DATA: u32 = 4;

/// Field sections that may follow a request of ours: interim ones, the answer's and its trailers.
const INTERIM: u32 = limits::HTTP_INTERIM_RESPONSES as u32 + 2;

#[cfg(test)]
mod tests;
