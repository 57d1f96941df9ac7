//! Header fields by which services are told who asks. Nobody but us may set them: strangers' own are removed on every
//! route of every listener of the edge, whether that route asks for credentials or not.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use tutti_ports::routing::Route;

use super::auth::CONSUMER;
use crate::model::names::Names;

/// The names of such fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields(Names);

/// Fields that an authorization service may write anew, and that clients bring all the same.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

impl Fields {
    /// The fields that any of the routes sets; `None` if none does.
    pub fn of<'a>(routes: impl Iterator<Item = &'a Route>) -> Option<Arc<Self>> {
        let mut names = Names::default();
        let mut any = false;
        for guard in routes.map(|route| &route.guard) {
            if let Some(auth) = &guard.auth {
                any = true;
                names.add(CONSUMER);
                for name in auth.jwt.iter().flat_map(|jwt| jwt.headers.keys()) {
                    // What is no name is refused where the route is compiled.
                    HeaderName::from_bytes(name.as_bytes()).into_iter().for_each(|name| names.add(name));
                }
            }
            if let Some(external) = &guard.external {
                any = true;
                if let Ok(theirs) = Names::compile(&external.upstream_headers) {
                    names.extend(&theirs, &CREDENTIALS);
                }
            }
        }
        names.sort();
        any.then(|| Arc::new(Self(names)))
    }

    /// Removes them, and those that servers which turn `-` into `_` do not tell from them (CGI, WSGI, PHP).
    pub fn strip(&self, headers: &mut HeaderMap) {
        self.0.strip(headers);
    }
}
