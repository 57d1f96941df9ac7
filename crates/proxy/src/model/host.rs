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
