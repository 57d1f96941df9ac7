//! Streams of one direction, octet by octet and in one piece.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};

use super::*;

struct Pieces(Vec<Bytes>);

impl Source for Pieces {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        Poll::Ready(Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) }))
    }

    fn stop(&mut self, _: Code) {}
}

/// How a stream ends that has these octets.
async fn end(octets: &[u8]) -> Option<Code> {
    let code = |result| match result {
        Ok(()) => None,
        Err(Broken::Connection(code, _)) => Some(code),
        Err(other) => panic!("{other:?}"),
    };
    let whole = Frames::new(Pieces(vec![Bytes::copy_from_slice(octets)]));
    let whole = code(read(whole, &Seen::default(), || Ok(())).await);
    let single = Pieces(octets.iter().map(|octet| Bytes::copy_from_slice(&[*octet])).collect());
    let single = code(read(Frames::new(single), &Seen::default(), || Ok(())).await);
    assert_eq!(whole, single, "it matters how it arrives: {octets:x?}");
    whole
}

fn frame(kind: u64, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::write_head(&mut out, kind, payload.len() as u64);
    out.put_slice(payload);
    out
}

/// A control stream with settings, and then this.
fn after_settings(more: &[u8]) -> Vec<u8> {
    [&[0][..], &frame(kind::SETTINGS, &[6, 0x40, 0xff]), more].concat()
}

#[tokio::test]
async fn what_a_control_stream_may_say() {
    // All of these are only closed, which they must not be.
    for more in [
        &[][..],
        &frame(kind::MAX_PUSH_ID, &[4]),
        &[frame(kind::GOAWAY, &[8]), frame(kind::GOAWAY, &[8])].concat(),
        // PRIORITY_UPDATE (RFC 9218 section 7.2), and one that means nothing.
        &frame(0xf0700, b"\x00u=1"),
        &frame(0x21, &[7; 9_000]),
    ] {
        assert_eq!(end(&after_settings(more)).await, Some(Code::ClosedCritical), "{more:x?}");
    }
    for (more, code) in [
        (frame(kind::SETTINGS, &[]), Code::FrameUnexpected),
        (frame(kind::DATA, &[1]), Code::FrameUnexpected),
        (frame(kind::HEADERS, &[1]), Code::FrameUnexpected),
        (frame(kind::PUSH_PROMISE, &[1]), Code::FrameUnexpected),
        (frame(0x6, &[1]), Code::FrameUnexpected),
        (frame(kind::CANCEL_PUSH, &[1]), Code::Id),
        (frame(kind::GOAWAY, &[1, 1]), Code::Frame),
        (frame(kind::GOAWAY, &[]), Code::Frame),
        (frame(kind::MAX_PUSH_ID, &[0; 5_000]), Code::ExcessiveLoad),
    ] {
        assert_eq!(end(&after_settings(&more)).await, Some(code), "{more:x?}");
    }
    let backwards = [frame(kind::MAX_PUSH_ID, &[4]), frame(kind::MAX_PUSH_ID, &[3])].concat();
    assert_eq!(end(&after_settings(&backwards)).await, Some(Code::Id));
    let later = [frame(kind::GOAWAY, &[4]), frame(kind::GOAWAY, &[8])].concat();
    assert_eq!(end(&after_settings(&later)).await, Some(Code::Id));
    assert_eq!(end(&after_settings(&frame(kind::GOAWAY, &[4])[..2])).await, Some(Code::Frame));
}

#[tokio::test]
async fn settings_come_first_and_make_sense() {
    let with = |payload: &[u8]| [&[0][..], &frame(kind::SETTINGS, payload)].concat();
    for (stream, code) in [
        (vec![0], Code::ClosedCritical),
        ([&[0][..], &frame(0x21, &[])].concat(), Code::MissingSettings),
        (with(&[6, 1, 6, 1]), Code::Settings),
        (with(&[2, 1]), Code::Settings),
        (with(&[5, 1]), Code::Settings),
        (with(&[6]), Code::Frame),
        (with(&[6, 0x40]), Code::Frame),
        (with(&[1, 0x20, 7, 0x10, 8, 1, 0x33, 1]), Code::ClosedCritical),
    ] {
        assert_eq!(end(&stream).await, Some(code), "{stream:x?}");
    }
}

#[tokio::test]
async fn other_streams() {
    for (stream, code) in [
        (&[][..], None),
        (&[0x40], None),
        (&[0x21, 1, 2], None),
        (&[1, 0], Some(Code::StreamCreation)),
        (&[2], Some(Code::ClosedCritical)),
        (&[2, 0x20], Some(Code::ClosedCritical)),
        (&[2, 0x3f, 0x01], Some(Code::EncoderStream)),
        (&[3, 0x44], Some(Code::ClosedCritical)),
        (&[3, 0x84], Some(Code::DecoderStream)),
    ] {
        assert_eq!(end(stream).await, code, "{stream:x?}");
    }
    let seen = Seen::default();
    for (kind, flag) in [(0, &seen.control), (2, &seen.encoder), (3, &seen.decoder)] {
        flag.set(true);
        let again = Frames::new(Pieces(vec![Bytes::copy_from_slice(&[kind])]));
        let result = read(again, &seen, || Ok(())).await;
        assert!(matches!(result, Err(Broken::Connection(Code::StreamCreation, _))), "{result:?}");
    }
}
