//! Names of header fields, whole or by how they begin.

use http::{HeaderMap, HeaderName};

/// A set of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    whole: Vec<HeaderName>,
    beginnings: Vec<String>,
}

impl Names {
    /// From texts in lower case; `x-auth-*` stands for all names that begin with `x-auth-`. The error is a sentence.
    pub fn compile(texts: &[String]) -> Result<Self, String> {
        let mut names = Self::default();
        for text in texts {
            let bad = |_| format!("{text:?} is not the name of a header field");
            match text.strip_suffix('*') {
                Some(beginning) => {
                    HeaderName::from_bytes(beginning.as_bytes()).map_err(bad)?;
                    names.beginnings.push(beginning.to_owned());
                }
                None => names.add(HeaderName::from_bytes(text.as_bytes()).map_err(bad)?),
            }
        }
        Ok(names)
    }

    /// One more.
    pub fn add(&mut self, name: HeaderName) {
        if !self.whole.contains(&name) {
            self.whole.push(name);
        }
    }

    /// Those of another set, except some.
    pub fn extend(&mut self, other: &Names, except: &[HeaderName]) {
        for name in other.whole.iter().filter(|name| !except.contains(name)) {
            self.add(name.clone());
        }
        self.beginnings.extend(other.beginnings.iter().cloned());
    }

    /// Into one order, so that equal sets are equal.
    pub fn sort(&mut self) {
        self.whole.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.beginnings.sort_unstable();
        self.beginnings.dedup();
    }

    /// Whether a name is among them.
    pub fn hold(&self, name: &HeaderName) -> bool {
        self.whole.contains(name) || self.beginnings.iter().any(|begin| name.as_str().starts_with(&**begin))
    }

    /// Removes the fields of these names, and those that servers which turn `-` into `_` do not tell from them (CGI, WSGI, PHP).
    pub fn strip(&self, headers: &mut HeaderMap) {
        let looks = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            self.whole.iter().any(|own| name.len() == own.as_str().len() && begins(name, own.as_str()))
                || self.beginnings.iter().any(|own| begins(name, own))
        };
        while let Some(name) = headers.keys().find(|name| looks(name)).cloned() {
            headers.remove(name);
        }
    }
}

fn begins(name: &[u8], with: &str) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() >= with.len() && name.iter().zip(with.bytes()).all(|(a, b)| dash(*a) == dash(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_removed_in_every_spelling() {
        let names =
            Names::compile(&["x-tutti-consumer", "x-user_id", "x-auth-*"].map(str::to_owned)).unwrap();
        let mut headers = HeaderMap::new();
        for name in [
            "x-tutti-consumer",
            "x_tutti_consumer",
            "x-tutti_consumer",
            "x-user-id",
            "x-user_id",
            "x-auth-a",
            "x_auth_b",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), "evil".parse().unwrap());
        }
        headers.append("x-user", "1".parse().unwrap());
        headers.append("x-authority", "1".parse().unwrap());
        names.strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-authority", "x-user"]);
        assert!(names.hold(&HeaderName::from_static("x-auth-user")));
        assert!(!names.hold(&HeaderName::from_static("x_auth_user")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", "*", "a b", "a:b*"] {
            assert!(Names::compile(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
