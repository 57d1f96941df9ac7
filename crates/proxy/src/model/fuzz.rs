//! What must hold of the form of a path and of routing by it, whatever a client sends. For the fuzz target in `/fuzz`, and for the
//! tests, which run it over the same seeds and some thousand mutations.
//!
//! The input is a `Host`, a NUL, and a path.

use std::sync::OnceLock;

use http::{HeaderMap, Method};
use tutti_ports::routing::{Match, PathMatch, PathRewrite, Route};

use super::path::normalize;
use super::rewrite;
use super::router::{Asked, Caller, Found, Router, host_key};

fn route(name: &str, host: Option<&str>, path: PathMatch) -> Route {
    Route {
        hosts: host.map(str::to_owned).into_iter().collect(),
        matches: vec![Match { path: Some(path), ..Match::default() }],
        ..Route::named(name)
    }
}

fn router() -> Option<&'static Router> {
    static ROUTER: OnceLock<Option<Router>> = OnceLock::new();
    let made = ROUTER.get_or_init(|| {
        Router::compile(&[
            route("exact", Some("a.test"), PathMatch::Exact("/exact".into())),
            route("utf8", None, PathMatch::Exact("/caf%C3%A9".into())),
            route("regex", Some("*.test"), PathMatch::Regex("/r/[0-9]+(/.*)?".into())),
            route("admin", None, PathMatch::Prefix("/admin".into())),
            route("api", None, PathMatch::Prefix("/api".into())),
            route("all", None, PathMatch::Prefix("/".into())),
        ])
        .ok()
    });
    made.as_ref()
}

fn found(router: &Router, host: &str, path: &str) -> Option<Found> {
    let headers = HeaderMap::new();
    let caller = Caller::default();
    router.find(&Asked { host, path, query: None, method: &Method::GET, headers: &headers, caller })
}

/// A path has one form, that form has no dot segments in any reading, and matching sees only the form.
pub fn route_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((host, path)) = text.split_once('\0') else { return };
    let host = host_key(host).unwrap_or_default();
    assert!(
        !host.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' ' || byte == b'@' || byte == b'/')
    );
    assert_eq!(host_key(&host).as_deref(), Some(&*host), "a host has one form");
    let Ok(form) = normalize(path) else { return };
    assert_eq!(normalize(&form).as_deref(), Ok(&*form), "a path has one form");
    assert!(form.starts_with('/') && form.bytes().all(|byte| byte > b' ' && byte != b'\\' && byte != 0x7f));
    let read = form.replace("%2F", "/").replace("%2E", ".");
    assert!(!form.contains("%2f"), "an encoding in small letters is left");
    assert!(
        !read.split('/').any(|segment| segment == "." || segment == ".."),
        "a dot segment is left in {form}"
    );
    let found = router().and_then(|router| found(router, &host, &form));
    assert!(found.is_some(), "the last route takes everything");
    if let Some(found) = found.filter(|found| found.prefix > 0) {
        let stripped = rewrite::path(&PathRewrite::Prefix("/".into()), &form, found.prefix);
        assert!(stripped.starts_with('/'), "{form} becomes {stripped}");
        assert!(!stripped.split('/').any(|segment| segment == "." || segment == ".."));
    }
}

#[cfg(test)]
mod tests {
    use tutti_core::random::Rng;

    #[test]
    fn route_paths() {
        const PIECES: [&str; 22] = [
            "/", "..", ".", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "%3b", "%00", "\0", "//", "%",
            "admin", "api", "%c3%a9", "%25", "é", "?", "a.test",
        ];
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/route_path");
        let seeds: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        assert!(seeds.len() >= 8);
        seeds.iter().for_each(|seed| super::route_path(seed.as_bytes()));
        let rng = Rng::seeded(7);
        for _ in 0..20_000 {
            let mut input: Vec<char> = seeds[rng.below(seeds.len())].chars().collect();
            for _ in 0..=rng.below(5) {
                let at = rng.below(input.len() + 1);
                if rng.below(4) == 0 && at < input.len() {
                    input.remove(at);
                } else {
                    input.splice(at..at, PIECES[rng.below(PIECES.len())].chars());
                }
            }
            super::route_path(input.into_iter().collect::<String>().as_bytes());
        }
    }
}
