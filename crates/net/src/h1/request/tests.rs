//! Request heads: tables of what is refused, and properties.

use super::*;
use crate::h1::head::{First, Limits, Scanner};
use crate::server::Refusal;
use proptest::prelude::*;

fn read(text: &[u8]) -> Result<RequestHead, Fault> {
    let limits = Limits { bytes: 8192, fields: 50, target: 1024 };
    let bytes = Bytes::copy_from_slice(text);
    let mut scanner = Scanner::new(First::Request);
    let length = scanner.scan(&bytes, &limits)?.ok_or(Fault::Malformed("the head is not whole"))?;
    parse(&bytes.slice(..length), scanner.lines(), HeaderMap::new(), limits.target)
}

fn status(text: &str) -> u16 {
    match read(text.as_bytes()) {
        Ok(_) => 200,
        Err(fault) => Refusal::from(fault).status.as_u16(),
    }
}

/// The strictness of the request head, one line for each rule. What is not here, is in `head/tests.rs`.
#[track_caller]
fn check(cases: &[(&str, u16)]) {
    for (text, expected) in cases {
        assert_eq!(status(text), *expected, "{text:?}: {:?}", read(text.as_bytes()).err());
    }
}

#[test]
fn an_expectation_that_means_nothing_is_not_passed_on() {
    for (text, left, waits) in [
        ("POST / HTTP/1.0\r\nExpect: anything\r\n\r\n", false, false),
        ("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", false, false),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", false, false),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\nExpect: 100-continue\r\n\r\n", true, true),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", true, true),
    ] {
        let head = read(text.as_bytes()).expect(text);
        assert_eq!((head.headers.contains_key("expect"), head.expects_continue), (left, waits), "{text:?}");
    }
    assert_eq!(status("POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\nExpect: x\r\n\r\n"), 417);
}

#[test]
fn request_lines_with_two_readings_are_refused() {
    check(&[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("GET\r\nHost: a\r\n\r\n", 400),
        ("GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GÉT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G\u{0}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("AVERYVERYLONGMETHODTHATNOBODYKNOWS / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400),
        ("GET / ICY/1.1\r\nHost: a\r\n\r\n", 400),
    ]);
}

#[test]
fn targets_with_two_readings_are_refused() {
    check(&[
        ("GET /a?b=c|d{e}&f=[g]^h`i\\j HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /?100% HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a.example:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 200),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET HTTP://A/b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.0\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ]);
}

#[test]
fn hosts_with_two_readings_are_refused() {
    check(&[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: %4\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: é\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a_b.example:8080\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 200),
    ]);
}

#[test]
fn framings_with_two_readings_are_refused() {
    check(&[
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n", 417),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 417),
        ("POST / HTTP/1.0\r\nExpect: anything\r\n\r\n", 200),
    ]);
}

#[test]
fn the_target_is_given_on_in_one_form() {
    for (line, uri) in [
        ("GET /a?b HTTP/1.1", "/a?b"),
        ("GET http://h/a?b HTTP/1.1", "/a?b"),
        ("GET http://h?b HTTP/1.1", "/?b"),
        ("GET http://h HTTP/1.1", "/"),
        ("OPTIONS http://h HTTP/1.1", "*"),
        ("OPTIONS * HTTP/1.1", "*"),
        ("CONNECT h:1 HTTP/1.1", "h:1"),
        ("GET //evil/x HTTP/1.1", "//evil/x"),
    ] {
        let head = read(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()).expect(line);
        assert_eq!(head.uri, *uri, "{line}");
        assert_eq!(head.uri.authority().is_some(), line.starts_with("CONNECT"), "{line}");
    }
}

#[test]
fn framing_and_persistence_follow_the_fields() {
    let read = |text: &str| read(text.as_bytes()).unwrap();
    assert_eq!(read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").framing, Framing::Length(5));
    assert_eq!(read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").framing, Framing::Empty);
    assert_eq!(
        read("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n").framing,
        Framing::Chunked
    );
    assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\n\r\n").framing, Framing::Empty);
    assert!(read("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
    assert!(!read("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n").keep_alive);
    assert!(!read("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn authorities_split() {
    assert_eq!(split_authority(b"a.b:80"), Some((&b"a.b"[..], Some(80))));
    assert_eq!(split_authority(b"[::1]:8"), Some((&b"[::1]"[..], Some(8))));
    assert_eq!(split_authority(b"[::1]"), Some((&b"[::1]"[..], None)));
    assert_eq!(split_authority(b""), None);
    assert_eq!(split_authority(b":80"), None);
    assert_eq!(split_authority(b"["), None);
    assert_eq!(split_authority(b"[]"), None);
}

proptest! {
    /// The encoder writes what the parser reads, and the parser reads it back as it was.
    #[test]
    fn what_is_written_is_read_back(
        method in "[A-Z]{1,8}",
        path in "(/[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,8}){1,4}",
        query in prop::option::of("[a-zA-Z0-9=&|{}^`/?@:%-]{0,16}"),
        host in "[a-z0-9.-]{1,12}(:[1-9][0-9]{0,3})?",
        fields in prop::collection::btree_map("x-[a-z0-9-]{1,10}", "[!-~]([ -~]{0,10}[!-~])?", 0..8),
        length in prop::option::of(0usize..2000),
    ) {
        prop_assume!(method != "CONNECT");
        let target = match query { Some(query) => format!("{path}?{query}"), None => path };
        let mut made = http::Request::builder().method(method.as_str()).uri(target.as_str()).header("host", &host);
        for (name, value) in &fields {
            made = made.header(name, value);
        }
        let made = made.body(crate::Body::full(vec![b'x'; length.unwrap_or(0)])).unwrap();
        let plan = crate::h1::encode::plan_request(&made);
        let mut out = BytesMut::new();
        crate::h1::encode::request_head(&made, plan, &mut out).unwrap();
        let head = read(&out).unwrap();
        prop_assert_eq!(head.method.as_str(), method);
        prop_assert_eq!(head.uri.to_string(), target);
        prop_assert_eq!(&head.headers["host"], host.as_str());
        for (name, value) in &fields {
            prop_assert_eq!(&head.headers[name], value.as_str());
        }
        let expected = match length.unwrap_or(0) as u64 { 0 => Framing::Empty, length => Framing::Length(length) };
        prop_assert_eq!(head.framing, expected);
    }

    #[test]
    fn no_request_line_panics(line in prop::collection::vec(any::<u8>(), 0..60), host in "[ -~]{0,20}") {
        let mut text = line;
        text.extend_from_slice(format!("\r\nHost: {host}\r\n\r\n").as_bytes());
        let _ = read(&text);
        let _ = split_authority(host.as_bytes());
    }
}
