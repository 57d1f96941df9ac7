//! Routes, filters, and changing them while they are in use.

use http::{HeaderValue, Request};
use tutti_net::Body;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{Filter, HeaderEdit, Match, PathMatch, PathRewrite, Route, Routing, Serve};

use crate::harness::*;

fn prefix(path: &str, service: &str) -> Route {
    let path = Some(PathMatch::Prefix(path.into()));
    Route {
        matches: vec![Match { path, ..Match::default() }],
        name: format!("{service}{}", path_name(service)),
        ..to(service)
    }
}

fn path_name(service: &str) -> String {
    format!("-by-prefix-{service}")
}

#[tokio::test]
async fn requests_go_where_the_routes_say() {
    let (a, b) = (named("a").await, named("b").await);
    let routes = vec![Route { hosts: vec!["b.test".into()], ..to("b") }, prefix("/a", "a")];
    let tutti = Tutti::start(options(), routes, vec![passing("a", 1, a.addr), passing("b", 1, b.addr)]).await;
    assert_eq!(text(&get(tutti.edge, "/a/x?q").await), "a");
    let request = Request::get("/a").header("host", "B.test.:80").body(Body::empty()).unwrap();
    assert_eq!(text(&send(tutti.edge, request).await), "b");
    let missing = get(tutti.edge, "/ab").await;
    assert_eq!((missing.status().as_u16(), fault(&missing)["code"].clone()), (404, "TUT0501".into()));
    assert_eq!(missing.headers()["x-tutti-fault"], "client");
    tutti.proxy.shutdown().await;
}

#[tokio::test]
async fn paths_are_read_once_and_sent_as_they_were_matched() {
    let echo = echo().await;
    let routes = vec![prefix("/admin", "admin"), to("echo")];
    let tutti = Tutti::start(options(), routes, vec![passing("echo", 1, echo.addr)]).await;
    for (asked, sent) in [
        ("/a/../b?x=/../y", Some("GET /b?x=/../y\n")),
        ("/a%2Fb//c", Some("GET /a%2Fb//c\n")),
        ("/%61dmin", None),
        ("/x/%2e%2e/admin", None),
    ] {
        let answer = get(tutti.edge, asked).await;
        match sent {
            Some(line) => assert!(text(&answer).starts_with(line), "{asked}: {}", text(&answer)),
            None => assert_eq!(fault(&answer)["hop"], "admin", "{asked}"),
        }
    }
    for bad in ["/..", "/a\\b", "/a%00", "/a%zz", "/..;/x"] {
        let answer =
            raw(tutti.edge, format!("GET {bad} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
    }
}

#[tokio::test]
async fn filters_edit_rewrite_and_redirect() {
    let echo = echo().await;
    let edit = |set: &[(&str, &str)], remove: &[&str]| HeaderEdit {
        set: set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        add: vec![],
        remove: remove.iter().map(|name| (*name).into()).collect(),
    };
    let edited = Route {
        filters: vec![
            Filter::RequestHeaders(edit(&[("x-set", "1")], &["x-gone"])),
            Filter::Rewrite { host: Some("inner".into()), path: Some(PathRewrite::Prefix("/".into())) },
            Filter::ResponseHeaders(edit(&[("x-answer", "2")], &["content-type"])),
        ],
        ..prefix("/api", "echo")
    };
    let redirect = Route {
        filters: vec![Filter::Redirect {
            scheme: Some("https".into()),
            host: None,
            port: None,
            path: Some(PathRewrite::Prefix("/new".into())),
            status: 308,
        }],
        backends: vec![],
        name: "moved".into(),
        ..prefix("/old", "echo")
    };
    let empty = Route { backends: vec![], name: "empty".into(), ..prefix("/empty", "echo") };
    let tutti =
        Tutti::start(options(), vec![edited, redirect, empty], vec![passing("echo", 1, echo.addr)]).await;
    let request =
        Request::get("/api/v1?q=1").header("host", "h").header("x-gone", "1").body(Body::empty()).unwrap();
    let answer = send(tutti.edge, request).await;
    assert!(text(&answer).starts_with("GET /v1?q=1\n"), "{}", text(&answer));
    assert!(text(&answer).contains("\nhost: inner\n") && text(&answer).contains("\nx-set: 1\n"));
    assert!(text(&answer).contains("\nx-forwarded-host: h\n") && !text(&answer).contains("x-gone"));
    assert_eq!(answer.headers()["x-answer"], "2");
    let moved = get(tutti.edge, "/old/x?q=1").await;
    assert_eq!(moved.status(), 308);
    assert_eq!(moved.headers()["location"], HeaderValue::from_static("https://shop.test/new/x?q=1"));
    let answer = get(tutti.edge, "/empty").await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (500, "TUT0509".into()));
}

#[tokio::test]
async fn what_does_not_compile_or_bind_changes_nothing() {
    let a = named("a").await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, a.addr)]).await;
    let bad = Route {
        matches: vec![Match { path: Some(PathMatch::Regex("(".into())), ..Match::default() }],
        ..to("a")
    };
    let taken = nobody_but_us().await;
    for (routing, wanted) in [
        (routing(Serve::http(vec![bad])), "Route"),
        (
            Routing {
                listeners: vec![
                    listener("a", loopback(), Serve::http(vec![])),
                    listener("a", loopback(), Serve::http(vec![])),
                ],
                ..Routing::default()
            },
            "Duplicate",
        ),
        (
            Routing {
                listeners: vec![
                    listener("edge", loopback(), Serve::http(vec![])),
                    listener("b", taken.addr, Serve::http(vec![])),
                ],
                ..Routing::default()
            },
            "Bind",
        ),
    ] {
        let before = tutti.handle.describe().generation;
        let error = tutti.handle.apply(routing).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(wanted), "{error:?}");
        assert_eq!(tutti.handle.describe().generation, before);
        assert_eq!(text(&get(tutti.edge, "/").await), "a");
    }
    assert!(tutti.handle.apply(Routing::default()).await.is_ok());
}

