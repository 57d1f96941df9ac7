//! What the chunked coding accepts and refuses; any split of the input reads alike.

use super::*;
use proptest::prelude::*;

/// What a body decodes to, when it arrives in pieces that end at the given places: the data, the trailers, what is left over.
#[derive(Debug, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    left: Vec<u8>,
    whole: bool,
}

fn decode(input: &[u8], cuts: &[usize]) -> Result<Decoded, &'static str> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.push(input.len());
    cuts.sort_unstable();
    let mut decoder = Decoder::new(10);
    let mut decoded = Decoded { data: Vec::new(), trailers: None, left: Vec::new(), whole: false };
    let (mut buf, mut from) = (BytesMut::new(), 0);
    for cut in cuts {
        buf.extend_from_slice(&input[from..cut]);
        from = cut;
        while !decoded.whole {
            match decoder.step(&mut buf)? {
                Step::More => break,
                Step::Data(data) => decoded.data.extend_from_slice(&data),
                Step::End(trailers) => (decoded.trailers, decoded.whole) = (trailers, true),
            }
        }
    }
    decoded.left = buf.to_vec();
    Ok(decoded)
}

#[test]
fn well_formed_bodies_decode() {
    let decoded = decode(b"5\r\nhello\r\n00A;x=\"y\";z\r\n0123456789\r\n0;last\r\n\r\nGET", &[]).unwrap();
    assert_eq!(decoded.data, b"hello0123456789");
    assert_eq!((decoded.left.as_slice(), decoded.whole), (&b"GET"[..], true));
    let decoded = decode(b"0\r\nx-a: b\r\nX-C: d\r\n\r\n", &[3, 5, 9]).unwrap();
    assert_eq!(decoded.trailers.unwrap()["x-c"], "d");
}

#[test]
fn malformed_bodies_are_refused() {
    let long = format!("5;{}\r\nhello\r\n", "x".repeat(limits::HTTP_CHUNK_LINE_BYTES));
    let endless = format!("5;{}", "x".repeat(limits::HTTP_CHUNK_LINE_BYTES));
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(11));
    let large = format!("0\r\na: {}\r\n\r\n", "b".repeat(limits::HTTP_TRAILER_BYTES));
    for input in [
        "\r\nhello",
        ";x\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\t\r\nhello\r\n",
        "5 ;x\r\nhello\r\n",
        "g\r\n",
        "5\nhello\r\n",
        "5;x\nhello\r\n",
        "5;x\u{0}\r\nhello\r\n",
        "5;x\ry\r\nhello\r\n",
        "5\r\r\nhello\r\n",
        "5\rhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhel\r\n0\r\n\r\n",
        "8000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000005\r\nhello\r\n",
        "00000000000000000005\r\nhello\r\n",
        "0\r\n\n",
        "0\r\nx\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: a\r\n\r\n",
        "0\r\nAuthorization: a\r\n\r\n",
        "0\r\nkeep-alive: a\r\n\r\n",
        &long,
        &endless,
        &many,
        &large,
    ] {
        assert!(decode(input.as_bytes(), &[]).is_err(), "{:?}", input.get(..60).unwrap_or(input));
    }
}

#[test]
fn forbidden_trailers_are_not_written() {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", http::HeaderValue::from_static("0"));
    map.insert(header::CONTENT_LENGTH, http::HeaderValue::from_static("5"));
    let mut out = BytesMut::new();
    encode_end(Some(&map), &mut out);
    assert_eq!(&out[..], b"0\r\ngrpc-status: 0\r\n\r\n");
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 0..8)
}

fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"0\r\n".to_vec()),
        Just(b"3;a=b\r\n".to_vec()),
        Just(b"abc".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"x: y\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(word, 0..10).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_body(input in nearly(), cuts in pieces()) {
        prop_assert_eq!(decode(&input, &cuts), decode(&input, &[]));
    }

    #[test]
    fn what_is_written_is_read_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        trailers in prop::collection::btree_map("x-[a-z]{1,8}", "[!-~]{0,8}", 0..4),
        cuts in pieces(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &trailers {
            map.insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let mut out = BytesMut::new();
        for chunk in &chunks {
            encode_size(chunk.len(), &mut out);
            out.put_slice(chunk);
            out.put_slice(b"\r\n");
        }
        encode_end(Some(&map), &mut out);
        let decoded = decode(&out, &cuts).unwrap();
        prop_assert!(decoded.whole && decoded.left.is_empty());
        prop_assert_eq!(decoded.data, chunks.concat());
        prop_assert_eq!(decoded.trailers.unwrap_or_default(), map);
    }

    #[test]
    fn sizes_are_hexadecimal(size in any::<usize>()) {
        let mut out = BytesMut::new();
        encode_size(size, &mut out);
        let expected = format!("{size:x}\r\n");
        prop_assert_eq!(&out[..], expected.as_bytes());
    }
}
