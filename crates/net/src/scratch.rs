//! One place to read into for each thread, so that whoever waits for a peer holds no room for what it may say.

use std::cell::RefCell;
use std::io;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::ReadBuf;

/// Room for one read: a request's head and a small body.
const BYTES: usize = 16 << 10;

thread_local! {
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Reads once, and puts what has come into a buffer of just that size, instead of the one that is there.
pub(crate) fn poll_read(
    read: impl FnOnce(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    ROOM.with_borrow_mut(|room| {
        let mut room = ReadBuf::new(room);
        ready!(read(&mut room))?;
        *into = BytesMut::from(room.filled());
        Poll::Ready(Ok(into.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_leaves_a_buffer_of_its_size() {
        let mut buf = BytesMut::with_capacity(8 << 10);
        let come = |room: &mut ReadBuf<'_>| {
            room.put_slice(b"GET");
            Poll::Ready(Ok(()))
        };
        assert!(matches!(poll_read(come, &mut buf), Poll::Ready(Ok(3))));
        assert_eq!((&buf[..], buf.capacity()), (&b"GET"[..], 3));
        assert!(poll_read(|_| Poll::Pending, &mut buf).is_pending());
    }
}