async fn nobody_but_us() -> Upstream {
    named("taken").await
}

#[tokio::test]
async fn listeners_that_stay_keep_their_connections() {
    use tokio::io::AsyncWriteExt as _;
    let (a, b) = (named("a").await, named("b").await);
    let tutti =
        Tutti::start(options(), vec![to("a")], vec![passing("a", 1, a.addr), passing("b", 1, b.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\na").await.starts_with("HTTP/1.1 200"));
    tutti.handle.apply(routing(Serve::http(vec![to("b")]))).await.unwrap();
    assert_eq!(tutti.handle.describe().listeners[0].address, tutti.edge);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\nb").await.starts_with("HTTP/1.1 200"));
    // A listener that goes closes its idle connections, and its address is free again.
    tutti.handle.apply(Routing::default()).await.unwrap();
    assert_eq!(stream.peek(1).await.unwrap(), b"");
    let _ = AppProtocol::Http;
    upstream_at(tutti.edge, |_| async { http::Response::new(Body::empty()) }).await.kill().await;
}

#[tokio::test]
async fn weights_share_the_requests() {
    let (a, b) = (named("a").await, named("b").await);
    let mut route = to("a");
    route.backends[0].weight = 3;
    route.backends.push(backend("b"));
    let mut never = backend("never");
    never.weight = 0;
    route.backends.push(never);
    let tutti =
        Tutti::start(options(), vec![route], vec![passing("a", 1, a.addr), passing("b", 1, b.addr)]).await;
    let mut of_a = 0;
    for _ in 0..400 {
        of_a += usize::from(text(&get(tutti.edge, "/").await) == "a");
    }
    assert!((250..350).contains(&of_a), "{of_a}");
}

#[tokio::test]
async fn a_condition_decides_which_route_is_taken_and_one_that_cannot_be_evaluated_does_not_hold() {
    let (a, b) = (named("a").await, named("b").await);
    let when = |text: &str| Some(text.to_owned());
    let tenant = "request.headers['x-team'].matches('^[ab]$') && source.address == '127.0.0.1'";
    let http = "request.scheme == 'http' && request.host == 'h' && request.query.contains('b=1') && request.method == 'GET'";
    let routes = vec![
        to("a"),
        Route { when: when(tenant), name: "tenant".into(), ..to("b") },
        Route { when: when(http), name: "query".into(), ..to("b") },
    ];
    let tutti =
        Tutti::start(options(), routes.clone(), vec![passing("a", 1, a.addr), passing("b", 1, b.addr)]).await;
    let ask = async |target: &str, team: &str| {
        let request = Request::get(target).header("host", "h").header("x-team", team);
        text(&send(tutti.edge, request.body(Body::empty()).unwrap()).await).to_owned()
    };
    assert_eq!(ask("/", "b").await, "b");
    assert_eq!(ask("/", "c").await, "a");
    assert_eq!(ask("/?b=1", "c").await, "b");
    assert_eq!(text(&get(tutti.edge, "/").await), "a", "there is no such field");
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let metrics = page.finish();
    assert!(metrics.contains("tutti_proxy_conditions_failed_total 1"), "{metrics}");
    // What does not compile changes nothing.
    let broken = Route { when: when("request.path"), ..to("b") };
    let refused = tutti.handle.apply(routing(Serve::http(vec![broken]))).await.unwrap_err();
    assert!(tutti_core::error::chain(&refused).contains("this is a text"), "{refused:?}");
    assert_eq!(ask("/", "b").await, "b");
    // And what does is in force.
    let other = Route { when: when("!has(request.headers['x-team'])"), ..to("b") };
    assert!(tutti.handle.apply(routing(Serve::http(vec![other]))).await.is_err(), "`has` asks for a field");
    let other = Route { when: when("!('x-team' in request.headers)"), ..to("b") };
    tutti.handle.apply(routing(Serve::http(vec![other]))).await.unwrap();
    assert_eq!(text(&get(tutti.edge, "/").await), "b");
    assert!(ask("/", "b").await.contains("TUT0501"));
    tutti.proxy.shutdown().await;
}
