//! HTTP/2 written frame by frame.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tutti_net::Stream;

use crate::harness::*;

/// What a client sends first, and empty settings.
pub const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `GET http://h/`, compressed (RFC 7541).
pub const GET: &[u8] = b"\x82\x86\x84\x41\x01h";

/// A frame of RFC 9113 section 4.1.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A literal field (RFC 7541 section 6.2.2), short and without compression.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, u8::try_from(name.len()).unwrap()];
    out.extend(name.bytes());
    assert!(value.len() < 127);
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value.bytes());
    out
}

/// A connection that has sent its preface.
pub async fn open(addr: SocketAddr) -> Stream {
    let mut stream = dial(addr).await;
    stream.write_all(OPENING).await.unwrap();
    stream
}

/// A frame that came: type, flags, stream, payload.
pub type Got = (u8, u8, u32, Vec<u8>);

/// The next frame; `None` when the other side has closed. Settings and pings are answered.
pub async fn next(peer: &mut Stream) -> Option<Got> {
    let mut head = [0; 9];
    let reading = async {
        peer.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        peer.read_exact(&mut payload).await.ok()?;
        if matches!(kind, 4 | 6) && flags & 1 == 0 {
            let echoed = if kind == 6 { &payload[..] } else { &[] };
            // A peer that has gone does not hear it.
            let _ = peer.write_all(&frame(kind, 1, 0, echoed)).await;
        }
        Some((kind, flags, u32::from_be_bytes([d, e, f, g]), payload))
    };
    tokio::time::timeout(LIMITS.timeout, reading).await.expect("nothing more comes")
}

/// The next frame of a type.
pub async fn until(peer: &mut Stream, wanted: u8) -> Option<Got> {
    loop {
        let got = next(peer).await?;
        if got.0 == wanted {
            return Some(got);
        }
    }
}

/// The code of the last GOAWAY before the other side closes.
pub async fn goodbye(peer: &mut Stream) -> Option<u32> {
    let mut code = None;
    while let Some((.., payload)) = until(peer, 7).await {
        code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
    }
    code
}
