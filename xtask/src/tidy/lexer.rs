//! Just enough of Rust's lexical structure to search in code and not in comments, strings or tests.

/// The source with comments and the insides of strings and character literals blanked. Lines stay where they are, and
/// so do the bytes.
pub fn code_only(source: &str) -> String {
    let mut lexer = Lexer { rest: source.as_bytes(), out: Vec::with_capacity(source.len()), word: false };
    while lexer.step() {}
    String::from_utf8_lossy(&lexer.out).into_owned()
}

struct Lexer<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    /// Whether the last byte belonged to an identifier: `r` in `for"` is no prefix of a raw string.
    word: bool,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.first().copied() else { return false };
        if self.rest.starts_with(b"//") {
            let len = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
            self.blank(len);
        } else if self.rest.starts_with(b"/*") {
            self.blank(block_comment(self.rest));
        } else if let Some((open, len, close)) = raw_string(self.rest).filter(|_| !self.word) {
            self.literal(open, len, close);
        } else if first == b'"' {
            self.literal(1, quoted(self.rest, b'"'), 1);
        } else if first == b'\'' && is_char(self.rest) {
            self.literal(1, quoted(self.rest, b'\''), 1);
        } else {
            self.word = first.is_ascii_alphanumeric() || first == b'_';
            self.keep(1);
            return true;
        }
        self.word = false;
        true
    }

    fn literal(&mut self, open: usize, len: usize, close: usize) {
        self.keep(open);
        self.blank(len.saturating_sub(open + close));
        self.keep(close);
    }

    fn keep(&mut self, len: usize) {
        let (now, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.out.extend_from_slice(now);
        self.rest = rest;
    }

    fn blank(&mut self, len: usize) {
        let (now, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.out.extend(now.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        self.rest = rest;
    }
}

/// Length of a block comment; they nest.
fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// A raw string at the beginning: length of its opening, of all, and of its closing.
fn raw_string(text: &[u8]) -> Option<(usize, usize, usize)> {
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|prefix| text.starts_with(prefix))?.len();
    let hashes = text.iter().skip(prefix).take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes + 1;
    if text.get(open - 1) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = text.get(open..)?.windows(close.len()).position(|window| window == close);
    Some((open, body.map_or(text.len(), |body| open + body + close.len()), close.len()))
}

/// Length of a literal with escapes, quotes included.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if *byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a quote begins a character, and not a lifetime.
fn is_char(text: &[u8]) -> bool {
    match text.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            // One character of UTF-8, then the quote.
            let len = match first {
                0x00..=0x7F => 1,
                0x80..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xFF => 4,
            };
            text.get(1 + len) == Some(&b'\'')
        }
        None => false,
    }
}

/// Blanks the modules and items that are compiled for tests only. Takes code without comments and strings.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(at) = out.get(from..).and_then(|rest| rest.find("#[cfg(test)]")).map(|at| from + at) {
        let end = item_end(&out, at);
        let blank: String = out
            .get(at..end)
            .unwrap_or_default()
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out = [out.get(..at).unwrap_or_default(), &blank, out.get(end..).unwrap_or_default()].concat();
        from = at + blank.len();
    }
    out
}

/// Where the item that begins here ends: after its braces, or its semicolon if it has none.
fn item_end(code: &str, at: usize) -> usize {
    let rest = code.get(at..).unwrap_or_default();
    match rest.find(['{', ';']) {
        Some(open) if rest.get(open..).is_some_and(|rest| rest.starts_with('{')) => {
            at + open + braces(rest.get(open..).unwrap_or_default())
        }
        Some(semicolon) => at + semicolon + 1,
        None => code.len(),
    }
}

/// The length of a block that begins with its brace, both braces included.
pub fn braces(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Where a word stands by itself, as byte offsets.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part(before) && !part(bytes.get(at + word.len()))
    })
}

/// The line of a byte, from 1.
pub fn line_of(code: &str, at: usize) -> usize {
    code.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blank_and_nothing_else_is() {
        let source = r####"a // unsafe
b /* x /* unsafe */ y */ c "unsafe \" unsafe" d r#"unsafe " unsafe"# e br"unsafe" '{' '\'' 'ä' 'life f<'a>() b'}'
for"x" r##"{"# "## g"####;
        let code = code_only(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), source.lines().count());
        assert!(!code.contains("unsafe") && !code.contains(['{', '}', 'ä', 'x', 'y']), "{code}");
        let bare: String = code.chars().filter(|c| c.is_ascii_alphabetic()).collect();
        assert_eq!(bare, "abcdrebrlifefabforrg");
    }

    #[test]
    fn unfinished_literals_reach_to_the_end_and_do_no_harm() {
        for source in ["\"open", "r#\"open\"", "/* open", "'", "'\\", "b", "r#", "\"\\"] {
            assert_eq!(code_only(source).len(), source.len(), "{source}");
        }
    }

    #[test]
    fn what_is_for_tests_is_cut_out() {
        let source =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\n#[cfg(test)]\nmod more;\nfn c() {}\n";
        let code = without_tests(source);
        assert_eq!(code.lines().count(), source.lines().count());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["fn", "a()", "{}", "fn", "c()", "{}"]);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe unsafe_code not_unsafe x.unsafe", "unsafe").collect::<Vec<_>>(), [0, 32]);
    }
}
