//! The PROXY protocol, versions 1 and 2 (HAProxy's specification, 2020): who the client of a connection is, told by the
//! proxy in front before anything else.
//!
//! Bytes in, values out; no I/O. Strict: version 1 is exactly one line as the specification writes it, version 2 has
//! exactly the length it says. Bounded: a longer header than [`limits::PROXY_HEADER_BYTES`] is refused unread.

mod extensions;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tutti_core::limits;

pub use extensions::{Tls, Told};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8; 6] = b"PROXY ";
/// Longest line of version 1, with its end (section 2.1).
const LINE_BYTES: usize = 107;

/// The version that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is the proxy's own (a health check), or of a kind that has no addresses: those of the socket count.
    Own,
    /// It is for this client, who had asked for this address.
    For {
        /// The client.
        from: SocketAddr,
        /// What it had connected to.
        to: SocketAddr,
        /// What else is said.
        told: Option<Box<Told>>,
    },
}

/// What is wrong, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Reads a header from the first bytes of a connection, and says how long it is. `None`: more bytes are needed.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        if bytes.len() < SIGNATURE.len() { Ok(None) } else { binary(bytes) }
    } else if begins(WORD) {
        if bytes.len() < WORD.len() { Ok(None) } else { line(bytes) }
    } else {
        Err(Malformed("the connection does not begin with a PROXY header"))
    }
}

fn line(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let Some(end) = bytes.iter().take(LINE_BYTES).position(|octet| *octet == b'\n') else {
        let long = bytes.len() >= LINE_BYTES;
        return if long { Err(Malformed("the PROXY line is too long")) } else { Ok(None) };
    };
    const WRONG: Malformed = Malformed("the PROXY line is malformed");
    let text = bytes.get(WORD.len()..end).and_then(|text| text.strip_suffix(b"\r")).ok_or(WRONG)?;
    let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        // What follows is to be ignored.
        return Ok(Some((Header::Own, end + 1)));
    }
    let mut words = text.split(' ');
    let family = words.next().ok_or(WRONG)?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (from, to) = (address().ok_or(WRONG)?, address().ok_or(WRONG)?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let plain =
            word.bytes().all(|octet| octet.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_| plain)
    };
    let (from_port, to_port) = (port().ok_or(WRONG)?, port().ok_or(WRONG)?);
    if words.next().is_some() {
        return Err(WRONG);
    }
    let (from, to) = (SocketAddr::new(from, from_port), SocketAddr::new(to, to_port));
    let header = Header::For { from, to, told: None };
    Ok(Some((header, end + 1)))
}

fn binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    const HEAD: usize = 16;
    let Some(kind) = bytes.get(12) else { return Ok(None) };
    let own = match kind {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("the PROXY header has an unknown version or command")),
    };
    let Some([family, high, low]) = bytes.get(13..HEAD) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if HEAD + length > limits::PROXY_HEADER_BYTES {
        return Err(Malformed("the PROXY header is too long"));
    }
    let Some(content) = bytes.get(HEAD..HEAD + length) else { return Ok(None) };
    let (from, to, rest) = match (own, family) {
        // What stands there is of no interest (section 2.2), and neither are addresses that are none of the Internet's.
        (true, _) | (_, 0x00) => return Ok(Some((Header::Own, HEAD + length))),
        (_, 0x11) => addresses::<4, 12>(content)?,
        (_, 0x21) => addresses::<16, 36>(content)?,
        _ => return Err(Malformed("the PROXY header is of a family that does not belong to TCP")),
    };
    let told = extensions::read(bytes.get(..HEAD + length).unwrap_or_default(), rest)?;
    Ok(Some((Header::For { from, to, told }, HEAD + length)))
}

/// Two addresses of `A` bytes and two ports, `ALL` bytes together; and what follows.
fn addresses<const A: usize, const ALL: usize>(
    content: &[u8],
) -> Result<(SocketAddr, SocketAddr, &[u8]), Malformed>
where
    IpAddr: From<[u8; A]>,
{
    const SHORT: Malformed = Malformed("the PROXY header is shorter than its addresses");
    let (mine, rest) = content.split_at_checked(ALL).ok_or(SHORT)?;
    let octets = |at: usize| mine.get(at..at + A).and_then(|octets| <[u8; A]>::try_from(octets).ok());
    let port = |at: usize| mine.get(at..at + 2).and_then(|octets| <[u8; 2]>::try_from(octets).ok());
    let end = |at: usize, port_at: usize| {
        let port = port(port_at).ok_or(SHORT)?;
        Ok(SocketAddr::new(IpAddr::from(octets(at).ok_or(SHORT)?), u16::from_be_bytes(port)))
    };
    Ok((end(0, 2 * A)?, end(A, 2 * A + 2)?, rest))
}

