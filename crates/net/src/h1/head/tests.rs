//! Lines, fields and their facts: tables of what is refused, and properties.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes: 4096, fields: 20, target: 512 };

/// The length of a head, and its lines.
type Scanned = (usize, Vec<Range<usize>>);

/// Feeds the input in pieces that end at the given places.
fn scan_in_pieces(first: First, input: &[u8], cuts: &[usize]) -> Result<Option<Scanned>, Fault> {
    let mut scanner = Scanner::new(first);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.push(input.len());
    cuts.sort_unstable();
    for cut in cuts {
        if let Some(length) = scanner.scan(&input[..cut], &LIMITS)? {
            return Ok(Some((length, scanner.lines().to_vec())));
        }
    }
    Ok(None)
}

fn read(lines: &str) -> Result<(HeaderMap, Facts), Fault> {
    let bytes = Bytes::from(format!("{lines}\r\n"));
    let mut scanner = Scanner::new(First::Field);
    scanner.scan(&bytes, &LIMITS)?.expect("the head is whole");
    let mut map = HeaderMap::new();
    let facts = fields(&bytes, scanner.lines(), &mut map)?;
    Ok((map, facts))
}

#[test]
fn names_that_are_known_are_what_they_would_be_anyway() {
    let names = "date etag Host vary ACCEPT cookie server connection set-cookie User-Agent content-type authorization \
        cache-control last-modified Content-Length accept-encoding accept-language";
    for one in names.split_whitespace() {
        let (found, colon) = known(format!("{one}: a:b").as_bytes()).unwrap();
        assert_eq!((found, colon), (HeaderName::from_bytes(one.as_bytes()).unwrap(), one.len()));
    }
    for other in ["hos", "hosts", "most", "content_type", "cookie ", "accept-charsets", "", "x-host"] {
        assert_eq!(known(format!("{other}: 1").as_bytes()), None, "{other}");
    }
    assert_eq!(known(b"host"), None);
}

#[test]
fn lines_end_with_crlf_and_nothing_else() {
    let cases: &[(&str, &str)] = &[
        ("GET / HTTP/1.1\n", "CRLF"),
        ("GET / HTTP/1.1\r\nHost: a\n", "CRLF"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "CRLF"),
        ("\nGET / HTTP/1.1\r\n", "CRLF"),
        ("\r\n\r\nGET / HTTP/1.1\r\n", "empty"),
        (" GET / HTTP/1.1\r\n", "whitespace"),
        ("\u{16}\u{3}\u{1}", "begins with a character"),
    ];
    for (input, word) in cases {
        let fault = scan_in_pieces(First::Request, input.as_bytes(), &[]).expect_err(input);
        assert!(fault.reason().contains(word), "{input:?}: {}", fault.reason());
    }
}

#[test]
fn one_empty_line_before_a_request_is_skipped_but_none_before_a_response() {
    let input = b"\r\nGET / HTTP/1.1\r\n\r\nmore";
    let (length, lines) = scan_in_pieces(First::Request, input, &[1, 2, 3]).unwrap().unwrap();
    assert_eq!(length, input.len() - 4);
    assert_eq!((lines.len(), &lines[0]), (1, &(2..16)));
    assert!(scan_in_pieces(First::Response, b"\r\nHTTP/1.1 200 OK\r\n\r\n", &[]).is_err());
}

#[test]
fn each_limit_holds() {
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(600));
    let endless_target = format!("GET /{}", "a".repeat(600));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(21));
    let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(5000));
    let endless = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(5000));
    for (input, status) in
        [(long_target, 414), (endless_target, 414), (many, 431), (large, 431), (endless, 431)]
    {
        let fault = scan_in_pieces(First::Request, input.as_bytes(), &[]).unwrap_err();
        let refusal = crate::server::Refusal::from(fault);
        assert_eq!(refusal.status.as_u16(), status, "{}", refusal.reason);
    }
    let exact = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(20));
    assert!(scan_in_pieces(First::Request, exact.as_bytes(), &[]).unwrap().is_some());
}

