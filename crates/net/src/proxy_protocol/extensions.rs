//! What version 2 can say beside the addresses (section 2.2): types, lengths and values.

use super::Malformed;

/// What the proxy in front has said of a connection beside its addresses. Whoever is not a proxy of ours has no way to say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The protocol of the application that TLS has agreed on (`PP2_TYPE_ALPN`).
    pub alpn: Option<Box<[u8]>>,
    /// The host that the client asked for, as TLS's SNI (`PP2_TYPE_AUTHORITY`).
    pub authority: Option<Box<str>>,
    /// The proxy's name of the connection (`PP2_TYPE_UNIQUE_ID`).
    pub unique_id: Option<Box<[u8]>>,
    /// What TLS was at the proxy (`PP2_TYPE_SSL`).
    pub tls: Option<Tls>,
}

/// What TLS was at the proxy in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether the client spoke TLS (`PP2_CLIENT_SSL`).
    pub spoken: bool,
    /// Whether the client has shown a certificate, on this connection or before, that the proxy holds for good.
    pub verified: bool,
    /// The version, such as `TLSv1.3` (`PP2_SUBTYPE_SSL_VERSION`).
    pub version: Option<Box<str>>,
    /// The common name of the client's certificate (`PP2_SUBTYPE_SSL_CN`).
    pub common_name: Option<Box<str>>,
}

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
/// Longest identity that the specification allows.
const UNIQUE_ID_BYTES: usize = 128;
/// Bits of `PP2_TYPE_SSL`: TLS is spoken; a certificate was shown on this connection; one was shown in this session.
const SPOKEN: u8 = 0x01;
const SHOWN: u8 = 0x02 | 0x04;

const WRONG: Malformed = Malformed("an extension of the PROXY header is malformed");

/// Reads the extensions to their end; `header` is the whole header with them. What is not known is passed over.
pub(super) fn read(header: &[u8], extensions: &[u8]) -> Result<Option<Box<Told>>, Malformed> {
    if extensions.is_empty() {
        return Ok(None);
    }
    let mut told = Told::default();
    let mut rest = extensions;
    while let Some((kind, value, after)) = next(rest)? {
        rest = after;
        match kind {
            ALPN => told.alpn = Some(value.into()),
            AUTHORITY => told.authority = Some(text(value)?),
            CRC32C => check(header, header.len() - after.len() - value.len(), value)?,
            UNIQUE_ID if value.len() > UNIQUE_ID_BYTES => return Err(WRONG),
            UNIQUE_ID => told.unique_id = Some(value.into()),
            SSL => told.tls = Some(tls(value)?),
            _ => {}
        }
    }
    Ok((told != Told::default()).then(|| Box::new(told)))
}

/// Type, value, and what follows.
type Extension<'a> = (u8, &'a [u8], &'a [u8]);

fn next(bytes: &[u8]) -> Result<Option<Extension<'_>>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (head, rest) = bytes.split_at_checked(3).ok_or(WRONG)?;
    let [kind, high, low] = head else { return Err(WRONG) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(length).ok_or(WRONG)?;
    Ok(Some((*kind, value, rest)))
}

/// Text for people and logs: nothing that could end a line or pass for something else.
fn text(value: &[u8]) -> Result<Box<str>, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_| WRONG)?;
    if text.chars().any(char::is_control) { Err(WRONG) } else { Ok(text.into()) }
}

fn tls(value: &[u8]) -> Result<Tls, Malformed> {
    let (head, mut rest) = value.split_at_checked(5).ok_or(WRONG)?;
    let [client, verify @ ..] = head else { return Err(WRONG) };
    let mut tls = Tls {
        spoken: client & SPOKEN != 0,
        verified: client & SHOWN != 0 && verify.iter().all(|octet| *octet == 0),
        ..Tls::default()
    };
    while let Some((kind, value, after)) = next(rest)? {
        rest = after;
        match kind {
            SSL_VERSION => tls.version = Some(text(value)?),
            SSL_CN => tls.common_name = Some(text(value)?),
            _ => {}
        }
    }
    Ok(tls)
}

/// The checksum is made over the whole header with zeros in its own place, `at`.
fn check(header: &[u8], at: usize, value: &[u8]) -> Result<(), Malformed> {
    let said = <[u8; 4]>::try_from(value).map_err(|_| WRONG)?;
    let octets = header.iter().enumerate();
    let blanked = octets.map(|(place, octet)| if (at..at + 4).contains(&place) { 0 } else { *octet });
    if crc32c(blanked) == u32::from_be_bytes(said) {
        Ok(())
    } else {
        Err(Malformed("the checksum of the PROXY header is wrong"))
    }
}

/// CRC32c (RFC 9260 appendix A), bit by bit: headers are short, and rare.
pub(super) fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !octets.fold(u32::MAX, |crc, octet| {
        (0..8).fold(
            crc ^ u32::from(octet),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
            },
        )
    })
}
