//! QPACK (RFC 9204) without a dynamic table, on both sides: we offer none, and use none of the peer's. So a field section
//! stands for itself, no stream waits for another one, and nothing is held for a peer. Pure.

mod huffman;
mod table;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

/// What each field counts for besides its octets (RFC 9114 section 4.2.2).
const PER_FIELD: usize = 32;

/// Why a field section was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed<E> {
    /// It is not one, or refers to a dynamic table.
    Broken,
    /// It is larger than was allowed.
    TooLarge,
    /// Whoever took the fields refused one.
    Refused(E),
}

/// Reads a field section whose fields may have `most` octets together, counted as RFC 9114 section 4.2.2 does, and gives each
/// field's name and value to `take`.
pub(super) fn decode<E>(
    section: &[u8],
    most: usize,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let mut reader = Reader(section);
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let mut left = most;
    reader.prefix().ok_or(Failed::Broken)?;
    while !reader.0.is_empty() {
        name.clear();
        value.clear();
        reader.field(&mut name, &mut value).ok_or(Failed::Broken)?;
        left = left.checked_sub(name.len() + value.len() + PER_FIELD).ok_or(Failed::TooLarge)?;
        take(&name, &value).map_err(Failed::Refused)?;
    }
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Section 4.5.1. The required insert count is zero, and then the base says nothing.
    fn prefix(&mut self) -> Option<()> {
        let required = self.integer(8)?;
        self.integer(7)?;
        (required == 0).then_some(())
    }

    /// Sections 4.5.2, 4.5.4 and 4.5.6; the others refer to a dynamic table.
    fn field(&mut self, name: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<()> {
        let first = *self.0.first()?;
        match first {
            0b1100_0000.. => {
                let (known, with) = table::get(self.integer(6)?)?;
                name.extend_from_slice(known.as_bytes());
                value.extend_from_slice(with.as_bytes());
                return Some(());
            }
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let (known, _) = table::get(self.integer(4)?)?;
                name.extend_from_slice(known.as_bytes());
            }
            0b0010_0000..=0b0011_1111 => self.string(3, name)?,
            _ => return None,
        }
        self.string(7, value)
    }

    /// An integer in the lowest `bits` of an octet and those that follow (RFC 7541 section 5.1). Nothing here has use for more
    /// than 32 bits.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let (first, mut rest) = self.0.split_first()?;
        let most = (1_u64 << bits) - 1;
        let mut value = u64::from(*first) & most;
        if value == most {
            let mut shift = 0;
            loop {
                let (octet, after) = rest.split_first()?;
                rest = after;
                value += u64::from(octet & 0x7f) << shift;
                shift += 7;
                if octet & 0x80 == 0 {
                    break;
                }
                if shift > 28 {
                    return None;
                }
            }
        }
        self.0 = rest;
        usize::try_from(u32::try_from(value).ok()?).ok()
    }

    /// A string whose length has so many bits in the first octet, after a bit that says whether it is in Huffman code.
    fn string(&mut self, bits: u32, out: &mut Vec<u8>) -> Option<()> {
        let coded = u32::from(*self.0.first()?) & (1 << bits) != 0;
        let length = self.integer(bits)?;
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if coded {
            return huffman::decode(octets, out);
        }
        out.extend_from_slice(octets);
        Some(())
    }
}

/// Begins a field section.
fn begin(out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
}

/// Writes the head of a response.
pub(super) fn response(status: StatusCode, headers: &HeaderMap, out: &mut BytesMut) {
    begin(out);
    field(":status", status.as_str().as_bytes(), out);
    fields(headers, out);
}

/// Writes the head of a request.
pub(super) fn request(parts: &http::request::Parts, out: &mut BytesMut) {
    begin(out);
    field(":method", parts.method.as_str().as_bytes(), out);
    field(":scheme", b"https", out);
    field(":path", parts.uri.to_string().as_bytes(), out);
    fields(&parts.headers, out);
}

/// Writes trailers.
pub(super) fn trailers(headers: &HeaderMap, out: &mut BytesMut) {
    begin(out);
    fields(headers, out);
}

/// Writes any field section.
#[cfg(test)]
pub(super) fn section(lines: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    begin(&mut out);
    for (name, value) in lines {
        field(name, value.as_bytes(), &mut out);
    }
    out
}

fn fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        field(name.as_str(), value.as_bytes(), out);
    }
}

fn field(name: &str, value: &[u8], out: &mut BytesMut) {
    match table::find(name, value) {
        Some((index, true)) => return integer(0b1100_0000, 6, index, out),
        Some((index, false)) => integer(0b0101_0000, 4, index, out),
        None => {
            integer(0b0010_0000, 3, name.len(), out);
            out.put_slice(name.as_bytes());
        }
    }
    integer(0, 7, value.len(), out);
    out.put_slice(value);
}

/// Writes an integer into the lowest `bits` of an octet, whose other bits are given, and those that follow.
fn integer(octet: u8, bits: u32, value: usize, out: &mut BytesMut) {
    let most = (1_usize << bits) - 1;
    let Some(mut rest) = value.checked_sub(most) else {
        return out.put_u8(octet | value as u8);
    };
    out.put_u8(octet | most as u8);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Instructions on the peer's encoder stream (section 4.3), which may only say that its table has no room.
#[derive(Debug, Default)]
pub(super) struct EncoderStream;

impl EncoderStream {
    /// Whether these octets may be sent to somebody who offers no dynamic table.
    pub(super) fn allows(&self, octets: &[u8]) -> bool {
        // "Set Dynamic Table Capacity" with the capacity zero.
        octets.iter().all(|octet| *octet == 0b0010_0000)
    }
}

/// Instructions on the peer's decoder stream (section 4.4). Of what we send nothing has to be acknowledged; it may say that it gives
/// up on a stream, which means nothing to us.
#[derive(Debug, Default)]
pub(super) struct DecoderStream {
    /// Octets of the instruction at hand that were read.
    read: u32,
}

impl DecoderStream {
    /// Whether these octets may be sent to somebody who uses no dynamic table.
    pub(super) fn allows(&mut self, octets: &[u8]) -> bool {
        octets.iter().all(|octet| {
            let more = match self.read {
                0 if octet & 0b1100_0000 != 0b0100_0000 => return false,
                0 => octet & 0b0011_1111 == 0b0011_1111,
                _ => octet & 0x80 != 0,
            };
            self.read = if more { self.read + 1 } else { 0 };
            self.read < 11
        })
    }
}

#[cfg(test)]
mod tests;
