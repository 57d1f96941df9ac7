//! The write buffer.

use super::*;
use crate::stream::Stream;
use tokio::io::AsyncReadExt;

fn writer() -> (Writer, Stream, ReadHalf) {
    let (near, far) = Stream::pair().unwrap();
    let (_, read, write) = near.into_parts();
    (Writer::new(write), far, read)
}

#[tokio::test]
async fn short_and_long_pieces_leave_in_order() {
    let (mut writer, mut far, _read) = writer();
    let mut expected = Vec::new();
    // More long pieces than one system call takes, and more bytes than the socket's buffer.
    for n in 0..100_u32 {
        let short = vec![b'a' + (n % 26) as u8; n as usize];
        let long = vec![b'A' + (n % 26) as u8; COPY_BYTES + 1 + n as usize * 10];
        for piece in [short, long] {
            expected.extend_from_slice(&piece);
            writer.push(piece.into());
        }
    }
    assert_eq!(writer.waiting(), expected.len());
    let mut got = vec![0; expected.len()];
    let (flushed, read) =
        tokio::join!(std::future::poll_fn(|cx| writer.poll_flush(cx)), far.read_exact(&mut got));
    flushed.unwrap();
    read.unwrap();
    assert!(got == expected);
    assert_eq!((writer.waiting(), writer.total()), (0, expected.len() as u64));
}
