//! Rewriting paths and making redirects, as the Gateway API's HTTPRoute filters define them.

use tutti_ports::routing::PathRewrite;

/// The path after a rewrite. `matched` is the length of the prefix that the route matched, without a trailing
/// slash; it counts only for [`PathRewrite::Prefix`]. Both prefixes are taken without their trailing slash
/// and joined to the rest by exactly the slash that the request had; nothing left over becomes `/`.
pub fn path(rewrite: &PathRewrite, path: &str, matched: usize) -> String {
    match rewrite {
        PathRewrite::Full(full) => {
            if full.starts_with('/') {
                full.clone()
            } else {
                format!("/{full}")
            }
        }
        PathRewrite::Prefix(prefix) => {
            let rest = path.get(matched..).unwrap_or_default();
            let prefix = prefix.trim_end_matches('/');
            let mut out = String::with_capacity(prefix.len() + rest.len() + 1);
            if !prefix.starts_with('/') && !prefix.is_empty() {
                out.push('/');
            }
            out.push_str(prefix);
            if !rest.is_empty() && !rest.starts_with('/') {
                out.push('/');
            }
            out.push_str(rest);
            if out.is_empty() {
                out.push('/');
            }
            out
        }
    }
}

/// What a request asked for, as far as a redirect needs it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// Host and port as the client named them.
    pub authority: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// Length of the matched prefix; see [`path`].
    pub matched: usize,
}

/// What a redirect changes.
#[derive(Clone, Copy, Debug)]
pub struct Redirect<'a> {
    /// The scheme.
    pub scheme: Option<&'a str>,
    /// The host.
    pub host: Option<&'a str>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<&'a PathRewrite>,
}

/// The `Location` of a redirect. The query is kept. The port is the one given; else, when the scheme changes,
/// that scheme's own; else the one the client named (the Gateway API says: the listener's, which differs
/// behind another load balancer, and there the client's is the one that works). Default ports are left out.
pub fn location(redirect: &Redirect<'_>, asked: &Asked<'_>) -> String {
    let scheme = redirect.scheme.unwrap_or(asked.scheme);
    let (asked_host, asked_port) = super::router::split_port(asked.authority);
    let host = redirect.host.unwrap_or(asked_host);
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(changed)) if changed != asked.scheme => None,
        _ => asked_port,
    };
    let default = if scheme == "https" { 443 } else { 80 };
    let port = port.filter(|port| *port != default).map_or(String::new(), |port| format!(":{port}"));
    let path = redirect
        .path
        .map_or_else(|| asked.path.to_owned(), |rewrite| self::path(rewrite, asked.path, asked.matched));
    let query = asked.query.map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{host}{port}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_as_the_gateway_api_tables_say() {
        for (asked, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
            ("/", "/", "/xyz", "/xyz/"),
        ] {
            let rewrite = PathRewrite::Prefix(replacement.to_owned());
            let matched = matched.trim_end_matches('/').len();
            assert_eq!(path(&rewrite, asked, matched), expected, "{asked} {matched} {replacement}");
        }
        assert_eq!(path(&PathRewrite::Full("/one".into()), "/foo/bar", 4), "/one");
    }

    fn asked<'a>(authority: &'a str, query: Option<&'a str>) -> Asked<'a> {
        Asked { scheme: "http", authority, path: "/a/b", query, matched: 2 }
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let none = Redirect { scheme: None, host: None, port: None, path: None };
        assert_eq!(location(&none, &asked("shop:8080", Some("q=1"))), "http://shop:8080/a/b?q=1");
        assert_eq!(location(&none, &asked("shop:80", None)), "http://shop/a/b");
        let tls = Redirect { scheme: Some("https"), ..none };
        assert_eq!(location(&tls, &asked("shop:8080", None)), "https://shop/a/b");
        let tls = Redirect { scheme: Some("https"), port: Some(443), ..none };
        assert_eq!(location(&tls, &asked("shop", None)), "https://shop/a/b");
        let port = Redirect { port: Some(8443), scheme: Some("https"), ..none };
        assert_eq!(location(&port, &asked("shop", None)), "https://shop:8443/a/b");
        let host = Redirect { host: Some("other"), ..none };
        assert_eq!(location(&host, &asked("[::1]:8080", None)), "http://other:8080/a/b");
        let rewrite = PathRewrite::Prefix("/".into());
        let path = Redirect { path: Some(&rewrite), ..none };
        assert_eq!(location(&path, &asked("[::1]", None)), "http://[::1]/b");
    }
}
