//! What the two ways to a WebSocket differ in: HTTP/1.1 proves with a key that the server has understood (RFC 6455 section
//! 1.3), HTTP/2 does without (RFC 8441 section 5). A proxy between the two makes up one side's half.

use http::HeaderValue;
use tutti_core::random::Rng;

/// What the server's answer to a key must be.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A fresh `Sec-WebSocket-Key`. It is no secret: it keeps caches and servers that do not understand from saying yes.
pub(crate) fn key() -> HeaderValue {
    let rng = Rng::from_entropy();
    let mut nonce = [0; 16];
    for part in nonce.chunks_mut(8) {
        for (octet, random) in part.iter_mut().zip(rng.next_u64().to_be_bytes()) {
            *octet = random;
        }
    }
    value(&nonce)
}

/// The `Sec-WebSocket-Accept` that answers a key.
pub fn accept(key: &HeaderValue) -> HeaderValue {
    value(&sha1(&[key.as_bytes(), MAGIC].concat()))
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::try_from(base64(bytes)).unwrap_or(HeaderValue::from_static(""))
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let octet = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            out.push(if at <= three.len() { letter } else { b'=' });
        }
    }
    out
}

/// RFC 3174. Broken as a signature and no more than a checksum here, which the protocol asks for.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        // The 80 words are made as they are needed, from the 16 before.
        let mut words = [0_u32; 16];
        for (word, four) in words.iter_mut().zip(block.chunks(4)) {
            *word = four.iter().fold(0, |all, octet| all << 8 | u32::from(*octet));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for round in 0..80 {
            let (mix, constant) = match round / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let [word, ..] = words;
            let next =
                a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
            let [w0, _, w2, _, _, _, _, _, w8, _, _, _, _, w13, _, _] = words;
            words.rotate_left(1);
            if let Some(last) = words.last_mut() {
                *last = (w13 ^ w8 ^ w2 ^ w0).rotate_left(1);
            }
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d, e]) {
            *old = old.wrapping_add(new);
        }
    }
    let mut out = [0; 20];
    for (four, word) in out.chunks_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_examples_of_the_standards() {
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&sha1(long)), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded.as_bytes());
        }
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_octets_and_fresh() {
        let (one, two) = (key(), key());
        assert_eq!(one.len(), 24);
        assert_ne!(one, two);
    }
}
