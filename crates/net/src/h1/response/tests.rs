//! Response heads: tables of what is refused, and properties.

use super::*;
use crate::h1::head::{First, Limits, Scanner};
use proptest::prelude::*;

fn read_to(method: Method, text: &[u8]) -> Result<ResponseHead, Fault> {
    let limits = Limits { bytes: 8192, fields: 50, target: 0 };
    let bytes = Bytes::copy_from_slice(text);
    let mut scanner = Scanner::new(First::Response);
    let length = scanner.scan(&bytes, &limits)?.ok_or(Fault::Malformed("the head is not whole"))?;
    parse(&bytes.slice(..length), scanner.lines(), HeaderMap::new(), &method)
}

fn read(text: &str) -> Result<ResponseHead, Fault> {
    read_to(Method::GET, text.as_bytes())
}

#[test]
fn malformed_responses_are_refused() {
    for text in [
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 200 O\u{1}K\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\u{0}\r\n\r\n",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_length_of_the_body_follows_status_method_and_fields() {
    let framing = |method: Method, text: &str| read_to(method, text.as_bytes()).unwrap().framing;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let five = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(framing(Method::GET, chunked), Framing::Chunked);
    assert_eq!(framing(Method::HEAD, chunked), Framing::Empty);
    assert_eq!(framing(Method::GET, five), Framing::Length(5));
    assert_eq!(framing(Method::HEAD, five), Framing::Empty);
    assert_eq!(framing(Method::CONNECT, five), Framing::Empty);
    assert_eq!(
        framing(Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        Framing::Empty
    );
    assert_eq!(framing(Method::GET, "HTTP/1.1 204\r\n\r\n"), Framing::Empty);
    assert_eq!(framing(Method::GET, "HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClose);
    assert_eq!(framing(Method::GET, "HTTP/1.0 200 OK\r\n\r\n"), Framing::UntilClose);
}

#[test]
fn a_connection_is_kept_only_when_the_next_byte_is_certain() {
    let keeps = |text: &str| read(text).unwrap().keep_alive;
    assert!(keeps("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    assert!(keeps("HTTP/1.1 204 No Content\r\n\r\n"));
    assert!(keeps("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"));
    assert!(keeps("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"));
    assert!(keeps("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n"));
    assert!(!keeps("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"));
    assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"));
    assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!keeps("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"));
    assert!(!keeps("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        status in 200u16..600,
        fields in prop::collection::btree_map("x-[a-z0-9-]{1,10}", "[!-~]([ -~]{0,10}[!-~])?", 0..8),
        length in prop::option::of(0usize..2000),
        head in any::<bool>(),
        keep_alive in any::<bool>(),
    ) {
        let method = if head { Method::HEAD } else { Method::GET };
        let mut made = http::Response::builder().status(status);
        for (name, value) in &fields {
            made = made.header(name, value);
        }
        let body = match length {
            Some(length) => crate::Body::full(vec![b'x'; length]),
            None => crate::Body::channel(1).1,
        };
        let made = made.body(body).unwrap();
        let plan = crate::h1::encode::plan_response(&method, Version::HTTP_11, keep_alive, &made);
        let mut out = bytes::BytesMut::new();
        crate::h1::encode::response_head(&made, &method, Version::HTTP_11, plan, &mut out);
        let read = read_to(method, &out).unwrap();
        prop_assert_eq!(read.status.as_u16(), status);
        prop_assert_eq!(read.keep_alive, keep_alive);
        for (name, value) in &fields {
            prop_assert_eq!(&read.headers[name], value.as_str());
        }
        let expected = match length {
            _ if head || has_no_body(made.status()) => Framing::Empty,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length as u64),
            None => Framing::Chunked,
        };
        prop_assert_eq!(read.framing, expected);
    }

    #[test]
    fn no_status_line_panics(line in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut text = line;
        text.extend_from_slice(b"\r\nContent-Length: 3\r\n\r\n");
        let _ = read_to(Method::GET, &text);
    }
}
