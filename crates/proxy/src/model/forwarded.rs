//! Who the client is, and telling the upstream: `X-Forwarded-*` (de facto) and `Forwarded` (RFC 7239).
//!
//! At the edge nobody is believed who is not in the list of trusted proxies: what such a client says of itself
//! is overwritten. A trusted proxy's fields, and at the door those of our own services, are kept, and we
//! append ourselves. `Via` is not added: it would name Tutti to the whole world and no service reads it.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tutti_ports::routing::{ForwardedHeader, TrustedProxies};

mod chain;

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
    "x-original-uri",
    "x-original-method",
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
        // One byte: what looks for text takes longer than the whole name is.
        if name.as_bytes().contains(&b'_') {
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

/// The scheme by which the client asked, as the fields have it that [`Stamp`] has written.
pub fn scheme(headers: &HeaderMap) -> &'static str {
    if headers.get(PROTO).is_some_and(|proto| proto == "https") { "https" } else { "http" }
}

/// The client behind trusted proxies, and with it what they have said that can be believed.
///
/// The chain of addresses is read from its right end, where the proxy that speaks to us has written: as long as an address
/// is one of the trusted proxies', the one before it is believed too. The first that is not is the client's. What
/// stands left of it anybody may have written, so it is taken off before a service sees it; so is the other field of the
/// two, which the proxies have passed on unseen, and of the others what does not say exactly one thing.
pub fn believe(peer: IpAddr, headers: &mut HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    if !headers.keys().any(|name| name == header::FORWARDED || name.as_str().starts_with("x-forwarded-")) {
        return peer.to_canonical();
    }
    let chain = match trusted.header {
        ForwardedHeader::XForwardedFor => chain::x_forwarded_for(headers),
        ForwardedHeader::Forwarded => chain::forwarded(headers),
    };
    let vouched = chain::vouched(peer, chain, trusted);
    match trusted.header {
        ForwardedHeader::XForwardedFor => keep_single(headers),
        ForwardedHeader::Forwarded => {
            // The proxies write `Forwarded`, and pass on what the client has written into these.
            [PROTO, HOST, PORT].iter().for_each(|name| drop(headers.remove(name)));
            let first = vouched.first();
            for (name, said) in [
                (PROTO, first.and_then(|one| one.proto.as_deref())),
                (HOST, first.and_then(|one| one.host.as_deref())),
            ] {
                if let Some(said) = said.and_then(|said| HeaderValue::from_str(said).ok()) {
                    headers.insert(name, said);
                }
            }
            keep_single(headers);
        }
    }
    headers.remove(FOR);
    headers.remove(header::FORWARDED);
    if let Some(client) = vouched.first() {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let elements = chain::elements(&vouched, text(&PROTO), text(&HOST));
        let addresses: Vec<String> = vouched.iter().map(|one| one.address.to_string()).collect();
        headers.insert(FOR, value(&addresses.join(", ")));
        headers.insert(header::FORWARDED, value(&elements));
        return client.address;
    }
    peer.to_canonical()
}

/// Takes off what says several things, or none: [`Stamp`] says it then.
fn keep_single(headers: &mut HeaderMap) {
    let one = |name: &HeaderName, fine: fn(&str) -> bool| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().and_then(|value| value.to_str().ok());
        all.next().is_none() && first.is_some_and(fine)
    };
    let host = |text: &str| !text.is_empty() && text.bytes().all(is_host_byte);
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let proto = |text: &str| matches!(text, "http" | "https" | "ws" | "wss");
    let gone = [(PROTO, one(&PROTO, proto)), (HOST, one(&HOST, host)), (PORT, one(&PORT, port))];
    for (name, _) in gone.into_iter().filter(|(_, fine)| !fine) {
        headers.remove(name);
    }
}

