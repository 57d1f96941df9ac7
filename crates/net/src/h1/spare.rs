//! Room that exchanges need and idle connections do not: what the exchange before has left, for the next one on the same
//! thread, whichever connection that is on.
//!
//! What was used last is used next, so a busy thread works in memory that its cache holds, and thousands of idle connections
//! hold none of it.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderMap;

/// Most maps and buffers that a thread keeps.
const KEPT: usize = 64;
/// Greatest buffer, and most fields of a map, that are kept.
const KEPT_BYTES: usize = 16 << 10;
const KEPT_FIELDS: usize = 128;

#[derive(Default)]
struct Spare {
    maps: Vec<HeaderMap>,
    buffers: Vec<BytesMut>,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Spare) -> T) -> Option<T> {
    // At the end of a thread there is nothing any more.
    SPARE.try_with(|spare| spare.try_borrow_mut().ok().map(|mut spare| act(&mut spare))).ok().flatten()
}

/// An empty field map.
pub(super) fn map() -> HeaderMap {
    with(|spare| spare.maps.pop()).flatten().unwrap_or_default()
}

/// Takes a field map back, whatever is in it.
pub(super) fn give_map(mut map: HeaderMap) {
    map.clear();
    if (1..=KEPT_FIELDS).contains(&map.capacity()) {
        with(|spare| {
            if spare.maps.len() < KEPT {
                spare.maps.push(map);
            }
        });
    }
}

/// An empty buffer.
pub(super) fn buffer() -> BytesMut {
    with(|spare| spare.buffers.pop()).flatten().unwrap_or_default()
}

/// Takes an empty buffer back.
pub(super) fn give_buffer(buffer: BytesMut) {
    if (1..=KEPT_BYTES).contains(&buffer.capacity()) {
        with(|spare| {
            if spare.buffers.len() < KEPT {
                spare.buffers.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_and_huge_room_is_not_kept() {
        let mut map = map();
        map.insert("a", "b".parse().unwrap());
        let room = map.capacity();
        give_map(map);
        let map = super::map();
        assert!(map.is_empty() && map.capacity() == room);
        let mut used = buffer();
        used.extend_from_slice(&[0; 100]);
        used.clear();
        let address = used.as_ptr();
        give_buffer(used);
        assert_eq!(buffer().as_ptr(), address);
        give_buffer(BytesMut::with_capacity(KEPT_BYTES + 1));
        assert_eq!(buffer().capacity(), 0);
    }
}
