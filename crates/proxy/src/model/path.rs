//! What a request's path means: one reading, the same for matching and for the upstream.
//!
//! A gateway that matches one spelling of a path and sends another lets a caller walk around its rules. So the
//! path is brought into one form (RFC 3986 section 6.2.2), and if that changed it, the changed form is also what
//! the upstream gets:
//!
//! - percent-encoded unreserved characters are decoded (`/%61dmin` is `/admin`); nothing else is, above all
//!   not `%2F`, which stays part of its segment, and not `%25`, so that nothing is decoded twice; the digits of what
//!   stays encoded are written in capitals (section 6.2.2.1), so that `%c3%a9` is no way around a rule for `%C3%A9`;
//! - `.` and `..` segments are resolved, however they are spelt (`%2e`); one that leads above the root is refused;
//! - refused with 400: control characters, NUL also as `%00`, `\` (some servers take it for `/`), a percent sign
//!   without two hex digits, dot segments with a `;` parameter (some servers drop the parameter first), and dot
//!   segments beside `%2F` (`/a/..%2Fb`: servers that decode before they resolve leave the rule's folder by it).
//!
//! Empty segments (`//`) are kept: to some services they mean something, and merging them is not an equivalence.

use std::borrow::Cow;

/// Why a path is refused. Always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A byte that may not stand in a path.
    #[error("the path holds a byte that may not stand there (0x{0:02x})")]
    Byte(u8),
    /// `%` without two hexadecimal digits.
    #[error("the path holds a percent sign without two hexadecimal digits")]
    Escape,
    /// `..` above the root.
    #[error("the path leads above the root")]
    AboveRoot,
    /// A dot segment with a parameter.
    #[error("the path holds a dot segment with a parameter")]
    DotParameter,
    /// A dot segment that begins or ends at an encoded slash.
    #[error("the path holds a dot segment beside an encoded slash")]
    DotSlash,
}

/// The path in its one form; borrowed if it has that form already.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut plain = true;
    let mut before = 0;
    for byte in bytes {
        match *byte {
            bad @ (0..=0x20 | 0x7f | b'\\') => return Err(PathError::Byte(bad)),
            b'%' => plain = false,
            b'.' if before == b'/' => plain = false,
            _ => {}
        }
        before = *byte;
    }
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    match resolve_dots(&decoded)? {
        Some(resolved) => Ok(Cow::Owned(resolved)),
        None => Ok(decoded),
    }
}

/// Decodes what RFC 3986 section 2.3 calls unreserved. The result is ASCII wherever the input was.
pub fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut changed = false;
    let mut parts = path.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(PathError::Escape)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Escape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| PathError::Escape)?;
        match byte {
            0 | b'\\' => return Err(PathError::Byte(byte)),
            b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
                changed = true;
            }
            _ if byte.is_ascii_alphanumeric() => {
                out.push(char::from(byte));
                changed = true;
            }
            _ => {
                out.push('%');
                for digit in digits.chars() {
                    changed |= digit.is_ascii_lowercase();
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
        out.push_str(rest);
    }
    Ok(if changed { Cow::Owned(out) } else { Cow::Borrowed(path) })
}

/// RFC 3986 section 5.2.4; `None` if there is nothing to resolve.
fn resolve_dots(path: &str) -> Result<Option<String>, PathError> {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    let mut found = false;
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        if is_dots(name) {
            if name.len() != segment.len() {
                return Err(PathError::DotParameter);
            }
            found = true;
        }
        if is_beside_slash(segment) {
            return Err(PathError::DotSlash);
        }
    }
    if !found {
        return Ok(None);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_dots = false;
    for segment in path.split('/').skip(1) {
        ends_in_dots = is_dots(segment);
        match segment {
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            name => kept.push(name),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_dots || out.is_empty() {
        out.push('/');
    }
    Ok(Some(out))
}

/// Whether a segment with an encoded slash, read as a path of its own, has dot segments. Its digits are capitals.
fn is_beside_slash(segment: &str) -> bool {
    let name = |part: &str| part.split(';').next().is_some_and(|name| name == "." || name == "..");
    segment.contains("%2F") && segment.split("%2F").any(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_in_form_is_not_copied() {
        for path in ["/", "/a", "/a/b.txt", "/a//b", "/a%2Fb", "/a;x=1/b", "/é", "/a.b/c."] {
            assert_eq!(normalize(path).unwrap(), path);
        }
        assert!(matches!(normalize("/a/b.txt"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn dots_are_resolved_in_every_spelling() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/.", "/"),
            ("/a//../b", "/a/b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/%61dmin/%7e", "/admin/~"),
            ("/%2561", "/%2561"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%2fb%3bc", "/a%2Fb%3Bc"),
            ("/a%2F...%2Fb", "/a%2F...%2Fb"),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/%2e%2e/etc", PathError::AboveRoot),
            ("/a%00", PathError::Byte(0)),
            ("/a\0", PathError::Byte(0)),
            ("/a\\..\\b", PathError::Byte(b'\\')),
            ("/a%5c..", PathError::Byte(b'\\')),
            ("/a b", PathError::Byte(b' ')),
            ("/a%", PathError::Escape),
            ("/a%2", PathError::Escape),
            ("/a%zz", PathError::Escape),
            ("/a%é", PathError::Escape),
            ("/a%+1", PathError::Escape),
            ("/a/..;/b", PathError::DotParameter),
            ("/a/%2e%2e;x/b", PathError::DotParameter),
            ("/a%2F..%2Fb", PathError::DotSlash),
            ("/a/..%2fadmin", PathError::DotSlash),
            ("/a/%2e%2e%2fadmin", PathError::DotSlash),
            ("/a/x%2f..", PathError::DotSlash),
            ("/a/x%2f.%2fb", PathError::DotSlash),
            ("/a/..;x%2fb", PathError::DotParameter),
        ] {
            assert_eq!(normalize(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_form_is_stable_and_has_no_dot_segments(path in "/([a-c./%;]|%2[eEfF]|%61){0,24}") {
            if let Ok(once) = normalize(&path) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
                // Nor has it for a server that decodes slashes first.
                let decoded = once.replace("%2F", "/").replace("%2f", "/");
                prop_assert!(!decoded.split('/').any(|segment| segment == "." || segment == ".."));
                prop_assert_eq!(normalize(&once).unwrap(), once.as_ref());
            }
        }

        #[test]
        fn nothing_panics(path in "\\PC{0,40}") {
            let _ = normalize(&path);
        }
    }
}
