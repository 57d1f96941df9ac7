//! The host that a request names, in the one form in which routes know it.

use std::borrow::Cow;

/// Splits `host:port`; brackets of an IPv6 address stay with the host.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            match port.parse() {
                Ok(port) if host.len() + 1 < authority.len() => (host, Some(port)),
                _ => (authority, None),
            }
        }
        _ => (authority, None),
    }
}

/// The host of a `Host` field as routes know it: lower case, no port, no trailing dot. `None` if it is not a
/// host (RFC 3986 section 3.2.2, without user information, percent-encoding and empty labels).
pub fn host_key(authority: &str) -> Option<Cow<'_, str>> {
    simple(authority).map(Cow::Borrowed).or_else(|| general(authority))
}

fn general(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = split_port(authority);
    let host = if port.is_none() { host.strip_suffix(':').unwrap_or(host) } else { host };
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()?;
    } else {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
        if !host.bytes().all(fine) {
            return None;
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // `a..` is not `a`, `.test` is not below `test`, and a host is not nothing.
    if host.split('.').any(str::is_empty) && !authority.is_empty() {
        return None;
    }
    if host.len() > tutti_core::limits::HOST_BYTES {
        return None;
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(Cow::Owned(host.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(host))
    }
}

/// The host of what nearly every client sends: lower-case names with dots between them, and a port or none. `None` for everything
/// that wants a closer look.
fn simple(authority: &str) -> Option<&str> {
    let mut before = Class::Dot;
    let mut length = 0;
    for byte in authority.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other);
        match class {
            Class::Label => {}
            Class::Dot if before != Class::Dot => {}
            Class::Colon => break,
            Class::Dot | Class::Other => return None,
        }
        before = class;
        length += 1;
    }
    let (host, port) = authority.split_at_checked(length)?;
    let numbered = port.strip_prefix(':').is_none_or(|digits| {
        // Of the same length, the order of texts is that of numbers.
        (digits.len() < 5 && !digits.is_empty() || digits.len() == 5 && digits <= "65535")
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    });
    (before == Class::Label && numbered && length <= tutti_core::limits::HOST_BYTES).then_some(host)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Label,
    Dot,
    Colon,
    Other,
}

static CLASSES: [Class; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time; the index is below 256")]
const fn classes() -> [Class; 256] {
    let mut classes = [Class::Other; 256];
    let mut at = 0;
    while at < classes.len() {
        classes[at] = match at as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => Class::Label,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            _ => Class::Other,
        };
        at += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_clients_send_needs_no_closer_look() {
        for (authority, host) in [
            ("shop.test", "shop.test"),
            ("shop.test:8443", "shop.test"),
            ("127.0.0.1:65535", "127.0.0.1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(simple(authority), Some(host));
        }
        for closer in
            ["", "Shop.test", "a..b", "a.", ".a", "a:", "a:65536", "a:+1", "[::1]", "a_b", "a:1:2", "é"]
        {
            assert_eq!(simple(closer), None, "{closer}");
        }
        assert_eq!(simple(&"a".repeat(tutti_core::limits::HOST_BYTES + 1)), None);
    }

    proptest! {
        #[test]
        fn both_looks_see_the_same(authority in "[a-cA.:0-9-]{0,12}") {
            if let Some(host) = simple(&authority) {
                let closer = general(&authority);
                prop_assert_eq!(closer.as_deref(), Some(host));
            }
        }
    }
}
