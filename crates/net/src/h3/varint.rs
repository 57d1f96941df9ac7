//! Integers of variable length (RFC 9000 section 16): frame types, lengths, settings. Pure.

use bytes::BufMut;

/// The largest one.
pub(super) const MOST: u64 = (1 << 62) - 1;

/// How many octets an integer has, by its first one.
pub(super) fn length(first: u8) -> usize {
    1 << (first >> 6)
}

/// The integer at the beginning, and how many octets it has; `None` if it is not whole.
pub(super) fn read(octets: &[u8]) -> Option<(u64, usize)> {
    let (first, length) = (*octets.first()?, length(*octets.first()?));
    // The two highest bits say the length.
    let rest = octets.get(1..length)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |value, octet| value << 8 | u64::from(*octet)), length))
}

/// Writes an integer in as few octets as it takes; what is larger than [`MOST`] becomes that.
pub(super) fn write(out: &mut impl BufMut, value: u64) {
    match value.min(MOST) {
        value @ 0..=0x3f => out.put_u8(value as u8),
        value @ 0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        value @ 0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        value => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 9000 appendix A.1.
        let long = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(read(&long), Some((151_288_809_941_952_652, 8)));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d, 9]), Some((494_878_333, 4)));
        assert_eq!(read(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
        assert_eq!(read(&[0x25]), Some((37, 1)));
        for cut in 0..8 {
            assert_eq!(read(&long[..cut]), None);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for value in [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, MOST, u64::MAX] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(read(&out), Some((value.min(MOST), out.len())));
        }
    }
}
