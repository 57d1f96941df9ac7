//! What must hold of the parsers whatever bytes come; see [`crate::h1::fuzz`].

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header;

use super::control::{self, Seen};
use super::frame::{Frames, Head, Source};
use super::head::{self, Limits};
use super::{Broken, Code, qpack};

const LIMITS: Limits = Limits { octets: 4 << 10, fields: 32, target: 1 << 10 };

/// A request's field section: what is accepted has a form that HTTP/1.1 can carry, and is read as the same again.
pub fn field_section(data: &[u8]) {
    let _ = head::trailers(data, LIMITS);
    let Ok(read) = head::request(data, LIMITS) else { return };
    let (parts, ()) = read.request.into_parts();
    assert_eq!(parts.headers.get_all(header::HOST).iter().count(), 1, "there is one Host");
    assert!(parts.headers.len() <= LIMITS.fields + 1);
    let target = parts.uri.to_string();
    assert!(target.starts_with('/') || target == "*", "{target:?}");
    for (name, value) in &parts.headers {
        assert!(!crate::form::is_of_connection(name), "{name}");
        let octets = value.as_bytes();
        assert!(!octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)), "{octets:?}");
        assert!(octets.trim_ascii().len() == octets.len(), "{octets:?}");
    }
    let mut out = BytesMut::new();
    qpack::request(&parts, &mut out);
    // It may be over the limit now, since Host is a field of its own beside the authority.
    let wider = Limits { octets: 16 << 10, fields: 64, ..LIMITS };
    let again = head::request(&out, wider);
    let Ok(again) = again else {
        return assert!(again.is_ok(), "we would not read what we wrote: {again:?}");
    };
    assert_eq!(again.request.uri(), &parts.uri);
    assert_eq!(again.request.method(), parts.method);
    assert_eq!(again.request.headers(), &parts.headers);
    assert_eq!(again.length, read.length);
}

/// A stream of one direction, and the frames of any stream: what is read does not depend on the pieces in which it comes. The first
/// octet says how long those are.
pub fn stream(data: &[u8]) {
    let Some((long, data)) = data.split_first() else { return };
    let (whole, pieces) = (|| Pieces::new(data, data.len()), || Pieces::new(data, usize::from(*long)));
    let ends = |source| now(control::read(Frames::new(source), &Seen::default(), || Ok(())));
    assert_eq!(ends(whole()), ends(pieces()), "it matters how it arrives");
    assert_eq!(now(frames(whole())), now(frames(pieces())), "it matters how it arrives");
}

/// The frames of a stream with their payloads, and how it ends.
async fn frames(source: Pieces) -> (Vec<(Head, Bytes)>, Option<Broken>) {
    let (mut frames, mut read) = (Frames::new(source), Vec::new());
    loop {
        let head = match frames.head().await {
            Ok(Some(head)) => head,
            Ok(None) => return (read, None),
            Err(broken) => return (read, Some(broken)),
        };
        match frames.payload().await {
            Ok(payload) => read.push((head, payload)),
            Err(broken) => return (read, Some(broken)),
        }
    }
}

/// What is at hand as a whole, in pieces of this length.
struct Pieces {
    left: Bytes,
    long: usize,
}

impl Pieces {
    fn new(data: &[u8], long: usize) -> Self {
        Self { left: Bytes::copy_from_slice(data), long: long.max(1) }
    }
}

impl Source for Pieces {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        let length = self.long.min(self.left.len());
        Poll::Ready(Ok((length > 0).then(|| self.left.split_to(length))))
    }

    fn stop(&mut self, _: Code) {}
}

/// What a future comes to that waits for nothing.
fn now<T>(work: impl Future<Output = T>) -> Option<T> {
    let done = pin!(work).poll(&mut Context::from_waker(Waker::noop()));
    assert!(done.is_ready(), "nothing has to be waited for");
    match done {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/{}"), target);
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn the_seeds() {
        let (sections, streams) = (seeds("field_section"), seeds("h3_stream"));
        assert!(sections.len() >= 5 && streams.len() >= 5);
        sections.iter().for_each(|seed| field_section(seed));
        streams.iter().for_each(|seed| stream(seed));
    }

    proptest! {
        #[test]
        fn mutations_of_the_seeds(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            for (target, check) in [("field_section", field_section as fn(&[u8])), ("h3_stream", stream)] {
                let mut seed = which.get(&seeds(target)).clone();
                for (at, octet) in &changes {
                    let at = at.index(seed.len());
                    seed[at] = *octet;
                }
                check(&seed);
                seed.truncate(cut.index(seed.len() + 1));
                check(&seed);
            }
        }
    }
}
