//! Values of fields that share the buffer they were read into or made in.

use bytes::Bytes;
use http::HeaderValue;
use tutti_core::octets;

/// The value, if it may be one (RFC 9110 section 5.5): no control character but HTAB. It keeps the memory of the bytes.
pub fn value(bytes: Bytes) -> Option<HeaderValue> {
    if octets::any(&bytes, |eight| eight.below(b' ') | eight.is(0x7f)) {
        // Perhaps a tab, which is rare.
        return HeaderValue::from_maybe_shared(bytes).ok();
    }
    #[expect(unsafe_code, reason = "the safe way looks at each octet once more, one by one")]
    // SAFETY: everything from the blank on but DEL may stand in a `HeaderValue`, and there is nothing else.
    Some(unsafe { HeaderValue::from_maybe_shared_unchecked(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_a_value_is_what_the_crate_says() {
        for octet in 0..=u8::MAX {
            for length in [1, 7, 8, 9, 23] {
                for at in [0, length - 1] {
                    let mut octets = vec![b'x'; length];
                    octets[at] = octet;
                    let same = HeaderValue::from_bytes(&octets).ok();
                    assert_eq!(value(Bytes::from(octets)), same, "{octet:#x} at {at} of {length}");
                }
            }
        }
        assert_eq!(value(Bytes::new()), Some(HeaderValue::from_static("")));
    }
}
