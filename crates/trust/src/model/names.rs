//! Host names: their one spelling, and which certificate is for which of them.

use tutti_core::limits;

/// The one spelling of a host name: lower case, without the trailing dot. `None`: it is no name for which a certificate could
/// be had (RFC 1035 section 2.3.4; an underscore is let pass, as resolvers do).
pub(crate) fn normal(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let fits = (1..=limits::NAME_BYTES).contains(&label.len());
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        fits && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let good = name.len() <= limits::HOST_BYTES && rest.split('.').all(label);
    good.then(|| name.to_ascii_lowercase())
}

/// Whether a certificate's name is for a host: it is the same, or `*.suffix` with one label before it (RFC 9525 section 6.3).
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(first, rest)| rest == suffix && first != "*"),
        None => pattern == name,
    }
}

/// Whether a route's host is for a host: `*.suffix` stands for one label or more there (as in the Gateway API).
pub(crate) fn routed(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => host == name,
    }
}

/// The wildcard that would be for a host.
pub(crate) fn wildcard_of(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling_and_what_is_none_is_refused() {
        assert_eq!(normal("Shop.Example.").as_deref(), Some("shop.example"));
        assert_eq!(normal("*.Shop.example").as_deref(), Some("*.shop.example"));
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "a/b",
            "*",
            "a.*.b",
            "ä.b",
            "a\0b",
            &"a.".repeat(200),
            &"a".repeat(64),
        ] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wildcard_is_for_one_label_in_a_certificate_and_for_more_in_a_route() {
        assert!(covers("a.test", "a.test") && !covers("a.test", "b.a.test"));
        assert!(covers("*.test", "a.test") && !covers("*.test", "test") && !covers("*.test", "a.b.test"));
        assert!(routed("*.test", "a.test") && routed("*.test", "a.b.test") && !routed("*.test", "test"));
        assert!(!routed("*.test", "atest") && routed("a.test", "a.test"));
        assert_eq!(wildcard_of("a.b.c").as_deref(), Some("*.b.c"));
        assert_eq!(wildcard_of("a"), None);
    }
}
