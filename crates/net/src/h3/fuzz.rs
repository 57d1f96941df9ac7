//! What must hold of the parsers whatever bytes come; see [`crate::h1::fuzz`].

use bytes::BytesMut;
use http::header;

use super::head::{self, Limits};
use super::qpack;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seeds() -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/field_section");
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn the_seeds() {
        let seeds = seeds();
        assert!(seeds.len() >= 5);
        seeds.iter().for_each(|seed| field_section(seed));
    }

    proptest! {
        #[test]
        fn mutations_of_the_seeds(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut seed = which.get(&seeds()).clone();
            for (at, octet) in changes {
                let at = at.index(seed.len());
                seed[at] = octet;
            }
            field_section(&seed);
            seed.truncate(cut.index(seed.len() + 1));
            field_section(&seed);
        }
    }
}