/// Whether a byte may stand in a host with a port.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)
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
            "x-original-uri",
            "x-original-method",
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

    fn proxies(ranges: &[&str], header: ForwardedHeader) -> TrustedProxies {
        TrustedProxies { ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(), header }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        let trusted = proxies(&["10.0.0.0/8", "::1"], ForwardedHeader::XForwardedFor);
        let client = |peer: &str, chain: &[&str]| {
            let fields: Vec<_> = chain.iter().map(|value| (FOR, *value)).collect();
            let mut headers = map(&fields);
            let client = believe(peer.parse().unwrap(), &mut headers, &trusted).to_string();
            (client, joined(&headers, FOR).join("|"))
        };
        let are = |client: &str, left: &str| (client.to_owned(), left.to_owned());
        let case = client("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.7"]);
        assert_eq!(case, are("203.0.113.9", "203.0.113.9, 10.0.0.7"));
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.9:4711"]), are("203.0.113.9", "203.0.113.9"));
        assert_eq!(client("::1", &["[2001:db8::2]"]), are("2001:db8::2", "2001:db8::2"));
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9"]), are("203.0.113.9", "203.0.113.9"));
        for noise in ["unknown", "", "6.6.6.6, ", "6.6.6.6, _hidden", "6.6.6.6 7.7.7.7", "\"6.6.6.6\""] {
            assert_eq!(client("10.0.0.1", &[noise]), are("10.0.0.1", ""), "{noise}");
        }
        assert_eq!(client("10.0.0.1", &[]), are("10.0.0.1", ""));
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), are("10.0.0.3", "10.0.0.3, 10.0.0.2"));
        // Of a longer chain than anybody has, the end near us counts.
        let long = vec!["10.0.0.9"; 5_000].join(", ");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", &long]).0, "10.0.0.9");
    }

    #[test]
    fn one_field_is_believed_and_the_other_follows_it() {
        let both = [
            (FOR, "203.0.113.9, 10.0.0.2"),
            (PROTO, "https"),
            (HOST, "shop.test:8443"),
            (PORT, "8443"),
            (header::FORWARDED, "for=6.6.6.6;host=evil"),
        ];
        let (peer, mut headers) = ("10.0.0.1".parse().unwrap(), map(&both));
        let trusted = proxies(&["10.0.0.0/8"], ForwardedHeader::XForwardedFor);
        assert_eq!(believe(peer, &mut headers, &trusted).to_string(), "203.0.113.9");
        let expected = "for=203.0.113.9;proto=https;host=\"shop.test:8443\", for=10.0.0.2";
        assert_eq!(joined(&headers, header::FORWARDED), [expected]);
        assert_eq!((joined(&headers, PROTO), joined(&headers, PORT)), (vec!["https"], vec!["8443"]));

        let trusted = proxies(&["10.0.0.0/8"], ForwardedHeader::Forwarded);
        let mut headers = map(&both);
        headers.insert(
            header::FORWARDED,
            value("for=6.6.6.6, For=\"[2001:db8::7]:4711\" ;Proto=https;host=\"a.test\", for=10.0.0.2;by=_x"),
        );
        assert_eq!(believe(peer, &mut headers, &trusted).to_string(), "2001:db8::7");
        assert_eq!(joined(&headers, FOR), ["2001:db8::7, 10.0.0.2"]);
        let expected = "for=\"[2001:db8::7]\";proto=https;host=\"a.test\", for=10.0.0.2";
        assert_eq!(joined(&headers, header::FORWARDED), [expected]);
        assert_eq!((joined(&headers, PROTO), joined(&headers, HOST)), (vec!["https"], vec!["a.test"]));
        assert!(joined(&headers, PORT).is_empty());
    }

    #[test]
    fn a_quote_that_a_client_left_open_makes_it_nobody_else() {
        let trusted = proxies(&["10.0.0.0/8"], ForwardedHeader::Forwarded);
        for forged in [
            "for=6.6.6.6;x=\", for=203.0.113.9",
            "for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
            "for=\"6.6.6.6\\\", for=203.0.113.9",
            "for=6.6.6.6;for=7.7.7.7",
            "for=6.6.6.6=",
            "for=unknown",
            "for=_gone",
            "for=\"2001:db8::1\"",
            "proto=https",
            "6.6.6.6",
        ] {
            let mut headers = map(&[(header::FORWARDED, forged)]);
            let client = believe("10.0.0.1".parse().unwrap(), &mut headers, &trusted);
            assert_eq!(client.to_string(), "10.0.0.1", "{forged}");
            assert!(!headers.contains_key(header::FORWARDED) && !headers.contains_key(FOR), "{forged}");
        }
    }

    #[test]
    fn what_says_several_things_says_nothing() {
        let trusted = proxies(&["10.0.0.1"], ForwardedHeader::XForwardedFor);
        for (name, values) in [
            (PROTO, &["https, http"][..]),
            (PROTO, &["http", "https"]),
            (PROTO, &["gopher"]),
            (HOST, &["a", "b"]),
            (HOST, &["a, b"]),
            (HOST, &["a\" onload="]),
            (PORT, &["443, 80"]),
            (PORT, &["0"]),
            (PORT, &["99999"]),
        ] {
            let fields: Vec<_> = values.iter().map(|value| (name.clone(), *value)).collect();
            let mut headers = map(&fields);
            believe("10.0.0.1".parse().unwrap(), &mut headers, &trusted);
            assert!(!headers.contains_key(&name), "{name} {values:?}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let range = |text: &str| text.parse::<tutti_ports::routing::Cidr>();
        assert!(range("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(range("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(!range("192.0.2.0/31").unwrap().contains("192.0.2.2".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "a", "10.0.0.0/-1"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_a_client_writes_left_of_its_own_address_changes_nothing(
            text in "[0-9a-f:.,;=\"\\\\ \\[\\]fr]{0,60}",
            header in prop_oneof![Just(ForwardedHeader::XForwardedFor), Just(ForwardedHeader::Forwarded)],
            separate: bool,
        ) {
            let (client, peer): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
            let trusted = proxies(&["10.0.0.0/8"], header);
            let (name, own) = match header {
                ForwardedHeader::XForwardedFor => (FOR, "192.0.2.1".to_owned()),
                ForwardedHeader::Forwarded => (header::FORWARDED, "for=192.0.2.1".to_owned()),
            };
            let mut headers = match separate {
                true => map(&[(name.clone(), text.as_str()), (name, own.as_str())]),
                false => map(&[(name, format!("{text}, {own}").as_str())]),
            };
            let found = believe(peer, &mut headers, &trusted);
            // An open quote may swallow the proxy's own words; then nobody is known but the proxy.
            prop_assert!(found == client || found == peer && header == ForwardedHeader::Forwarded, "{}", found);
            if found == client {
                prop_assert_eq!(joined(&headers, FOR), ["192.0.2.1"]);
            }
        }
    }
}
