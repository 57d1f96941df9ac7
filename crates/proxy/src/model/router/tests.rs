//! The router against its specification, and the cases that the Gateway API describes.

use proptest::prelude::*;
use tutti_ports::routing::{FieldMatch, Match, PathMatch, ValueMatch};

use super::*;

fn route(name: &str, hosts: &[&str], matches: Vec<Match>) -> Route {
    Route { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), matches, ..Route::named(name) }
}

fn on(path: PathMatch) -> Match {
    Match { path: Some(path), ..Match::default() }
}

fn prefix(path: &str) -> Match {
    on(PathMatch::Prefix(path.to_owned()))
}

fn exact(path: &str) -> Match {
    on(PathMatch::Exact(path.to_owned()))
}

fn regex(pattern: &str) -> Match {
    on(PathMatch::Regex(pattern.to_owned()))
}

fn field(name: &str, value: &str) -> FieldMatch {
    FieldMatch { name: name.to_owned(), value: ValueMatch::Exact(value.to_owned()) }
}

fn found<'a>(routes: &'a [Route], host: &str, target: &str) -> Option<&'a str> {
    found_with(routes, host, target, Method::GET, &HeaderMap::new())
}

fn found_with<'a>(
    routes: &'a [Route],
    host: &str,
    target: &str,
    method: Method,
    headers: &HeaderMap,
) -> Option<&'a str> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let host = host_key(host).unwrap();
    let asked = Asked { host: &host, path, query, method: &method, headers, caller: Caller::default() };
    Router::compile(routes).unwrap().find(&asked).map(|found| routes[found.route].name.as_str())
}

