//! Who the client is, and telling the upstream: `X-Forwarded-*` (de facto) and `Forwarded` (RFC 7239).
//!
//! At the edge nobody is believed who is not in the list of trusted proxies: what such a client says of itself
//! is overwritten. A trusted proxy's fields, and at the door those of our own services, are kept, and we
//! append ourselves. `Via` is not added: it would name Tutti to the whole world and no service reads it.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use tutti_ports::routing::cidr::{Cidr as Range, CidrError as RangeError};

/// `X-Forwarded-For`.
pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Port`.
pub const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Fields besides `X-Forwarded-*` by which proxies tell services who the client is, or what it asked for in truth.
/// Services believe them because "the proxy sets them"; we set none of these, so a stranger's would be all they see.
const CLAIMS: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-envoy-external-address",
    "x-tutti-consumer",
];

/// Whether a field says who the client is or what it asked for.
pub fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-") || CLAIMS.contains(&name)
}

/// Names that matter to us, and are the same to servers that turn `-` into `_` (CGI, WSGI, PHP).
const ALIASED: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "content-type",
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Removes what a stranger has no business saying: [`is_claim`], and the names that only look different, such as
/// `X_Forwarded_For`.
pub fn remove_claims(headers: &mut HeaderMap) {
    let suspicious = |name: &str| {
        if name.contains('_') {
            let name = name.replace('_', "-");
            is_claim(&name) || ALIASED.contains(&&*name)
        } else {
            is_claim(name)
        }
    };
    // Most requests have none, and nothing is allocated for them.
    while let Some(name) = headers.keys().find(|name| suspicious(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// The client behind trusted proxies: the last address in `X-Forwarded-For` that is not theirs. What is left of it
/// anybody may have written.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Range]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer;
    let values: Vec<&HeaderValue> = headers.get_all(FOR).iter().collect();
    for value in values.into_iter().rev() {
        let Ok(text) = value.to_str() else { return client };
        for part in text.rsplit(',') {
            if !is_trusted(client) {
                return client;
            }
            match address(part.trim()) {
                Some(address) => client = address,
                None => return client,
            }
        }
    }
    client
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// What is told to the upstream of one hop. Made once for a connection and host, since it rarely changes.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Whether what the caller says of itself is kept.
    pub append: bool,
    /// The peer's address.
    pub peer: HeaderValue,
    /// `http` or `https`.
    pub proto: HeaderValue,
    /// The port that was reached.
    pub port: HeaderValue,
    /// The element of `Forwarded`, without `host`.
    pub element: HeaderValue,
}

impl Stamp {
    /// Prepares the values.
    pub fn new(append: bool, peer: IpAddr, tls: bool, port: u16) -> Self {
        let peer = peer.to_canonical();
        let proto = if tls { "https" } else { "http" };
        let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
        Self {
            append,
            peer: value(&peer.to_string()),
            proto: HeaderValue::from_static(proto),
            port: HeaderValue::from(port),
            element: value(&format!("for={node};proto={proto}")),
        }
    }

    /// Writes the fields. `host` is what the client asked for.
    pub fn apply(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        if self.append {
            extend(headers, FOR, &self.peer);
            extend(headers, header::FORWARDED, &self.element);
            headers.entry(PROTO).or_insert_with(|| self.proto.clone());
            headers.entry(PORT).or_insert_with(|| self.port.clone());
            if let Some(host) = host {
                headers.entry(HOST).or_insert_with(|| host.clone());
            }
            return;
        }
        remove_claims(headers);
        headers.insert(FOR, self.peer.clone());
        headers.insert(PROTO, self.proto.clone());
        headers.insert(PORT, self.port.clone());
        headers.insert(header::FORWARDED, self.element.clone());
        if let Some(host) = host {
            headers.insert(HOST, host.clone());
        }
    }

    /// Adds the host to the element of `Forwarded`; it is quoted, since it may hold a colon.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        if host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            let mut element = self.element.to_str().unwrap_or_default().to_owned();
            let _ = write!(element, ";host=\"{host}\"");
            self.element = value(&element);
        }
        self
    }
}

/// Appends to the last value of a list field, or begins it.
fn extend(headers: &mut HeaderMap, name: HeaderName, more: &HeaderValue) {
    let mut all = Vec::new();
    for value in headers.get_all(&name) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    if all.is_empty() {
        headers.insert(name, more.clone());
        return;
    }
    all.extend_from_slice(more.as_bytes());
    headers.insert(name, HeaderValue::from_bytes(&all).unwrap_or_else(|_| more.clone()));
}

/// Text made of addresses and digits is always a header value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn joined(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn an_untrusted_client_is_overwritten() {
        let forged = [
            (FOR, "6.6.6.6"),
            (FOR, "7.7.7.7"),
            (PROTO, "https"),
            (HOST, "evil"),
            (PORT, "1"),
            (header::FORWARDED, "for=6.6.6.6"),
        ];
        let mut headers = map(&forged);
        let stamp = Stamp::new(false, "192.0.2.1".parse().unwrap(), false, 8080).with_host("shop:8080");
        stamp.apply(&mut headers, Some(&"shop:8080".parse().unwrap()));
        assert_eq!(joined(&headers, FOR), ["192.0.2.1"]);
        assert_eq!(joined(&headers, PROTO), ["http"]);
        assert_eq!(joined(&headers, HOST), ["shop:8080"]);
        assert_eq!(joined(&headers, PORT), ["8080"]);
        assert_eq!(joined(&headers, header::FORWARDED), ["for=192.0.2.1;proto=http;host=\"shop:8080\""]);
        let mut headers = map(&forged);
        stamp.apply(&mut headers, None);
        assert_eq!(joined(&headers, HOST), [] as [&str; 0]);
    }

    #[test]
    fn nothing_by_which_a_stranger_names_itself_is_left() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-real-ip",
            "true-client-ip",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
            "x-original-url",
            "x-rewrite-url",
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_real_ip",
            "content_length",
            "transfer_encoding",
            "x_request_id",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"));
        }
        headers.append("x_mine", HeaderValue::from_static("1"));
        headers.append("accept", HeaderValue::from_static("*/*"));
        let mut trusted = headers.clone();
        Stamp::new(false, "192.0.2.1".parse().unwrap(), false, 80).apply(&mut headers, None);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let ours = ["forwarded", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];
        assert_eq!(left, ["accept", ours[0], ours[1], ours[2], ours[3], "x_mine"]);
        Stamp::new(true, "192.0.2.1".parse().unwrap(), false, 80).apply(&mut trusted, None);
        assert_eq!(trusted["x-real-ip"], "6.6.6.6");
    }

    #[test]
    fn a_trusted_proxy_is_kept_and_appended_to() {
        let mut headers = map(&[(FOR, "203.0.113.9, 10.0.0.1"), (FOR, "10.0.0.2"), (PROTO, "https")]);
        Stamp::new(true, "2001:db8::1".parse().unwrap(), false, 80)
            .apply(&mut headers, Some(&"h".parse().unwrap()));
        assert_eq!(joined(&headers, FOR), ["203.0.113.9, 10.0.0.1, 10.0.0.2, 2001:db8::1"]);
        assert_eq!(joined(&headers, PROTO), ["https"]);
        assert_eq!(joined(&headers, HOST), ["h"]);
        assert_eq!(joined(&headers, header::FORWARDED), ["for=\"[2001:db8::1]\";proto=http"]);
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        let trusted: Vec<Range> = ["10.0.0.0/8", "::1"].iter().map(|text| text.parse().unwrap()).collect();
        let client = |peer: &str, chain: &[&str]| {
            let fields: Vec<_> = chain.iter().map(|value| (FOR, *value)).collect();
            client(peer.parse().unwrap(), &map(&fields), &trusted).to_string()
        };
        assert_eq!(client("192.0.2.1", &["6.6.6.6"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.7"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client("::1", &["[2001:db8::2]"]), "2001:db8::2");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let range = |text: &str| text.parse::<Range>();
        assert!(range("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(range("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(!range("192.0.2.0/31").unwrap().contains("192.0.2.2".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "a", "10.0.0.0/-1"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_writes_makes_it_trusted(text in "[0-9a-f:., \\[\\]]{0,60}") {
            let peer: IpAddr = "192.0.2.1".parse().unwrap();
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            prop_assert_eq!(client(peer, &map(&[(FOR, text.as_str())]), &trusted), peer);
        }
    }
}