#[test]
fn malformed_fields_are_refused() {
    for (line, word) in [
        ("Host : a", "before the colon"),
        ("Host\t: a", "before the colon"),
        (": a", "no name"),
        ("Host", "no colon"),
        ("Ho st: a", "before the colon"),
        ("Ho(st: a", "name holds"),
        ("Höst: a", "name holds"),
        ("a: b\r\n c", "folded"),
        ("a: b\r\n\tc", "folded"),
        ("a: b\u{0}c", "control"),
        ("a: b\u{7f}", "control"),
        ("a: b\u{1}c", "control"),
        ("a: b\rc", "control"),
        ("a\r: b", "name holds"),
        ("Content-Length: 5\r\nContent-Length: 5", "more than one"),
        ("Content-Length: 5\r\ncontent-length: 6", "more than one"),
        ("Content-Length: 5, 5", "not a number"),
        ("Content-Length: +5", "not a number"),
        ("Content-Length: -5", "not a number"),
        ("Content-Length: 5 5", "not a number"),
        ("Content-Length: 0x5", "not a number"),
        ("Content-Length: 5a", "not a number"),
        ("Content-Length:", "not a number"),
        ("Content-Length: ٥", "not a number"),
        ("Content-Length: 9223372036854775808", "too large"),
        ("Content-Length: 18446744073709551616", "too large"),
        ("Content-Length: 99999999999999999999999999", "too large"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "more than one"),
    ] {
        let fault = read(&format!("first: x\r\n{line}\r\n")).expect_err(line);
        assert!(matches!(fault, Fault::Malformed(_)), "{line:?}");
        assert!(fault.reason().contains(word), "{line:?}: {}", fault.reason());
    }
}

#[test]
fn values_are_trimmed_and_kept_otherwise() {
    let (map, facts) =
        read("A: \t x y \t\r\nB:\r\nC:  \r\na: z\r\nD: \u{e9}\r\nContent-Length: 007\r\n").unwrap();
    assert_eq!(map.get_all("a").iter().collect::<Vec<_>>(), ["x y", "z"]);
    assert_eq!((&map["b"], &map["c"]), (&HeaderValue::from_static(""), &HeaderValue::from_static("")));
    assert_eq!(map["d"].as_bytes(), "\u{e9}".as_bytes());
    assert_eq!(facts.length, Some(7));
}

#[test]
fn codings_are_told_apart() {
    for (value, coding) in [
        ("chunked", Coding::Chunked),
        ("Chunked", Coding::Chunked),
        ("CHUNKED", Coding::Chunked),
        ("gzip, chunked", Coding::OtherThenChunked),
        ("chunked, chunked", Coding::Other),
        ("chunked, gzip", Coding::Other),
        ("chunked,", Coding::Other),
        (",chunked", Coding::Other),
        ("\u{b}chunked", Coding::Other),
        ("xchunked", Coding::Other),
        ("chunked;q=1", Coding::Other),
        ("\"chunked\"", Coding::Other),
        ("identity", Coding::Other),
        ("", Coding::Other),
    ] {
        let mut facts = Facts::default();
        facts.learn(&header::TRANSFER_ENCODING, value.as_bytes()).unwrap();
        assert_eq!(facts.coding, Some(coding), "{value:?}");
    }
}

#[test]
fn connection_options_are_read_from_lists() {
    let (_, facts) = read("Connection: x,\tClose ,upgrade\r\nconnection: Keep-Alive\r\n").unwrap();
    assert!(facts.close && facts.upgrade && facts.keep_alive);
    let (_, facts) = read("Connection: closed, keep_alive\r\n").unwrap();
    assert!(!facts.close && !facts.keep_alive);
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 0..6)
}

/// Bytes that are nearly HTTP.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b": ".to_vec()),
        Just(b" ".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_lines(input in nearly(), cuts in pieces()) {
        for first in [First::Request, First::Response, First::Field] {
            prop_assert_eq!(scan_in_pieces(first, &input, &cuts), scan_in_pieces(first, &input, &[]));
        }
    }

    #[test]
    fn nothing_panics_and_nothing_forbidden_passes(input in nearly()) {
        let bytes = Bytes::from(input);
        let mut scanner = Scanner::new(First::Field);
        if let Ok(Some(_)) = scanner.scan(&bytes, &LIMITS) {
            let mut map = HeaderMap::new();
            if fields(&bytes, scanner.lines(), &mut map).is_ok() {
                for (name, value) in &map {
                    prop_assert!(!name.as_str().is_empty());
                    prop_assert!(!value.as_bytes().iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')));
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        list in prop::collection::vec(("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", "([!-~\u{80}-\u{ff}]([ -~]{0,20}[!-~])?)?"), 0..20)
    ) {
        let list: Vec<_> =
            list.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")).collect();
        let mut out = bytes::BytesMut::new();
        for (name, value) in &list {
            crate::h1::encode::field(name, value.as_bytes(), &mut out);
        }
        let (map, _) = read(std::str::from_utf8(&out).unwrap()).unwrap();
        prop_assert_eq!(map.len(), list.len());
        for (name, value) in &list {
            prop_assert!(map.get_all(name.to_ascii_lowercase()).iter().any(|got| got.as_bytes() == value.as_bytes()));
        }
    }
}
