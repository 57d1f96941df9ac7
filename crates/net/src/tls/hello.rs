//! The first message of a client (RFC 8446 section 4.1.2), read without a handshake: which name it asks for
//! (RFC 6066 section 3) and which protocols it speaks (RFC 7301 section 3.1).
//!
//! Bytes in, values out; no I/O. Strict: lengths must add up exactly, and what may occur once occurs once. Bounded: a
//! message that is longer than [`limits::TLS_HELLO_BYTES`] is refused before it is complete.

use tutti_core::limits;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host, in lower case and without a trailing dot.
    pub sni: Option<String>,
    /// Protocols of the application, the preferred one first.
    pub alpn: Vec<Vec<u8>>,
}

/// What is wrong, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Longest record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// Reads the message from the first bytes of a connection. `None`: more bytes are needed.
pub fn read(bytes: &[u8]) -> Result<Option<Hello>, Malformed> {
    let mut records = Bytes(bytes);
    let mut message = Vec::new();
    loop {
        if let Some(body) = body(&message)? {
            return hello(body).map(Some);
        }
        // What is here of a record's header must be right, so that noise is refused at its first byte.
        match records.0 {
            [kind, ..] if *kind != HANDSHAKE => return Err(Malformed("it is no TLS handshake")),
            [_, major, ..] if *major != 3 => return Err(Malformed("the record's version is none of TLS")),
            _ => {}
        }
        let (Some(_), Some(length)) = (records.take(3), records.u16()) else { return Ok(None) };
        let length = usize::from(length);
        if length == 0 || length > RECORD_BYTES {
            return Err(Malformed("the record's length is not allowed"));
        }
        let here = records.take(length.min(records.0.len())).unwrap_or_default();
        if message.len() + length > limits::TLS_HELLO_BYTES {
            return Err(Malformed("the first message is too long"));
        }
        message.extend_from_slice(here);
        if here.len() < length {
            // The rest of the record is missing; what is here must be right so far.
            return body(&message)?.map(hello).transpose();
        }
    }
}

/// The body of the handshake message, once all of it is here.
fn body(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut bytes = Bytes(message);
    let Some(kind) = bytes.u8() else { return Ok(None) };
    if kind != CLIENT_HELLO {
        return Err(Malformed("the first message is no ClientHello"));
    }
    let Some(length) = bytes.u24() else { return Ok(None) };
    if length > limits::TLS_HELLO_BYTES {
        return Err(Malformed("the first message is too long"));
    }
    Ok(bytes.take(length))
}

fn hello(body: &[u8]) -> Result<Hello, Malformed> {
    const SHORT: Malformed = Malformed("the ClientHello ends too early");
    let mut bytes = Bytes(body);
    let _version = bytes.u16().ok_or(SHORT)?;
    let _random = bytes.take(32).ok_or(SHORT)?;
    let session = bytes.short_vector().ok_or(SHORT)?;
    let suites = bytes.vector().ok_or(SHORT)?;
    let compression = bytes.short_vector().ok_or(SHORT)?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compression.is_empty() {
        return Err(Malformed("a vector of the ClientHello has a length that is not allowed"));
    }
    let mut hello = Hello::default();
    if bytes.0.is_empty() {
        // TLS 1.2 without extensions.
        return Ok(hello);
    }
    let mut extensions = Bytes(bytes.vector().ok_or(SHORT)?);
    if !bytes.0.is_empty() {
        return Err(Malformed("something follows the extensions"));
    }
    let (mut names, mut protocols) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(SHORT)?;
        let content = extensions.vector().ok_or(SHORT)?;
        let twice = match kind {
            SERVER_NAME => {
                hello.sni = Some(server_name(content)?);
                std::mem::replace(&mut names, true)
            }
            ALPN => {
                hello.alpn = alpn(content)?;
                std::mem::replace(&mut protocols, true)
            }
            _ => false,
        };
        if twice {
            return Err(Malformed("an extension occurs twice"));
        }
    }
    Ok(hello)
}

/// RFC 6066 section 3: a list of names, of which only one kind was ever defined, and of each kind there is one.
fn server_name(content: &[u8]) -> Result<String, Malformed> {
    const WRONG: Malformed = Malformed("the server name is malformed");
    let mut content = Bytes(content);
    let mut list = Bytes(content.vector().ok_or(WRONG)?);
    let kind = list.u8().ok_or(WRONG)?;
    let name = list.vector().ok_or(WRONG)?;
    if kind != 0 || !list.0.is_empty() || !content.0.is_empty() {
        return Err(WRONG);
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let label = |label: &[u8]| {
        let fine = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.iter().all(fine)
    };
    if name.len() > limits::HOST_BYTES || !name.split(|octet| *octet == b'.').all(label) {
        return Err(WRONG);
    }
    let name = String::from_utf8(name.to_ascii_lowercase()).map_err(|_| WRONG)?;
    // Addresses are no names.
    if name.parse::<std::net::Ipv4Addr>().is_ok() { Err(WRONG) } else { Ok(name) }
}

fn alpn(content: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    const WRONG: Malformed = Malformed("the list of protocols is malformed");
    let mut content = Bytes(content);
    let mut list = Bytes(content.vector().filter(|list| !list.is_empty()).ok_or(WRONG)?);
    if !content.0.is_empty() {
        return Err(WRONG);
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.short_vector().filter(|protocol| !protocol.is_empty()).ok_or(WRONG)?;
        protocols.push(protocol.to_vec());
    }
    Ok(protocols)
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Option<usize> {
        let high = self.u8()?;
        Some(usize::from(high) << 16 | usize::from(self.u16()?))
    }

    /// A vector whose length has one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    /// A vector whose length has two bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

/// What must hold whatever comes: how bytes arrive does not matter, a name is one that a host could have, and who takes the connection
/// then reads the same as we did. For the fuzz target in `/fuzz`, and for the tests. Panics when it does not hold.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let whole = read(data);
    if let Ok(Some(hello)) = &whole {
        let fine =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_.".contains(&octet);
        assert!(hello.sni.as_ref().is_none_or(|name| !name.is_empty() && name.bytes().all(fine)));
    }
    for cut in [data.len() / 2, data.len().saturating_sub(1), usize::from(data.last().copied().unwrap_or(0))]
    {
        match read(data.get(..cut).unwrap_or(data)) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole, "more bytes change what was decided"),
        }
    }
    let mut acceptor = rustls::server::Acceptor::default();
    let mut bytes = data;
    while !bytes.is_empty() && acceptor.read_tls(&mut bytes).is_ok_and(|read| read > 0) {
        let accepted = match acceptor.accept() {
            Ok(None) => continue,
            Ok(Some(accepted)) => accepted,
            Err(_) => return,
        };
        assert_ne!(whole, Ok(None), "rustls has enough");
        // We may be stricter.
        let Ok(Some(hello)) = whole else { return };
        let theirs = accepted.client_hello();
        let name = theirs.server_name().map(|name| name.to_ascii_lowercase());
        let name = name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name));
        assert_eq!(hello.sni.as_deref(), name, "rustls reads another name");
        let protocols: Vec<_> = theirs.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        assert_eq!(hello.alpn, protocols, "rustls reads other protocols");
        return;
    }
}

#[cfg(test)]
mod tests;
