//! Which header fields cross the proxy (RFC 9110 section 7.6.1), and edits that routes ask for.
//!
//! Removed both ways: `Connection` and what it names, `Keep-Alive`, `Proxy-Connection`, `Transfer-Encoding`
//! (framing belongs to each hop), `Upgrade` unless the exchange is an upgrade, and `Proxy-Authenticate`,
//! `Proxy-Authorization` (we are no forward proxy). `TE` is cut down to `trailers`, and only HTTP/2 upstreams get
//! it. `Trailer` stays, since trailers are passed on. A caller cannot use `Connection` to strip fields that it
//! has no business with ("hop-by-hop abuse"): names of end-to-end fields in it are ignored. `Upgrade: h2c` is never
//! passed on; it would hide what follows from us.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tutti_ports::routing::HeaderEdit;

/// Fields that `Connection` cannot remove.
const END_TO_END: &[&str] = &[
    "host",
    "authorization",
    "cookie",
    "content-length",
    "content-type",
    "content-encoding",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "origin",
    "referer",
    "set-cookie",
    "cache-control",
    "date",
    "location",
];

/// Says that a fallback has answered.
pub const FALLBACK: HeaderName = HeaderName::from_static("x-tutti-fallback");

/// What we say in answers.
const OURS: [HeaderName; 3] =
    [HeaderName::from_static("x-tutti-fault"), HeaderName::from_static("x-tutti-explain"), FALLBACK];

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a request asks its next hop to become. A WebSocket begins with GET (RFC 6455 section 4.1).
pub fn upgrade(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(header::UPGRADE)?;
    if method != Method::GET && names(asked, b"websocket") {
        return None;
    }
    let named = tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let plain = asked.as_bytes().split(|byte| *byte == b',').all(|part| {
        let part = part.trim_ascii();
        !part.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
    });
    (named && plain).then(|| asked.clone())
}

/// Whether what a service becomes is what it was asked for (RFC 9110 section 7.8).
pub fn agrees(asked: &HeaderValue, becomes: &HeaderValue) -> bool {
    let becomes = becomes.as_bytes().trim_ascii();
    !becomes.is_empty() && becomes.split(|byte| *byte == b',').all(|one| names(asked, one.trim_ascii()))
}

fn names(list: &HeaderValue, one: &[u8]) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(one))
}

/// Whether an upgrade is to a WebSocket.
pub fn is_websocket(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// Takes off what concerns one hop only (RFC 9110 section 7.6.1). Whether the peer accepts trailers.
pub fn strip(headers: &mut HeaderMap) -> bool {
    // One look at all names costs less than one look for each of these.
    let found = headers.keys().map(|name| of_one_hop(name.as_str())).fold(0, |all, one| all | one);
    if found == 0 {
        return false;
    }
    let trailers =
        found & TE != 0 && tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    if found & CONNECTION != 0 {
        strip_named(headers);
    }
    for (one, name) in [
        (TE, header::TE),
        (UPGRADE, header::UPGRADE),
        (CODING, header::TRANSFER_ENCODING),
        (AUTHORIZATION, header::PROXY_AUTHORIZATION),
        (AUTHENTICATE, header::PROXY_AUTHENTICATE),
        (KEPT, KEEP_ALIVE),
        (PROXY, PROXY_CONNECTION),
        (SETTINGS, HTTP2_SETTINGS),
    ] {
        if found & one != 0 {
            headers.remove(name);
        }
    }
    trailers
}

const CONNECTION: u16 = 1;
const TE: u16 = 1 << 1;
const UPGRADE: u16 = 1 << 2;
const CODING: u16 = 1 << 3;
const AUTHORIZATION: u16 = 1 << 4;
const AUTHENTICATE: u16 = 1 << 5;
const KEPT: u16 = 1 << 6;
const PROXY: u16 = 1 << 7;
const SETTINGS: u16 = 1 << 8;

/// Which of the fields of one hop it is; 0 if none.
fn of_one_hop(name: &str) -> u16 {
    match name {
        "connection" => CONNECTION,
        "te" => TE,
        "upgrade" => UPGRADE,
        "transfer-encoding" => CODING,
        "proxy-authorization" => AUTHORIZATION,
        "proxy-authenticate" => AUTHENTICATE,
        "keep-alive" => KEPT,
        "proxy-connection" => PROXY,
        "http2-settings" => SETTINGS,
        _ => 0,
    }
}

/// Removes from an answer what nobody but we may say in it: whose fault it is, that a fallback stands in, and why it is what it is.
pub fn disown(headers: &mut HeaderMap) {
    // Nearly no answer has one, and one look tells.
    if headers.keys().any(|name| name.as_str().starts_with("x-tutti-")) {
        for name in OURS {
            headers.remove(name);
        }
    }
}

/// Removes from a request's trailers what was decided when its head came: some servers add trailers to the fields that
/// they have, and who the client is and in which trace it stands must not change by that. What no message may have in
/// its trailers (RFC 9110 section 6.5.1) is refused or dropped by the codec for HTTP/1.1; HTTP/2 would pass it.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    super::forwarded::remove_claims(trailers);
    for name in ["x-request-id", "traceparent", "tracestate"] {
        trailers.remove(name);
    }
    for name in
        [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE, header::CONTENT_TYPE]
    {
        trailers.remove(name);
    }
}

