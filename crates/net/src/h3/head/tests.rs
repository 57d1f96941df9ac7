//! What is malformed, what is refused, what passes.

use super::*;
use crate::h3::qpack::section;

const LIMITS: Limits = Limits { octets: 4 << 10, fields: 10, target: 100 };

fn read(lines: &[(&str, &str)]) -> Result<Head, Fault> {
    request(&section(lines), LIMITS)
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "shop.test"), (":path", "/a?b=c")];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GET[..], more].concat()
}

fn but(name: &str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    GET.iter()
        .filter_map(
            |(known, old)| {
                if *known == name { value.map(|value| (*known, value)) } else { Some((*known, *old)) }
            },
        )
        .collect()
}

#[test]
fn a_request_has_our_form() {
    let head = read(&with(&[("accept", "*/*"), ("content-length", "12"), ("te", "trailers")])).unwrap();
    let (parts, ()) = head.request.into_parts();
    assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_3));
    assert_eq!(parts.uri.to_string(), "/a?b=c");
    assert_eq!(parts.headers["host"], "shop.test");
    assert_eq!(head.length, Some(12));
    let host = read(&[&but(":authority", None)[..], &[("host", "shop.test:8443")]].concat()).unwrap();
    assert_eq!(host.request.headers()["host"], "shop.test:8443");
    assert!(read(&with(&[("host", "SHOP.test")])).is_ok());
    assert_eq!(read(&[("x", "y")]).unwrap_err(), Fault::Malformed("a pseudo-header field is missing"));
}

#[test]
fn what_is_malformed_is_told_so() {
    let late = [&[("accept", "*/*")], &GET[..]].concat();
    let mut long = with(&[("content-length", "1"), ("content-length", "1")]);
    for lines in [
        late,
        but(":method", None),
        but(":method", Some("G T")),
        but(":scheme", None),
        but(":scheme", Some("ftp")),
        but(":path", None),
        but(":path", Some("")),
        but(":authority", None),
        but(":authority", Some("")),
        with(&[(":path", "/b")]),
        with(&[("accept", "a"), (":path", "/b")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":unknown", "")]),
        with(&[("Accept", "a")]),
        with(&[("a b", "a")]),
        with(&[("", "a")]),
        with(&[("a", "b\nc: d")]),
        with(&[("a", "b\0")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "x")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "")]),
        with(&[("content-length", "+1")]),
        with(&[("content-length", "01")]),
        with(&[("content-length", "1, 1")]),
        with(&[("content-length", "99999999999999999999")]),
        std::mem::take(&mut long),
        vec![(":method", "CONNECT"), (":scheme", "https"), (":authority", "a:1"), (":path", "/")],
        vec![(":method", "CONNECT")],
    ] {
        assert!(matches!(read(&lines), Err(Fault::Malformed(_))), "{lines:?}: {:?}", read(&lines));
    }
    assert_eq!(request(b"\x02\x00", LIMITS).unwrap_err(), Fault::Unreadable);
}

#[test]
fn what_is_not_wanted_has_an_answer() {
    let many: Vec<_> = GET.into_iter().chain((0..11).map(|_| ("x", "y"))).collect();
    let long = format!("/{}", "a".repeat(100));
    let large = "v".repeat(4 << 10);
    for (lines, status) in [
        (vec![(":method", "CONNECT"), (":authority", "a:1")], 501),
        (with(&[("host", "bank.test")]), 400),
        (but(":authority", Some("u@shop.test")), 400),
        (but(":path", Some("a")), 400),
        (but(":path", Some("/#a")), 400),
        (but(":path", Some("/%zz")), 400),
        (but(":path", Some("*")), 400),
        (with(&[("a", " b")]), 400),
        (with(&[("expect", "more")]), 417),
        (many, 431),
        ([&GET[..], &[("x", large.as_str())]].concat(), 431),
        ([&GET[..3], &[(":path", long.as_str())]].concat(), 414),
    ] {
        match read(&lines) {
            Err(Fault::Refused(refusal)) => assert_eq!(refusal.status, status, "{lines:?}"),
            other => panic!("{lines:?}: {other:?}"),
        }
    }
}

#[test]
fn trailers_have_no_pseudo_header_fields() {
    let read = |lines: &[(&str, &str)]| trailers(&section(lines), LIMITS);
    assert_eq!(read(&[("grpc-status", "0")]).unwrap()["grpc-status"], "0");
    for lines in [[(":path", "/")], [("connection", "x")], [("X", "y")]] {
        assert!(matches!(read(&lines), Err(Fault::Malformed(_))), "{lines:?}");
    }
}