#[test]
fn the_path_decides_by_kind_and_length() {
    let routes = [
        route("root", &[], vec![]),
        route("a", &[], vec![prefix("/a")]),
        route("ab", &[], vec![prefix("/a/b/")]),
        route("exact", &[], vec![exact("/a/b")]),
        route("digits", &[], vec![regex("/a/[0-9]+")]),
        route("long-digits", &[], vec![regex("/a/[0-9]+(/x)?")]),
    ];
    for (path, name) in [
        ("/", "root"),
        ("/ab", "root"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/x", "a"),
        ("/a/b", "exact"),
        ("/a/b/", "ab"),
        ("/a/b/c", "ab"),
        ("/a/bc", "a"),
        ("/a/12", "long-digits"),
        ("/a/12/y", "a"),
    ] {
        assert_eq!(found(&routes, "h", path), Some(name), "{path}");
    }
}

#[test]
fn the_host_decides_before_the_path_and_hides_nothing() {
    let routes = [
        route("any", &[], vec![exact("/x")]),
        route("wild", &["*.shop.test"], vec![prefix("/")]),
        route("deep", &["*.eu.shop.test"], vec![prefix("/")]),
        route("one", &["www.shop.test"], vec![prefix("/only")]),
    ];
    for (host, path, name) in [
        ("www.shop.test", "/only", Some("one")),
        ("WWW.Shop.Test.:8080", "/only/x", Some("one")),
        ("www.shop.test", "/x", Some("wild")),
        ("a.eu.shop.test", "/x", Some("deep")),
        ("a.b.shop.test", "/", Some("wild")),
        ("eu.shop.test", "/", Some("wild")),
        ("shop.test", "/", None),
        ("shop.test", "/x", Some("any")),
        ("", "/x", Some("any")),
        ("[::1]:80", "/x", Some("any")),
    ] {
        assert_eq!(found(&routes, host, path), name, "{host} {path}");
    }
}

#[test]
fn method_headers_and_query_break_ties() {
    let with = |method: Option<&str>, headers: &[(&str, &str)], query: &[(&str, &str)]| Match {
        path: Some(PathMatch::Prefix("/".into())),
        method: method.map(str::to_owned),
        headers: headers.iter().map(|(name, value)| field(name, value)).collect(),
        query: query.iter().map(|(name, value)| field(name, value)).collect(),
    };
    let routes = [
        route("plain", &[], vec![with(None, &[], &[])]),
        route("second", &[], vec![with(None, &[], &[])]),
        route("query", &[], vec![with(None, &[], &[("q", "a b")])]),
        route("header", &[], vec![with(None, &[("x-a", "1, 2")], &[])]),
        route("two-headers", &[], vec![with(None, &[("x-a", "1, 2"), ("x-b", "3")], &[])]),
        route("post", &[], vec![with(Some("POST"), &[], &[])]),
    ];
    let mut headers = HeaderMap::new();
    assert_eq!(found(&routes, "h", "/"), Some("plain"));
    assert_eq!(found(&routes, "h", "/?x&q=a+b&q=c"), Some("query"));
    assert_eq!(found(&routes, "h", "/?q=a%20b"), Some("query"));
    assert_eq!(found(&routes, "h", "/?q=c&q=a+b"), Some("plain"));
    headers.append("x-a", "1".parse().unwrap());
    headers.append("x-a", "2".parse().unwrap());
    assert_eq!(found_with(&routes, "h", "/?q=a+b", Method::GET, &headers), Some("header"));
    headers.append("x-b", "3".parse().unwrap());
    assert_eq!(found_with(&routes, "h", "/", Method::GET, &headers), Some("two-headers"));
    assert_eq!(found_with(&routes, "h", "/", Method::POST, &headers), Some("post"));
}

#[test]
fn what_cannot_work_is_refused_with_the_routes_name() {
    for (bad, text) in [
        (route("r", &[], vec![regex("(")]), "regular expression \"(\""),
        (route("r", &[], vec![regex("a)|(b")]), "regular expression"),
        (route("r", &[], vec![regex("(a{1000}){1000}")]), "regular expression"),
        (route("r", &[], vec![prefix("a")]), "can never match"),
        (route("r", &[], vec![exact("/a/../b")]), "write \"/b\""),
        (route("r", &["a:80"], vec![]), "not a host name"),
        (route("r", &["a.*.b"], vec![]), "not a host name"),
        (route("r", &["*"], vec![]), "not a host name"),
        (route("r", &[], vec![Match { method: Some("A B".into()), ..Match::default() }]), "not a method"),
    ] {
        let error = Router::compile(&[bad]).unwrap_err().to_string();
        assert!(error.contains("route \"r\"") && error.contains(text), "{error}");
    }
}

#[test]
fn hosts_are_read_as_clients_write_them() {
    for (host, key) in [
        ("Shop.Test", Some("shop.test")),
        ("shop.test.:80", Some("shop.test")),
        ("shop.test:", Some("shop.test")),
        ("[::1]", Some("[::1]")),
        ("[::1]:443", Some("[::1]")),
        ("", Some("")),
        ("a b", None),
        ("a/b", None),
        ("u@h", None),
        ("[::1", None),
        ("[x]", None),
        ("::1", None),
        ("a:b", None),
        ("h:99999", None),
        ("h..", None),
        (".", None),
        (".test", None),
        ("a..b", None),
        (":80", None),
    ] {
        assert_eq!(host_key(host).as_deref(), key, "{host}");
    }
    assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
    assert_eq!(split_port("[::1]"), ("[::1]", None));
    assert!(host_key(&"a.".repeat(200)).is_none());
}

fn some_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "ab", ""], 0..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn some_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        some_path().prop_map(PathMatch::Exact),
        some_path().prop_map(PathMatch::Prefix),
        prop_oneof![Just("/a.*"), Just("/[ab]+"), Just("/(a|b)/?.*")]
            .prop_map(|pattern| PathMatch::Regex(pattern.to_owned())),
    ];
    (proptest::option::weighted(0.9, path), proptest::option::of(prop_oneof!["GET", "POST"]), any::<bool>())
        .prop_map(|(path, method, header)| Match {
            path,
            method,
            headers: if header { vec![field("x-a", "1")] } else { vec![] },
            query: vec![],
        })
}

