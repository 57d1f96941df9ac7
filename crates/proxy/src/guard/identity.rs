//! Header fields by which services are told who asks. Nobody but us may set them: strangers' own are removed on every
//! route of every listener of the edge, whether that route asks for credentials or not.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tutti_ports::routing::Route;

use super::auth::CONSUMER;

/// The names of such fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields(Vec<HeaderName>);

impl Fields {
    /// The fields that any of the routes sets; `None` if none does.
    pub fn of<'a>(routes: impl Iterator<Item = &'a Route>) -> Option<Arc<Self>> {
        let mut names = vec![CONSUMER];
        let mut any = false;
        for auth in routes.filter_map(|route| route.guard.auth.as_ref()) {
            any = true;
            for name in auth.jwt.iter().flat_map(|jwt| jwt.headers.keys()) {
                // What is no name is refused where the route is compiled.
                names.extend(HeaderName::from_bytes(name.as_bytes()).ok());
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        any.then(|| Arc::new(Self(names)))
    }

    /// Removes them, and those that servers which turn `-` into `_` do not tell from them (CGI, WSGI, PHP).
    pub fn strip(&self, headers: &mut HeaderMap) {
        let same = |a: u8, b: u8| a == b || (a == b'_' && b == b'-');
        let ours = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            self.0.iter().any(|own| {
                let own = own.as_str().as_bytes();
                own.len() == name.len() && name.iter().zip(own).all(|(a, b)| same(*a, *b) || same(*b, *a))
            })
        };
        while let Some(name) = headers.keys().find(|name| ours(name)).cloned() {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_removed_in_every_spelling() {
        let fields = Fields(vec![CONSUMER, HeaderName::from_static("x-user_id")]);
        let mut headers = HeaderMap::new();
        for name in ["x-tutti-consumer", "x_tutti_consumer", "x-tutti_consumer", "x-user-id", "x-user_id"] {
            headers.append(name, "evil".parse().unwrap());
        }
        headers.append("x-user", "1".parse().unwrap());
        fields.strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-user"]);
    }
}
