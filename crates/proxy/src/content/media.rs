//! Sets of media types, as a configuration names them: `text/html`, `text/*`, `application/*+json`, `*/*`.

/// Some media types.
#[derive(Clone, Debug, Default)]
pub struct Types(Vec<One>);

#[derive(Clone, Debug)]
struct One {
    /// `None`: any.
    kind: Option<Box<str>>,
    sub: Sub,
}

#[derive(Clone, Debug)]
enum Sub {
    Any,
    Exact(Box<str>),
    /// Ends with this, plus sign and all (RFC 6839).
    Suffix(Box<str>),
}

impl Types {
    /// Compiles a list; the error is a sentence.
    pub fn compile(names: &[String]) -> Result<Self, String> {
        let bad = |name: &str| {
            format!("{name:?} is not a media type such as `text/html`, `text/*` or `application/*+json`")
        };
        let one = |name: &String| {
            let lower = name.to_ascii_lowercase();
            let (kind, sub) = lower.split_once('/').ok_or_else(|| bad(name))?;
            let token = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
            };
            let sub = match sub {
                "*" => Sub::Any,
                _ => match sub.strip_prefix('*') {
                    Some(suffix) if suffix.len() > 1 && suffix.starts_with('+') && token(suffix) => {
                        Sub::Suffix(Box::from(suffix))
                    }
                    None if token(sub) => Sub::Exact(Box::from(sub)),
                    _ => return Err(bad(name)),
                },
            };
            let kind = match kind {
                "*" if matches!(sub, Sub::Any) => None,
                kind if token(kind) => Some(Box::from(kind)),
                _ => return Err(bad(name)),
            };
            Ok(One { kind, sub })
        };
        names.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the value of a `Content-Type` field is one of them; its parameters do not count.
    pub fn hold(&self, content_type: &[u8]) -> bool {
        let Some((kind, sub)) = essence(content_type) else { return false };
        self.0.iter().any(|one| {
            one.kind.as_ref().is_none_or(|wanted| kind.eq_ignore_ascii_case(wanted.as_bytes()))
                && match &one.sub {
                    Sub::Any => true,
                    Sub::Exact(wanted) => sub.eq_ignore_ascii_case(wanted.as_bytes()),
                    Sub::Suffix(wanted) => sub
                        .len()
                        .checked_sub(wanted.len())
                        .and_then(|from| sub.get(from..))
                        .is_some_and(|end| end.eq_ignore_ascii_case(wanted.as_bytes())),
                }
        })
    }
}

/// The two names of a media type, without its parameters (RFC 9110 section 8.3.1).
pub fn essence(content_type: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
    let slash = name.iter().position(|byte| *byte == b'/')?;
    let (kind, sub) = (name.get(..slash)?, name.get(slash + 1..)?);
    (!kind.is_empty() && !sub.is_empty()).then_some((kind, sub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_matched_without_their_parameters() {
        let types =
            |names: &[&str]| Types::compile(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let some = types(&["text/*", "application/json", "application/*+json"]).unwrap();
        for (kind, holds) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/Plain", true),
            ("application/json;a=b", true),
            ("application/problem+JSON", true),
            ("application/jsonx", false),
            ("application/+xml", false),
            ("textual/x", false),
            ("text", false),
            ("", false),
            ("/", false),
        ] {
            assert_eq!(some.hold(kind.as_bytes()), holds, "{kind}");
        }
        assert!(types(&["*/*"]).unwrap().hold(b"a/b"));
        for bad in ["json", "a/", "/b", "a b/c", "*/json", "text/*html", "a/*+"] {
            assert!(types(&[bad]).is_err(), "{bad}");
        }
    }
}
