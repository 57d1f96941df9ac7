//! What is refused before a handler sees it.

use super::*;

fn refused(fields: &[(&'static str, &'static str)]) -> Option<u16> {
    let headers: HeaderMap = fields
        .iter()
        .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    check_values(&headers).err().map(|refusal| refusal.status.as_u16())
}

#[test]
fn values_that_http1_would_read_otherwise_are_refused() {
    for value in [" 1", "1 ", "\t1", "1\t", " "] {
        assert_eq!(refused(&[("x", value)]), Some(400), "{value:?}");
    }
    for value in ["", "1", "a b", "a\tb"] {
        assert_eq!(refused(&[("x", value)]), None, "{value:?}");
    }
    for value in ["y 100-continue", "100-continue, y", "", "y"] {
        assert_eq!(refused(&[("expect", value)]), Some(417), "{value:?}");
    }
    assert_eq!(refused(&[("expect", "100-Continue")]), None);
    let mut twice = HeaderMap::new();
    for _ in 0..2 {
        twice.append(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    assert!(check_values(&twice).is_err());
}