fn some_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![Just("a.b.c"), Just("b.c"), Just("*.c"), Just("*.b.c")];
    (proptest::collection::vec(host, 0..3), proptest::collection::vec(some_match(), 0..3))
        .prop_map(|(hosts, matches)| route("r", &hosts, matches))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_router_is_its_specification(
        routes in proptest::collection::vec(some_route(), 0..12),
        host in prop_oneof![Just("a.b.c"), Just("b.c"), Just("x.c"), Just("c"), Just("x.a.b.c")],
        path in some_path(),
        (post, header) in any::<(bool, bool)>(),
    ) {
        let mut headers = HeaderMap::new();
        if header {
            headers.insert("x-a", "1".parse().unwrap());
        }
        let method = if post { Method::POST } else { Method::GET };
        let caller = Caller::default();
        let asked = Asked { host, path: &path, query: None, method: &method, headers: &headers, caller };
        let router = Router::compile(&routes).unwrap();
        prop_assert_eq!(router.find(&asked), spec::find(&routes, &asked, |_, _| false));
    }

    #[test]
    fn hosts_never_panic(host in "\\PC{0,30}") {
        let _ = host_key(&host);
    }
}

fn section(name: &str, section: &str, hosts: &[&str]) -> Route {
    Route { section: Some(section.to_owned()), ..route(name, hosts, vec![]) }
}

#[test]
fn a_request_belongs_to_one_section_and_the_others_do_not_exist_for_it() {
    // The listeners of the Gateway API's GatewayHTTPListenerIsolation.
    let routes = [
        route("empty", &[], vec![prefix("/empty")]),
        Route { matches: vec![prefix("/wild")], ..section("wild", "*.example.com", &[]) },
        Route { matches: vec![prefix("/foo-wild")], ..section("foo-wild", "*.foo.example.com", &[]) },
        Route { matches: vec![prefix("/abc")], ..section("abc", "abc.foo.example.com", &[]) },
    ];
    let paths = ["/empty", "/wild", "/foo-wild", "/abc"];
    for (host, name) in [
        ("bar.com", "empty"),
        ("bar.example.com", "wild"),
        ("a.b.example.com", "wild"),
        ("bar.foo.example.com", "foo-wild"),
        ("abc.foo.example.com", "abc"),
    ] {
        for path in paths {
            let expected = (path == format!("/{name}")).then_some(name);
            assert_eq!(found(&routes, host, path), expected, "{host}{path}");
        }
    }
    // A route's own hosts hold within its section only.
    let routes = [section("in", "*.example.com", &["*.com"]), section("out", "*.example.com", &["a.test"])];
    assert_eq!(found(&routes, "a.example.com", "/"), Some("in"));
    assert_eq!(found(&routes, "a.test", "/"), None);
    assert_eq!(found(&routes, "b.com", "/"), None);
    assert!(Router::compile(&[section("bad", "a.test:80", &[])]).is_err());
}

#[test]
fn grpc_methods_are_compared_by_service_then_by_method() {
    let grpc = |service: Option<&str>, method: Option<&str>| {
        on(PathMatch::Grpc { service: service.map(str::to_owned), method: method.map(str::to_owned) })
    };
    let routes = [
        route("any", &[], vec![]),
        route("get", &[], vec![grpc(None, Some("Get"))]),
        route("service", &[], vec![grpc(Some("a.A"), None)]),
        route("both", &[], vec![grpc(Some("a.A"), Some("Put"))]),
    ];
    for (path, name) in [
        ("/a.A/Put", "both"),
        ("/a.A/Get", "service"),
        ("/b.B/Get", "get"),
        ("/b.B/Put", "any"),
        ("/a.A/Put/x", "service"),
        ("//Get", "any"),
        ("/Get", "any"),
    ] {
        assert_eq!(found(&routes, "h", path), Some(name), "{path}");
    }
}

