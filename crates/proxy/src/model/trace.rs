//! W3C Trace Context (www.w3.org/TR/trace-context): reading, continuing and beginning a trace; and request ids.

use tutti_core::random::Rng;

/// Where a `traceparent` of ours has the trace id.
pub const TRACE_ID: std::ops::Range<usize> = 3..35;

/// Longest `tracestate` that is passed on; the recommendation asks for at least 512 characters.
pub const TRACESTATE_BYTES: usize = 512;

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace, never 0.
    pub trace: u128,
    /// The span of the hop that we are, never 0.
    pub span: u64,
    /// The caller's span, 0 if the trace begins here.
    pub parent: u64,
    /// The trace flags; bit 0 is "sampled".
    pub flags: u8,
}

impl Context {
    /// Begins a trace, sampled.
    pub fn begin(rng: &Rng) -> Self {
        let trace = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        Self { trace: trace.max(1), span: rng.next_u64().max(1), parent: 0, flags: 1 }
    }

    /// Continues the trace that the caller's `traceparent` names, with a span of our own. `None` if it is not
    /// valid, in which case a trace must be begun and `tracestate` dropped.
    pub fn resume(traceparent: &[u8], rng: &Rng) -> Option<Self> {
        let (head, tail) = traceparent.split_at_checked(55)?;
        let [v1, v2, b'-', rest @ ..] = head else { return None };
        let version = hex(&[*v1, *v2])?;
        if version == 0xff
            || (version == 0 && !tail.is_empty())
            || !(tail.is_empty() || tail.starts_with(b"-"))
        {
            return None;
        }
        let (trace, rest) = rest.split_at_checked(32)?;
        let (parent, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let flags = hex(flags.strip_prefix(b"-")?)?;
        let (trace, parent) = (hex(trace)?, hex(parent)?);
        if trace == 0 || parent == 0 {
            return None;
        }
        // Only the bits of version 00 that are defined are passed on.
        let flags = (flags & 0b11) as u8;
        Some(Self { trace, span: rng.next_u64().max(1), parent: parent as u64, flags })
    }

    /// The `traceparent` for the next hop.
    pub fn traceparent(&self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let flags = hex_of(u32::from(self.flags));
        let (trace, span) = (self.trace_id(), hex_of_span(self.span));
        for (at, digits) in [(TRACE_ID.start, &trace[..]), (36, &span), (53, &flags[6..])] {
            if let Some(place) = out.get_mut(at..at + digits.len()) {
                place.copy_from_slice(digits);
            }
        }
        out
    }

    /// The trace id as 32 hexadecimal digits.
    pub fn trace_id(&self) -> [u8; 32] {
        let mut out = [0; 32];
        let halves = [(self.trace >> 64) as u64, self.trace as u64];
        for (digits, half) in out.chunks_exact_mut(16).zip(halves) {
            digits.copy_from_slice(&hex_of_span(half));
        }
        out
    }
}

/// Lower-case hexadecimal, at most 32 digits, as the recommendation demands.
fn hex(digits: &[u8]) -> Option<u128> {
    let mut value = 0_u128;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = (value << 4) | u128::from(nibble);
    }
    Some(value)
}

/// Eight hexadecimal digits: the nibbles are spread over as many bytes and made digits all at once.
fn hex_of(value: u32) -> [u8; 8] {
    let mut spread = u64::from(value);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each byte whose nibble is ten or more, which is a letter: those stand 39 places further than the digits.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// Sixteen hexadecimal digits.
fn hex_of_span(value: u64) -> [u8; 16] {
    let mut out = [0; 16];
    let halves = [(value >> 32) as u32, value as u32];
    for (digits, half) in out.chunks_exact_mut(8).zip(halves) {
        digits.copy_from_slice(&hex_of(half));
    }
    out
}

/// Longest request id that is taken over from a caller.
pub const REQUEST_ID_BYTES: usize = 128;

/// Whether a caller's `X-Request-Id` is passed on: bounded, and of characters that need no quoting in a log,
/// a header or a URL.
pub fn valid_request_id(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    const VALID: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued_with_a_span_of_our_own() {
        let context = Context::resume(VALID, &Rng::seeded(1)).unwrap();
        assert_eq!(context.parent, 0xb7ad_6b71_6920_3331);
        assert_ne!(context.span, context.parent);
        let next = context.traceparent();
        assert!(next.starts_with(b"00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(next.ends_with(b"-01"));
        let further = Context::resume(&next, &Rng::seeded(2)).unwrap();
        assert_eq!((further.trace, further.parent), (context.trace, context.span));
        assert_eq!(context.trace_id(), *b"0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn invalid_parents_are_not_continued() {
        let resume = |text: &str| Context::resume(text.as_bytes(), &Rng::seeded(1));
        for bad in [
            "",
            "00",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        ] {
            assert_eq!(resume(bad), None, "{bad}");
        }
        // A later version may say more.
        assert!(resume("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
    }

    #[test]
    fn request_ids_are_bounded_and_plain() {
        assert!(valid_request_id(b"7f9c-1:a/b"));
        for bad in [&b""[..], b"a b", b"a\"b", b"<x>", &[b'a'; 129]] {
            assert!(!valid_request_id(bad));
        }
    }

    proptest! {
        #[test]
        fn anything_goes_in(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Context::resume(&bytes, &Rng::seeded(1));
        }

        #[test]
        fn what_we_write_we_read(seed in any::<u64>()) {
            let begun = Context::begin(&Rng::seeded(seed));
            let next = Context::resume(&begun.traceparent(), &Rng::seeded(seed ^ 1)).unwrap();
            prop_assert_eq!((next.trace, next.parent, next.flags), (begun.trace, begun.span, 1));
        }
    }
}
