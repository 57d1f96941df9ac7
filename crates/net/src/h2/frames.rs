//! The heads of HTTP/2 frames (RFC 9113 section 4.1), told from the bytes as they pass.

/// Length of a frame's head.
const HEAD: usize = 9;

/// Length of what a client sends first (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// Types of frames (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Frame {
    /// END_STREAM, for DATA and HEADERS.
    pub(crate) fn ends_stream(self) -> bool {
        self.flags & 1 != 0
    }
}

/// Finds the heads in one direction of a connection, however its bytes are cut.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Bytes until the next head begins.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    frame: Option<Frame>,
}

impl Heads {
    /// Of the client's direction.
    pub(crate) fn after_preface() -> Self {
        Self { skip: PREFACE, ..Self::default() }
    }

    /// Tells of each head that is complete with these bytes, and of each piece of a payload with its frame.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut payload: impl FnMut(Frame, &[u8]),
        mut each: impl FnMut(Frame),
    ) {
        while !bytes.is_empty() {
            let (of_frame, rest) = bytes.split_at(self.skip.min(bytes.len()));
            if let Some(frame) = self.frame
                && !of_frame.is_empty()
            {
                payload(frame, of_frame);
            }
            self.skip -= of_frame.len();
            bytes = rest;
            let take = (HEAD - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            if let Some(room) = self.head.get_mut(self.have..self.have + take) {
                room.copy_from_slice(now);
            }
            self.have += take;
            bytes = rest;
            if self.have == HEAD {
                let [a, b, c, kind, flags, d, e, f, g] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
                let frame = Frame { length, kind, flags, stream };
                (self.have, self.skip, self.frame) = (0, length, Some(frame));
                each(frame);
            }
        }
    }

    /// Whether the first frame has come as a whole.
    pub(crate) fn has_first(&self) -> bool {
        self.frame.is_some() && self.between_frames()
    }

    /// Whether a new frame could begin here.
    pub(crate) fn between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 6.5.2), told from the payloads of SETTINGS, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    entry: [u8; ENTRY],
    have: usize,
    said: Option<u32>,
}

/// Length of a setting.
const ENTRY: usize = 6;

impl Limit {
    /// More of a payload. A frame of another length than its settings have ends the connection, so nothing has to be made of it.
    pub(crate) fn feed(&mut self, payload: &[u8]) {
        for octet in payload {
            if let Some(place) = self.entry.get_mut(self.have) {
                *place = *octet;
            }
            self.have += 1;
            if self.have == ENTRY {
                self.have = 0;
                if let [0, 3, a, b, c, d] = self.entry {
                    self.said = Some(u32::from_be_bytes([a, b, c, d]));
                }
            }
        }
    }

    /// What was said last and not taken yet.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.said.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn heads_are_found_however_the_bytes_are_cut(
            lengths in prop::collection::vec(0_usize..40, 1..12),
            cuts in prop::collection::vec(1_usize..30, 1..40),
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            for (at, length) in lengths.iter().enumerate() {
                bytes.extend([0, 0, *length as u8, at as u8, 1, 0x80, 0, 0, 7]);
                bytes.extend(vec![0xff; *length]);
            }
            let mut heads = Heads::after_preface();
            let (mut found, mut passed) = (Vec::new(), 0);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let mut payloads = 0;
                let payload = |_, piece: &[u8]| payloads += piece.len();
                heads.feed(now, payload, |frame| found.push((frame.length, frame.kind, frame.stream)));
                passed += payloads;
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let wanted: Vec<_> = lengths.iter().enumerate().map(|(at, length)| (*length, at as u8, 7)).collect();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(passed, lengths.iter().sum::<usize>());
            prop_assert!(heads.between_frames());
        }

        #[test]
        fn the_limit_of_streams_is_found_however_settings_are_cut(
            settings in prop::collection::vec((1_u16..7, any::<u32>()), 0..12),
            cut in 1_usize..30,
        ) {
            let payload: Vec<u8> = settings
                .iter()
                .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
                .collect();
            let mut limit = Limit::default();
            payload.chunks(cut).for_each(|piece| limit.feed(piece));
            let wanted = settings.iter().rev().find(|(name, _)| *name == 3).map(|(_, value)| *value);
            prop_assert_eq!(limit.take(), wanted);
            prop_assert_eq!(limit.take(), None);
        }
    }
}