#[test]
fn what_made_a_rule_match_is_told() {
    let by_all = Match { method: Some("GET".to_owned()), query: vec![field("q", "1")], ..exact("/a") };
    let routes = [route("r", &["*.test"], vec![by_all])];
    let router = Router::compile(&routes).unwrap();
    let headers = HeaderMap::new();
    let (method, headers, caller) = (&Method::GET, &headers, Caller::default());
    let asked = Asked { host: "a.test", path: "/a", query: Some("q=1"), method, headers, caller };
    let by = router.find(&asked).unwrap().by;
    let expected =
        By { host: ByHost::Wildcard, path: ByPath::Exact, method: true, query: 1, ..By::default() };
    assert_eq!(by, expected);
}

fn when(name: &str, condition: &str, matches: Vec<Match>) -> Route {
    Route { when: Some(condition.to_owned()), ..route(name, &[], matches) }
}

#[test]
fn a_condition_decides_after_everything_else_that_is_the_same() {
    let by_header = Match { headers: vec![field("x-a", "1")], ..prefix("/a") };
    let routes = [
        route("plain", &[], vec![prefix("/a")]),
        when("beta", "request.headers['x-b'] == 'beta'", vec![prefix("/a")]),
        route("header", &[], vec![by_header]),
        when("query", "request.query.contains('q=') && source.address == '127.0.0.1'", vec![prefix("/a")]),
        when("never", "request.scheme == 'https'", vec![exact("/a/x")]),
    ];
    let with = |headers: &[(&'static str, &str)], target| {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        found_with(&routes, "h", target, Method::GET, &headers)
    };
    assert_eq!(with(&[], "/a/x"), Some("plain"), "a condition that cannot be evaluated does not hold");
    assert_eq!(
        with(&[("x-b", "beta")], "/a"),
        Some("beta"),
        "more specific than nothing, whatever the order"
    );
    assert_eq!(
        with(&[("x-b", "beta"), ("x-a", "1")], "/a"),
        Some("header"),
        "conditions on fields come first"
    );
    assert_eq!(with(&[], "/a?q=1"), Some("query"));
    assert_eq!(with(&[("x-b", "beta")], "/a?q=1"), Some("beta"), "of two conditions the first");
    assert_eq!(found(&routes[4..], "h", "/a/x"), None);
}

#[test]
fn a_condition_is_evaluated_only_if_all_else_matches_and_counted_if_it_cannot_be() {
    let post = Match { method: Some("POST".to_owned()), ..prefix("/a") };
    let routes = [when("r", "request.headers['x-none'] == ''", vec![post])];
    let router = Router::compile(&routes).unwrap();
    let (headers, failed) = (HeaderMap::new(), Counter::default());
    let find = |method: &Method, path: &str| {
        let caller = Caller { failed: Some(&failed), ..Caller::default() };
        router.find(&Asked { host: "h", path, query: None, method, headers: &headers, caller }).is_some()
    };
    assert!(!find(&Method::GET, "/a") && !find(&Method::POST, "/b"));
    assert_eq!(failed.get(), 0);
    assert!(!find(&Method::POST, "/a"));
    assert_eq!(failed.get(), 1);
}

#[test]
fn a_condition_that_cannot_be_is_refused_with_its_route() {
    let error = Router::compile(&[when("r", "request.path", vec![])]).unwrap_err().to_string();
    assert!(
        error.contains("route \"r\": when: line 1 column") && error.contains("this is a text"),
        "{error}"
    );
    let many = (0..1_025).map(|at| prefix(&format!("/{at}"))).collect();
    let error = Router::compile(&[when("r", "true", many)]).unwrap_err().to_string();
    assert!(error.contains("at most 1024 conditions"), "{error}");
}
