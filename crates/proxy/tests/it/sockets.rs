//! The essentials of what the Autobahn test suite asks of WebSockets (RFC 6455), by the numbers of its chapters: Tutti carries frames
//! as they are, right and wrong ones, over HTTP/1.1 and over HTTP/2 (RFC 8441), and leaves it to both ends what they make of them.
//! `cargo xtask interop autobahn` runs the suite itself.

use std::net::SocketAddr;

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_net::{Stream, websocket};
use tutti_ports::catalog::{AppProtocol, Health};

use crate::frames;
use crate::harness::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Of a frame that is not the last of its message.
const FIRST_OF_TEXT: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

/// A client's frame (RFC 6455 section 5.2): its first octet, and the payload under a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    out
}

/// A message in pieces of so many bytes.
fn fragments(message: &[u8], size: usize) -> Vec<u8> {
    let pieces = message.chunks(size).collect::<Vec<_>>();
    let last = pieces.len() - 1;
    let piece = |(at, piece): (usize, &&[u8])| match at {
        0 => frame(FIRST_OF_TEXT, piece),
        at if at < last => frame(MORE, piece),
        _ => frame(LAST, piece),
    };
    pieces.iter().enumerate().flat_map(piece).collect()
}

/// Small ones, with their names.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    let mut case = |name: String, bytes: Vec<u8>| cases.push((name, bytes));
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        case(format!("1.1 text of {length}"), frame(TEXT, &vec![b'*'; length]));
        case(format!("1.2 bytes of {length}"), frame(BINARY, &vec![0xfe; length]));
    }
    for length in [0, 5, 125, 126] {
        case(format!("2 ping of {length}"), frame(PING, &vec![0xff; length]));
    }
    case("2.7 pong that nobody asked for".into(), frame(PONG, b"here"));
    case("2.10 ten pings".into(), frame(PING, b"payload").repeat(10));
    for bits in 1..8 {
        case(format!("3 RSV {bits}"), frame(TEXT | bits << 4, b"Hello"));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        case(format!("4 opcode {opcode}"), frame(0x80 | opcode, b"what"));
    }
    case("5.1 ping in pieces".into(), [frame(0x09, b"one"), frame(LAST, b"two")].concat());
    case("5.3 text in pieces".into(), fragments(b"fragment1fragment2", 9));
    let between = [frame(FIRST_OF_TEXT, b"one"), frame(PING, b"ping"), frame(LAST, b"two")].concat();
    case("5.6 ping between the pieces".into(), between);
    case("5.9 a piece of nothing".into(), [frame(LAST, b"lost"), frame(TEXT, b"Hello")].concat());
    case(
        "5.18 two texts at a time".into(),
        [frame(FIRST_OF_TEXT, b"one"), frame(FIRST_OF_TEXT, b"two")].concat(),
    );
    let text = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-\u{1d11e}-UTF-8!!";
    case("6.2 UTF-8 cut within its signs".into(), fragments(text.as_bytes(), 1));
    case("6.3 no UTF-8".into(), frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited"));
    case("6.4 no UTF-8, told late".into(), fragments(b"\xce\xba\xf4\x90\x80\x80edited", 4));
    case("unmasked".into(), b"\x81\x05Hello".to_vec());
    case("10 in pieces of 1300".into(), fragments(&vec![b'*'; 65_536], 1_300));
    case("7.3.1 close without a code".into(), frame(CLOSE, b""));
    case("7.3.2 close with half a code".into(), frame(CLOSE, b"\x03"));
    for code in [0_u16, 999, 1000, 1001, 1004, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000, 65_535] {
        case(format!("7.7 close with {code}"), frame(CLOSE, &code.to_be_bytes()));
    }
    case("7.3.5 close with words".into(), frame(CLOSE, &[&[3, 232], &[b'*'; 123][..]].concat()));
    case("7.5.1 close with no UTF-8".into(), frame(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80"));
    case("7.1.3 text after close".into(), [frame(CLOSE, b"\x03\xe8"), frame(TEXT, b"late")].concat());
    cases
}

/// A service that agrees to the extensions and the protocol that it is asked for, and gives every byte back; behind the client's last
/// one comes a close frame of its own.
async fn echoing() -> SocketAddr {
    let (addr, task) = raw_upstream(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(octet) = stream.read_u8().await else { return };
            head.push(octet);
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
            line.map(|line| line.split_once(": ").unwrap().1.to_owned())
        };
        let accept = websocket::accept(&HeaderValue::from_str(&field("sec-websocket-key").unwrap()).unwrap());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept.to_str().unwrap()
        );
        for name in ["sec-websocket-extensions", "sec-websocket-protocol"] {
            if let Some(value) = field(name) {
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        answer.push_str("\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        // A client that has gone does not hear it.
        let _ = stream.write_all(b"\x88\x02\x03\xe8").await;
    })
    .await;
    // It ends with the test's runtime.
    drop(task);
    addr
}

/// The service through Tutti, and through two of them that speak HTTP/2 to one another.
async fn both_ways() -> [(&'static str, Tutti); 2] {
    let addr = echoing().await;
    let plain = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let instances = vec![speaking(AppProtocol::H2c, "b", 1, plain.edge, Health::Passing)];
    let over_http2 = Tutti::start(options(), vec![to("b")], instances).await;
    [("over HTTP/1.1", plain), ("over HTTP/2", over_http2)]
}

/// A WebSocket, and the head of its answer.
async fn open(edge: SocketAddr) -> (Stream, String) {
    let mut stream = dial(edge).await;
    let ask = "GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
               Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\n\
               Sec-WebSocket-Protocol: chat\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (stream, head)
}

/// Sends bytes in pieces of so many while what comes back is read, and compares.
async fn echoed(stream: Stream, name: &str, bytes: &[u8], piece: usize) -> Stream {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut back = vec![0; bytes.len()];
    let writing = async {
        for piece in bytes.chunks(piece) {
            writer.write_all(piece).await.unwrap();
        }
    };
    let both = async { tokio::join!(writing, reader.read_exact(&mut back)).1.map(drop) };
    let read = tokio::time::timeout(LIMITS.timeout, both).await;
    read.expect(name).expect(name);
    assert!(back == bytes, "{name}: other bytes came back");
    reader.unsplit(writer)
}

#[tokio::test]
async fn frames_pass_as_they_are_right_or_wrong() {
    for (way, tutti) in &both_ways().await {
        let (mut stream, _) = open(tutti.edge).await;
        for (name, bytes) in cases() {
            stream = echoed(stream, &format!("{name}, {way}"), &bytes, usize::MAX).await;
            if bytes.len() < 200 {
                stream = echoed(stream, &format!("{name}, {way}, byte by byte"), &bytes, 1).await;
            }
        }
        // The client's half is over, and the service still has something to say (7.1).
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x88\x02\x03\xe8", "{way}");
    }
}

#[tokio::test]
async fn compression_is_agreed_upon_by_the_ends() {
    for (way, tutti) in &both_ways().await {
        let (stream, head) = open(tutti.edge).await;
        let head = head.to_lowercase();
        for wanted in [
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits=9",
            "sec-websocket-protocol: chat",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        ] {
            assert_eq!(head.matches(wanted).count(), 1, "{wanted}, {way}: {head}");
        }
        // "Hello" as RFC 7692 section 7.2.3.1 has it: RSV1 is set.
        let hello = frame(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        echoed(stream, way, &hello, 1).await;
    }
}

#[tokio::test]
async fn a_message_of_16_mb_passes_in_one_frame_and_in_many() {
    let message: Vec<u8> = (0..16_u32 << 20).map(|at| (at % 251) as u8).collect();
    for (way, tutti) in &both_ways().await {
        let (stream, _) = open(tutti.edge).await;
        let stream = echoed(stream, way, &frame(BINARY, &message), 1 << 20).await;
        echoed(stream, way, &fragments(&message[..1 << 20], 64), 1 << 20).await;
    }
}

#[tokio::test]
async fn a_client_of_http2_may_send_every_byte_by_itself() {
    let [(_, tutti), _] = both_ways().await;
    let mut client = frames::open(tutti.edge).await;
    let mut ask = frames::field(":method", "CONNECT");
    ask.extend(frames::field(":protocol", "websocket"));
    // `:scheme http`, `:authority h`, `:path /socket`.
    ask.extend(b"\x86\x41\x01h\x44\x07/socket");
    client.write_all(&frames::frame(1, 4, 1, &ask)).await.unwrap();
    assert_eq!(frames::until(&mut client, 1).await.unwrap().3[0], 0x88);
    let message = frame(TEXT, &[b'*'; 1_000]);
    for octet in &message {
        client.write_all(&frames::frame(0, 0, 1, &[*octet])).await.unwrap();
    }
    let mut back = Vec::new();
    while back.len() < message.len() {
        back.extend(frames::until(&mut client, 0).await.expect("the connection lives").3);
    }
    assert!(back == message, "other bytes came back");
}