/// Makes one `Cookie` field of the several that HTTP/2 may split it into (RFC 9113 section 8.2.3): other versions, and
/// most applications, know only one.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut all = Vec::new();
    for crumb in headers.get_all(header::COOKIE) {
        if !all.is_empty() {
            all.extend_from_slice(b"; ");
        }
        all.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_bytes(&all) {
        headers.insert(header::COOKIE, cookie);
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let simple = headers.get(header::CONNECTION).is_some_and(|value| {
        value.as_bytes().eq_ignore_ascii_case(b"keep-alive")
            || value.as_bytes().eq_ignore_ascii_case(b"close")
    });
    if !simple || headers.get_all(header::CONNECTION).iter().nth(1).is_some() {
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !END_TO_END.contains(&name.as_str()) && !super::forwarded::is_claim(name.as_str()))
            // `TE` is read by whoever called us.
            .filter(|name| name != header::TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    headers.remove(header::CONNECTION);
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|value| {
        value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
    })
}

/// An edit whose names and values have been checked.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Edit {
    /// Checks an edit. The text says what is wrong.
    pub fn compile(edit: &HeaderEdit) -> Result<Self, String> {
        let name = |text: &str| {
            let name = HeaderName::from_bytes(text.as_bytes())
                .map_err(|_| format!("{text:?} is not the name of a header field"))?;
            let framing =
                [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];
            if framing.contains(&name) {
                return Err(format!("the field {name} belongs to the connection and cannot be edited"));
            }
            Ok(name)
        };
        let pair = |(field, value): &(String, String)| {
            let value =
                HeaderValue::from_str(value).map_err(|_| format!("{value:?} is not a header value"))?;
            Ok((name(field)?, value))
        };
        Ok(Self {
            remove: edit.remove.iter().map(|field| name(field)).collect::<Result<_, String>>()?,
            set: edit.set.iter().map(pair).collect::<Result<_, String>>()?,
            add: edit.add.iter().map(pair).collect::<Result<_, String>>()?,
        })
    }

    /// Removes, sets, adds.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn stripped(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = map(fields);
        strip(&mut headers);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn fields_of_one_hop_end_here() {
        for gone in [
            &[("connection", "close")][..],
            &[("connection", "keep-alive"), ("keep-alive", "timeout=5")],
            &[("connection", "X-One, x-two"), ("x-one", "1"), ("x-two", "2")],
            &[("connection", "keep-alive"), ("connection", "x-one"), ("x-one", "1")],
            &[("keep-alive", "timeout=5")],
            &[("te", "gzip")],
            &[("te", "trailers"), ("connection", "te")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")],
            &[("http2-settings", "AAM")],
            &[("proxy-connection", "keep-alive")],
            &[("proxy-authorization", "Basic x")],
            &[("proxy-authenticate", "Basic")],
        ] {
            assert_eq!(stripped(gone), [], "{gone:?}");
        }
        let kept = [("host", "h"), ("cookie", "c"), ("trailer", "x-sum"), ("x-y", "z")];
        let all: Vec<_> = kept.iter().copied().chain([("connection", "host, cookie")]).collect();
        assert_eq!(stripped(&all), kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_we_say_nobody_says_for_us() {
        let said = [("x-tutti-fault", "client"), ("x-tutti-explain", "a"), ("x-tutti-fallback", "true")];
        let mut headers = map(&[&said[..], &[("x-tutti-fault", "tutti"), ("x-other", "1")]].concat());
        disown(&mut headers);
        assert_eq!(headers, map(&[("x-other", "1")]));
    }

    #[test]
    fn trailers_are_noticed() {
        assert!(strip(&mut map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(strip(&mut map(&[("te", "trailers"), ("connection", "te")])));
        assert!(!strip(&mut map(&[("te", "gzip")])));
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_never_h2c() {
        assert!(
            upgrade(&Method::GET, &map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]))
                .is_some()
        );
        assert!(upgrade(&Method::GET, &map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&Method::GET, &map(&[("connection", "upgrade")])).is_none());
        assert!(upgrade(&Method::GET, &map(&[("connection", "upgrade"), ("upgrade", "H2C")])).is_none());
        assert!(
            upgrade(&Method::GET, &map(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]))
                .is_none()
        );
    }

    #[test]
    fn cookies_that_were_split_are_one_again() {
        let mut headers = map(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]);
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
        let mut one = map(&[("cookie", "a=1")]);
        join_cookies(&mut one);
        assert_eq!(one["cookie"], "a=1");
    }

    #[test]
    fn edits_remove_then_set_then_add() {
        let edit = Edit::compile(&HeaderEdit {
            set: vec![("x-a".into(), "1".into())],
            add: vec![("x-a".into(), "2".into()), ("x-b".into(), "3".into())],
            remove: vec!["x-a".into(), "x-c".into()],
        })
        .unwrap();
        let mut headers = map(&[("x-a", "0"), ("x-c", "9"), ("x-b", "0")]);
        edit.apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("x-a"), all("x-b"), all("x-c")), (vec!["1", "2"], vec!["0", "3"], vec![]));
        for (name, value) in [("a b", "1"), ("x", "a\nb"), ("content-length", "3"), ("connection", "x")] {
            let edit = HeaderEdit { set: vec![(name.into(), value.into())], ..HeaderEdit::default() };
            assert!(Edit::compile(&edit).is_err(), "{name} {value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_one_hop_survives(value in "[a-zA-Z, -]{0,30}") {
            let mut headers = map(&[("x-one", "1"), ("close", "1"), ("te", "trailers")]);
            headers.append("connection", value.parse().unwrap());
            strip(&mut headers);
            prop_assert!(!headers.contains_key("connection"));
            let names_it = value.split(',').any(|token| token.trim().eq_ignore_ascii_case("x-one"));
            prop_assert_eq!(headers.contains_key("x-one"), !names_it);
        }
    }
}
