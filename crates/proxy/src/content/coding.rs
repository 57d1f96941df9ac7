//! Which content coding a client wants, and which responses may be coded (RFC 9110 sections 8.4, 12.5.3).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tutti_ports::routing::{Coding, Compression};

use super::media::Types;

/// The coding for a response, as `Accept-Encoding` asks: the one with the greatest weight, of equal ones the first offered.
/// `None`: as it is.
pub fn wanted(headers: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    let mut weights = [None; 3];
    let (mut rest, mut identity) = (0, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            let mut parts = item.split(|byte| *byte == b';');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let Some(weight) = parts.next().map_or(Some(1_000), weight) else { continue };
            match Coding::of(name) {
                Some(coding) => {
                    if let Some(place) = weights.get_mut(coding as usize) {
                        *place = Some(weight);
                    }
                }
                None if name == b"*" => rest = weight,
                None if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
                None => {}
            }
        }
    }
    let weight = |coding: Coding| weights.get(coding as usize).copied().flatten().unwrap_or(rest);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = weight(*coding);
        if weight > 0 && best.is_none_or(|(_, other)| weight > other) {
            best = Some((*coding, weight));
        }
    }
    best.filter(|(_, weight)| identity.is_none_or(|identity| identity <= *weight)).map(|(coding, _)| coding)
}

/// `q=0.5` in thousandths; `None` if it is no weight.
fn weight(parameter: &[u8]) -> Option<u16> {
    let parameter = parameter.trim_ascii();
    let [b'q' | b'Q', b'=', digits @ ..] = parameter else { return None };
    let text = std::str::from_utf8(digits).ok()?;
    let value: f32 = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    // Within bounds, as just checked.
    Some((value * 1_000.0) as u16)
}

/// Whether a response may be compressed at all, whatever the client accepts. Then its `Vary` must say so.
pub fn may_be_coded(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    (rules, types): &(Compression, Types),
) -> bool {
    const UNTOUCHED: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
    let short = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|length| length < rules.min_bytes);
    let coded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    let kind = headers.get(header::CONTENT_TYPE);
    !(bodiless
        || short
        || coded
        || *method == Method::CONNECT
        || headers.contains_key(header::CONTENT_RANGE)
        || no_transform(headers)
        || UNTOUCHED.iter().any(|name| headers.contains_key(*name)))
        && kind.is_some_and(|kind| types.hold(kind.as_bytes()))
}

/// RFC 9111 section 5.2.2.6.
pub fn no_transform(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    })
}

/// Adds a name to `Vary`, unless it is there.
pub fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let there = headers.get_all(header::VARY).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    });
    if !there {
        headers.append(header::VARY, HeaderValue::from_name(name.clone()));
    }
}

/// What a header says when its body is coded: the coding, no length, no ranges, and a weak validator, since the bytes are not those
/// that the service meant (RFC 9110 section 8.8.1).
pub fn mark(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    if let Some(tag) = headers.get(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
    {
        let mut weak = b"W/".to_vec();
        weak.extend_from_slice(tag.as_bytes());
        match HeaderValue::from_bytes(&weak) {
            Ok(weak) => headers.insert(header::ETAG, weak),
            Err(_) => headers.remove(header::ETAG),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static str) -> Option<Coding> {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        wanted(&headers, &[Coding::Br, Coding::Zstd, Coding::Gzip])
    }

    #[test]
    fn the_client_decides_by_weight_and_the_order_of_the_offer_between_equals() {
        for (value, coding) in [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, br", Some(Coding::Br)),
            ("gzip;q=1.0, br;q=0.5", Some(Coding::Gzip)),
            ("GZIP;Q=0.5 , zstd ; q=0.501", Some(Coding::Zstd)),
            ("br;q=0, gzip;q=0.001", Some(Coding::Gzip)),
            ("*", Some(Coding::Br)),
            ("br;q=0, *", Some(Coding::Zstd)),
            ("*;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some(Coding::Gzip)),
            ("deflate", None),
            ("gzip;q=2", None),
            ("gzip;x=1", None),
            ("", None),
        ] {
            assert_eq!(asked(value), coding, "{value}");
        }
        assert_eq!(wanted(&HeaderMap::new(), &[Coding::Gzip]), None);
    }

    #[test]
    fn some_responses_are_left_alone() {
        let rules = Compression::default();
        let types = Types::compile(&rules.types).unwrap();
        let rules = (rules, types);
        let with = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            let base = [("content-type", "application/json")];
            base.iter()
                .chain(fields)
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        let may = |status: u16, headers: &HeaderMap| {
            may_be_coded(&Method::GET, StatusCode::from_u16(status).unwrap(), headers, &rules)
        };
        assert!(may(200, &with(&[])) && may(404, &with(&[("content-length", "1024")])));
        for (status, fields) in [
            (204, &[][..]),
            (206, &[]),
            (304, &[]),
            (200, &[("content-encoding", "gzip")]),
            (200, &[("content-length", "1023")]),
            (200, &[("content-range", "bytes 0-1/2")]),
            (200, &[("cache-control", "max-age=1, No-Transform")]),
            (200, &[("repr-digest", "sha-256=:x:")]),
        ] {
            assert!(!may(status, &with(fields)), "{status} {fields:?}");
        }
        let mut picture = with(&[]);
        picture.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
        assert!(!may(200, &picture) && !may(200, &HeaderMap::new()));
    }

    #[test]
    fn a_coded_response_says_so() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, accept-encoding"));
        mark(&mut headers, Coding::Zstd);
        vary(&mut headers, &header::ACCEPT_ENCODING);
        vary(&mut headers, &header::ORIGIN);
        assert_eq!(headers[header::ETAG], "W/\"a\"");
        assert_eq!(headers[header::CONTENT_ENCODING], "zstd");
        assert!(!headers.contains_key(header::CONTENT_LENGTH));
        assert_eq!(headers.get_all(header::VARY).iter().count(), 2);
    }
}
