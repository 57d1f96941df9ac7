//! Strings in Huffman code (RFC 7541 section 5.2 and appendix B, which QPACK shares). Pure.
//!
//! The code is canonical: the lengths say everything, and the codes of one length follow each other in the order of the
//! symbols.

/// Longest code.
const LONGEST: usize = 30;

/// Symbols, and one for the end of a string that no string may hold.
const SYMBOLS: usize = 257;

/// How many bits each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    bits: u32,
    /// The first code.
    first: u32,
    /// How many there are.
    count: u32,
    /// Where their symbols begin in [`CODES`].
    start: u32,
}

struct Codes {
    rows: [Row; LONGEST + 1],
    /// By length, then by symbol.
    symbols: [u16; SYMBOLS],
}

static CODES: Codes = codes();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn codes() -> Codes {
    let mut rows = [Row { bits: 0, first: 0, count: 0, start: 0 }; LONGEST + 1];
    let mut symbols = [0; SYMBOLS];
    let (mut at, mut code, mut bits) = (0, 0, 1);
    while bits <= LONGEST {
        code <<= 1;
        rows[bits] = Row { bits: bits as u32, first: code, count: 0, start: at as u32 };
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                symbols[at] = symbol as u16;
                at += 1;
                code += 1;
                rows[bits].count += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    Codes { rows, symbols }
}

/// Reads a string to its end; `None` if it is not one.
pub(super) fn decode(octets: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut held, mut bits) = (0_u64, 0_u32);
    let mut octets = octets.iter();
    loop {
        while bits <= 56
            && let Some(octet) = octets.next()
        {
            held = held << 8 | u64::from(*octet);
            bits += 8;
        }
        match next(held, bits) {
            Some((symbol, taken)) => {
                out.push(u8::try_from(symbol).ok()?);
                bits -= taken;
                held &= (1 << bits) - 1;
            }
            // RFC 7541 section 5.2: what is left over are ones, fewer than eight.
            None if bits < 8 && held == (1 << bits) - 1 => return Some(()),
            None => return None,
        }
    }
}

/// The symbol at the beginning of so many bits, and how many it has.
fn next(held: u64, bits: u32) -> Option<(u16, u32)> {
    for row in CODES.rows.iter().filter(|row| row.count > 0) {
        let rest = bits.checked_sub(row.bits)?;
        let code = u32::try_from(held >> rest).ok()?.checked_sub(row.first);
        if let Some(code) = code.filter(|code| *code < row.count) {
            return Some((*CODES.symbols.get((row.start + code) as usize)?, row.bits));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode(octets, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541 appendix C.4 and C.6.
        let domain = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(read(&domain).unwrap(), "www.example.com");
        assert_eq!(read(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), "no-cache");
        assert_eq!(read(&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]).unwrap(), "custom-key");
        assert_eq!(read(&[0x64, 0x02]).unwrap(), "302");
        assert_eq!(read(&[]).unwrap(), "");
    }

    #[test]
    fn every_symbol_is_read_and_the_end_is_not() {
        let mut codes: Vec<(u16, u32, u32)> = Vec::new();
        for row in CODES.rows {
            for code in 0..row.count {
                codes.push((CODES.symbols[(row.start + code) as usize], row.first + code, row.bits));
            }
        }
        assert_eq!(codes.len(), SYMBOLS);
        for (symbol, code, bits) in codes {
            // Padded with ones.
            let padded = (u64::from(code) << (40 - bits)) | ((1 << (40 - bits)) - 1);
            let octets = &padded.to_be_bytes()[3..][..bits.div_ceil(8) as usize];
            let mut out = Vec::new();
            let read = decode(octets, &mut out).map(|()| out);
            assert_eq!(read, u8::try_from(symbol).ok().map(|symbol| vec![symbol]), "{symbol}");
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        // "a" is 00011.
        assert_eq!(read(&[0b0001_1111]).unwrap(), "a");
        assert_eq!(read(&[0b0001_1110]), None);
        assert_eq!(read(&[0b0001_1111, 0xff]), None);
        assert_eq!(read(&[0xff]), None);
    }
}