/// Whether a connection that begins so may begin with a header. For proxies that need not send one.
pub fn may_begin(bytes: &[u8]) -> bool {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    begins(SIGNATURE) || begins(WORD)
}

/// Writes a header; `None` for a connection of our own.
pub fn write(version: Version, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    match version {
        Version::V1 => write_line(client),
        Version::V2 => write_binary(client),
    }
}

fn write_line(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((from, to)) = client.map(same_family) else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let text = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
    text.into_bytes()
}

fn write_binary(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let Some((from, to)) = client.map(same_family) else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return out;
    };
    out.push(0x21);
    out.extend_from_slice(if from.is_ipv4() { &[0x11, 0, 12] } else { &[0x21, 0, 36] });
    for address in [from, to] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out
}

/// Both addresses as IPv4 if both are, else as IPv6.
fn same_family((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (from, to) = (plain(from), plain(to));
    let wide = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (wide(from), wide(to)) }
}

/// What must hold whatever comes: a header has the length that it says, and how its bytes arrive does not matter. For the
/// fuzz target in `/fuzz`, and for the tests. Panics when it does not hold.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let whole = read(data);
    for cut in [data.len() / 2, data.len().saturating_sub(1), usize::from(data.last().copied().unwrap_or(0))]
    {
        match read(data.get(..cut).unwrap_or(data)) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole, "more bytes change what was decided"),
        }
    }
    let Ok(Some((header, length))) = &whole else { return };
    assert!(*length <= data.len() && *length <= limits::PROXY_HEADER_BYTES && may_begin(data));
    assert_eq!(read(data.get(..*length).unwrap_or_default()), whole);
    assert_eq!(read(data.get(..length - 1).unwrap_or_default()), Ok(None));
    let client = match header {
        Header::Own => None,
        Header::For { from, to, .. } => Some(same_family((*from, *to))),
    };
    for version in [Version::V1, Version::V2] {
        let written = write(version, client);
        let again = client.map_or(Header::Own, |(from, to)| Header::For { from, to, told: None });
        assert_eq!(read(&written), Ok(Some((again, written.len()))), "we would not read what we wrote");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn client(from: &str, to: &str) -> Header {
        Header::For { from: addr(from), to: addr(to), told: None }
    }

    /// A header with these extensions.
    fn extended(extensions: &[u8]) -> Vec<u8> {
        let mut header = write(Version::V2, Some((addr("192.0.2.1:1"), addr("198.51.100.2:443"))));
        header[14..16].copy_from_slice(&(12 + extensions.len() as u16).to_be_bytes());
        header.extend_from_slice(extensions);
        header
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
        out
    }

    #[test]
    fn what_else_is_said_is_read_and_the_rest_passed_over() {
        let mut tls = vec![0x07, 0, 0, 0, 0];
        tls.extend(extension(0x21, b"TLSv1.3"));
        tls.extend(extension(0x22, b"ann"));
        tls.extend(extension(0x23, b"TLS_AES_128_GCM_SHA256"));
        let all: Vec<u8> = [
            extension(0x01, b"h2"),
            extension(0x02, b"shop.test"),
            extension(0x04, b"padding"),
            extension(0x05, b"id-1"),
            extension(0x20, &tls),
            extension(0x30, b"blue"),
            extension(0xea, &[1, 0, 0, 0]),
        ]
        .concat();
        let header = extended(&all);
        let Ok(Some((Header::For { told: Some(told), .. }, length))) = read(&header) else {
            panic!("{:?}", read(&header))
        };
        assert_eq!(length, header.len());
        assert_eq!((told.alpn.as_deref(), told.authority.as_deref()), (Some(&b"h2"[..]), Some("shop.test")));
        assert_eq!(told.unique_id.as_deref(), Some(&b"id-1"[..]));
        let tls = told.tls.unwrap();
        assert!(tls.spoken && tls.verified);
        assert_eq!((tls.version.as_deref(), tls.common_name.as_deref()), (Some("TLSv1.3"), Some("ann")));
        for bad in [
            extension(0x02, b"a\nb"),
            extension(0x02, &[0xff]),
            extension(0x05, &[b'x'; 129]),
            extension(0x20, &[1, 0, 0]),
            extension(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9]),
            extension(0x03, &[0; 3]),
            vec![0x02, 0],
        ] {
            assert!(read(&extended(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn checksums_are_checked() {
        // The value that every description of CRC-32C gives.
        assert_eq!(extensions::crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let blank = [extension(0x02, b"shop.test"), extension(0x03, &[0; 4]), extension(0x05, b"1")].concat();
        let mut header = extended(&blank);
        let sum = extensions::crc32c(header.iter().copied()).to_be_bytes();
        let at = header.len() - 4 - 4;
        assert!(read(&header).is_err());
        header[at..at + 4].copy_from_slice(&sum);
        assert!(matches!(read(&header), Ok(Some(_))));
        // But for the place that says that it is a checksum.
        for place in (16..header.len()).filter(|place| *place != at - 3) {
            let mut changed = header.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "{place}");
        }
    }

    #[test]
    fn lines_are_read_as_the_specification_writes_them() {
        let good = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET /";
        let header = client("192.0.2.1:56324", "198.51.100.2:443");
        assert_eq!(read(good), Ok(Some((header, good.len() - 5))));
        let six = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        let header = client("[2001:db8::1]:1", "[::1]:2");
        assert_eq!(read(six), Ok(Some((header, six.len()))));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(Some((Header::Own, 15))));
        assert_eq!(read(b"PROXY UNKNOWN what ever\r\n"), Ok(Some((Header::Own, 25))));
        for bad in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.1 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.1 1 443\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY \r\n",
            "GET / HTTP/1.1\r\n",
            "proxy TCP4",
            "\r\n\r\n\0\r\nQUIX",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut long = b"PROXY UNKNOWN ".to_vec();
        long.resize(LINE_BYTES, b'x');
        assert!(read(&long).is_err());
        assert_eq!(read(&long[..LINE_BYTES - 1]), Ok(None));
    }

    #[test]
    fn binary_headers_have_exactly_their_length() {
        let good = write(Version::V2, Some((addr("192.0.2.1:1"), addr("198.51.100.2:443"))));
        let header = client("192.0.2.1:1", "198.51.100.2:443");
        assert_eq!(read(&good), Ok(Some((header.clone(), good.len()))));
        assert_eq!(read(&write(Version::V2, None)), Ok(Some((Header::Own, 16))));
        let with = |at: usize, octets: &[u8]| {
            let mut changed = good.clone();
            changed[at..at + octets.len()].copy_from_slice(octets);
            changed
        };
        for (bad, why) in [
            (with(12, &[0x11]), "version 1"),
            (with(12, &[0x22]), "an unknown command"),
            (with(13, &[0x12]), "datagrams"),
            (with(13, &[0x31]), "a Unix socket"),
            (with(13, &[0x21]), "addresses that are longer"),
            (with(14, &[0xff, 0xff]), "too long"),
        ] {
            assert!(read(&bad).is_err(), "{why}");
        }
        let extended = |extension: &[u8]| {
            let mut longer = with(14, &(12 + extension.len() as u16).to_be_bytes());
            longer.extend_from_slice(extension);
            read(&longer)
        };
        assert_eq!(extended(&[4, 0, 3, b'a', b'b', b'c']), Ok(Some((header, 34))));
        assert!(extended(&[2, 0, 4, b'a', b'b', b'c']).is_err());
        assert!(extended(&[2, 0]).is_err());
    }

    #[test]
    fn the_seeds_and_their_mutations() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/proxy_header");
        for file in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(file.unwrap().path()).unwrap();
            fuzz(&seed);
            for at in 0..seed.len() {
                for octet in [0, b' ', seed[at].wrapping_add(1), 0xff] {
                    let mut changed = seed.clone();
                    changed[at] = octet;
                    fuzz(&changed);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(from: SocketAddr, to: SocketAddr, v2: bool, rest: Vec<u8>) {
            let plain = |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port());
            let client = (plain(from), plain(to));
            let written = write(if v2 { Version::V2 } else { Version::V1 }, Some(client));
            let (from, to) = same_family(client);
            for cut in 0..written.len() {
                prop_assert_eq!(read(&written[..cut]), Ok(None));
            }
            let length = written.len();
            let all: Vec<u8> = written.into_iter().chain(rest).collect();
            prop_assert_eq!(read(&all), Ok(Some((Header::For { from, to, told: None }, length))));
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes: Vec<u8>, v2: bool, keep in 0usize..20) {
            let start = write(if v2 { Version::V2 } else { Version::V1 }, Some((addr("1.2.3.4:5"), addr("6.7.8.9:10"))));
            bytes.splice(..0, start.into_iter().take(keep));
            fuzz(&bytes);
        }
    }
}
