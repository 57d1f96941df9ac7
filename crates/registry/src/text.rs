//! Words from outside, made fit to be shown.

/// Longest reason that is kept, in bytes.
pub(crate) const REASON_BYTES: usize = 300;

/// One line of printable text of at most `limit` bytes: what is neither is replaced, and runs of blanks become one.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        for c in word.chars() {
            out.push(if is_invisible(c) { '\u{fffd}' } else { c });
        }
        if out.len() > limit {
            break;
        }
    }
    if out.len() > limit {
        let end = (0..=limit.saturating_sub('…'.len_utf8())).rev().find(|at| out.is_char_boundary(*at));
        out.truncate(end.unwrap_or(0));
        out.push('…');
    }
    out
}

/// The beginning of a body, as it may stand in a reason: quoted, or nothing if there is nothing to say.
pub(crate) fn quoted(body: &[u8]) -> String {
    let text = printable(&String::from_utf8_lossy(body), 100);
    if text.is_empty() { text } else { format!(" \"{}\"", text.replace('"', "'")) }
}

/// Marks that change how the text around them is shown, as in CVE-2021-42574.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_cannot_be_driven_by_a_reason() {
        assert_eq!(printable("db\u{1b}[31m down\r\n\n now\0", 100), "db [31m down now");
        assert_eq!(printable("a\u{202e}b", 100), "a\u{fffd}b");
        assert_eq!(quoted(b"say \"hi\"\xff"), " \"say 'hi'\u{fffd}\"");
        assert_eq!(quoted(b"\r\n"), "");
    }

    proptest::proptest! {
        #[test]
        fn it_is_short_and_on_one_line(text in "\\PC*|.*", limit in 3_usize..50) {
            let shown = printable(&text, limit);
            proptest::prop_assert!(shown.len() <= limit);
            proptest::prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
