//! By the examples of RFC 9204, and both ways.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn read(section: &[u8]) -> Result<Vec<(String, String)>, Failed<()>> {
    let mut fields = Vec::new();
    decode(section, 16 << 10, |name, value| {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        fields.push((text(name), text(value)));
        Ok(())
    })?;
    Ok(fields)
}

fn one(section: &[u8]) -> (String, String) {
    let fields = read(section).unwrap();
    assert_eq!(fields.len(), 1);
    fields[0].clone()
}

#[test]
fn the_forms_of_a_field() {
    // RFC 9204 appendix B.1: a literal with the name of the static table.
    let index = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(one(index), (":path".into(), "/index.html".into()));
    assert_eq!(one(&[0, 0, 0xc0 | 17]), (":method".into(), "GET".into()));
    assert_eq!(one(&[0, 0, 0xff, 98 - 63]), ("x-frame-options".into(), "sameorigin".into()));
    assert_eq!(one(b"\x00\x00\x27\x03x-trace-id\x02ab"), ("x-trace-id".into(), "ab".into()));
    // Never to be indexed, by both forms; a value in Huffman code.
    assert_eq!(one(b"\x00\x00\x71\x01/"), (":path".into(), "/".into()));
    assert_eq!(one(b"\x00\x00\x33abc\x00"), ("abc".into(), String::new()));
    assert_eq!(one(b"\x00\x00\x51\x82\x64\x02"), (":path".into(), "302".into()));
    assert_eq!(read(&[0, 0]), Ok(Vec::new()));
}

#[test]
fn what_refers_to_a_dynamic_table_or_ends_early_is_broken() {
    for section in [
        &b""[..],
        b"\x00",
        b"\x02\x00\xd1",
        b"\x00\x00\x80",
        b"\x00\x00\x10",
        b"\x00\x00\x00\x01a",
        b"\x00\x00\x40\x01a",
        b"\x00\x00\xff\x24",
        b"\x00\x00\xff\xff\xff\xff\xff\xff\x01",
        b"\x00\x00\x51\x05abcd",
        b"\x00\x00\x51",
        b"\x00\x00\x27\x03abc",
        b"\x00\x00\x51\x82\xff\xff",
    ] {
        assert_eq!(read(section), Err(Failed::Broken), "{section:x?}");
    }
}

#[test]
fn a_section_is_as_large_as_its_fields_are_counted() {
    let section = b"\x00\x00\xd1\xd7";
    let most = |most| decode(section, most, |_, _| Ok::<(), ()>(()));
    // ":method" "GET", ":scheme" "https".
    assert_eq!(most(7 + 3 + 32 + 7 + 5 + 32), Ok(()));
    assert_eq!(most(7 + 3 + 32 + 7 + 5 + 31), Err(Failed::TooLarge));
    assert_eq!(decode(section, 99, |_, _| Err("no")), Err(Failed::Refused("no")));
}

#[test]
fn streams_of_instructions_hold_nothing_that_needs_a_table() {
    assert!(EncoderStream.allows(&[0x20, 0x20]));
    for octet in [0x21, 0x3f, 0x40, 0x80, 0x00] {
        assert!(!EncoderStream.allows(&[octet]), "{octet:x}");
    }
    let allowed = |octets: &[u8]| DecoderStream::default().allows(octets);
    assert!(allowed(&[0x44, 0x7f, 0x80, 0x01, 0x44]));
    assert!(!allowed(&[0x80]) && !allowed(&[0x01]) && !allowed(&[0x44, 0x80]));
    assert!(!allowed(&[[0x7f].as_slice(), &[0xff; 20]].concat()));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        status in 100_u16..1000,
        fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,200}", "[ -~]{0,200}"), 0..20),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let mut out = BytesMut::new();
        response(StatusCode::from_u16(status).unwrap(), &headers, &mut out);
        let mut read = read(&out).unwrap();
        prop_assert_eq!(read.remove(0), (":status".to_owned(), status.to_string()));
        let mut expected: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        expected.sort();
        read.sort();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_section_makes_trouble(section in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&section);
        let _ = DecoderStream::default().allows(&section);
    }
}
