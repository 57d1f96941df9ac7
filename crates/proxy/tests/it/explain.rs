//! What is remembered of requests, and what is told of them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tutti_net::Body;
use tutti_ports::rate::{Algorithm, Policy};
use tutti_ports::routing::{
    Explain, FieldMatch, Guard, KeyPart, Match, PathMatch, RateLimit, Route, Timeouts, Unavailable,
    ValueMatch,
};
use tutti_proxy::explain::report::Wanted;
use tutti_proxy::explain::{Explanation, Summary};

use crate::harness::*;

/// Asks, and is told of it. The record is made when the last byte is gone, which may be a moment after the client has it.
async fn told(tutti: &Tutti, request: Request<Body>) -> (Response<Bytes>, Explanation) {
    let answer = send(tutti.edge, request).await;
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    (answer, remembered(tutti, &id).await)
}

async fn remembered(tutti: &Tutti, id: &str) -> Explanation {
    let asking = async {
        loop {
            match tutti.handle.explain(id).await {
                Some(told) => return told,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.expect("it is remembered")
}

fn ask(path: &str) -> Request<Body> {
    Request::get(path).header("host", "shop.test").body(Body::empty()).unwrap()
}

fn below(name: &str, path: &str, service: &str) -> Route {
    let matches = vec![Match { path: Some(PathMatch::Prefix(path.to_owned())), ..Match::default() }];
    Route { name: name.to_owned(), matches, ..to(service) }
}

async fn list(tutti: &Tutti, wanted: Wanted) -> Vec<Summary> {
    tutti.handle.requests(&Wanted { most: 100, ..wanted }).await
}

#[tokio::test]
async fn a_good_request_tells_its_way() {
    let web = named("web").await;
    let mut canary = below("canary", "/api", "web");
    let value = ValueMatch::Exact("yes".into());
    canary.matches[0].headers.push(FieldMatch { name: "x-canary".into(), value });
    let routes = vec![below("all", "/", "web"), below("api", "/api", "web"), canary];
    let tutti = Tutti::start(options(), routes, vec![passing("web", 0, web.addr)]).await;
    let (_, told) = told(&tutti, ask("/api/%61?secret=1")).await;
    let one = &told.request;
    assert_eq!((one.route.as_str(), one.listener.as_str(), one.status), ("api", "edge", 200));
    assert_eq!((one.path.as_str(), one.host.as_str(), one.bytes_out), ("/api/%61", "shop.test", 3));
    assert!(one.first_byte_ms.unwrap() <= one.duration_ms && told.failure.is_none());
    assert_eq!(told.routing.matched, "any host, path below /api");
    let others: Vec<_> =
        told.routing.others.iter().map(|one| (one.route.as_str(), one.why.as_str())).collect();
    assert_eq!(
        others,
        [("canary", "did not hold: header x-canary = yes"), ("all", "its path is less specific: /")]
    );
    let [attempt] = &told.attempts[..] else { panic!("{told:#?}") };
    assert_eq!((attempt.ended.as_str(), attempt.status), ("answered", Some(200)));
    assert_eq!((attempt.instance.as_str(), attempt.address.clone()), ("web-0", web.addr.to_string()));
    assert!(attempt.connect_ms.is_some() && attempt.took_ms >= attempt.connect_ms);
    let upstream = told.upstream.as_ref().unwrap();
    assert_eq!((upstream.service.as_str(), upstream.balance.as_str()), ("web", "least_request"));
    assert_eq!((upstream.instances[0].health.as_str(), upstream.instances[0].level), ("passing", Some(0)));
    assert!(!serde_json::to_string(&told).unwrap().contains("secret"), "a query is not kept");
    // The trace finds it, too.
    assert_eq!(remembered(&tutti, &one.trace).await.request.id, one.id);
    assert!(tutti.handle.explain("nothing").await.is_none());
}

#[tokio::test]
async fn every_try_and_what_failed_are_told() {
    let web = named("web").await;
    let instances = vec![passing("web", 0, nobody().await), passing("web", 1, web.addr)];
    let tutti = Tutti::start(options(), vec![to("web")], instances).await;
    let mut seen = None;
    for _ in 0..20 {
        let (answer, told) = told(&tutti, ask("/")).await;
        assert_eq!(answer.status(), 200);
        if told.attempts.len() == 2 {
            seen = Some(told);
            break;
        }
    }
    let told = seen.expect("the one that refuses is chosen now and then");
    let ended: Vec<_> = told.attempts.iter().map(|one| (one.instance.as_str(), one.ended.as_str())).collect();
    assert_eq!(ended, [("web-0", "refused"), ("web-1", "answered")]);
    assert!(told.attempts[1].began_ms >= told.attempts[0].took_ms.unwrap());
    let passed =
        told.upstream.as_ref().unwrap().instances.iter().find(|one| one.instance == "web-0").unwrap();
    assert_eq!(passed.passed_over, "refused");
    tutti.catalog.set(vec![passing("web", 0, nobody().await)]);
    let mut failed = send(tutti.edge, ask("/")).await;
    while failed.status() == 200 {
        failed = send(tutti.edge, ask("/")).await;
    }
    let id = failed.headers()["x-request-id"].to_str().unwrap();
    let told = remembered(&tutti, id).await;
    let failure = told.failure.as_ref().unwrap();
    assert_eq!((failure.who.as_str(), failure.code.as_str()), ("upstream", "TUT0503"));
    assert!(failure.hop.as_ref().unwrap().starts_with("web (web-0 at 127.0.0.1:"), "{failure:?}");
    assert_eq!(told.upstream.unwrap().then[0].passed_over, "refused");
    let failed = list(&tutti, Wanted { failed: true, ..Wanted::default() }).await;
    assert!(
        failed.iter().any(|one| one.id == id) && failed.iter().all(|one| one.status != 200),
        "{failed:#?}"
    );
}

#[tokio::test]
async fn refusals_name_their_guard_and_limits_their_state() {
    let web = named("web").await;
    let policy = Policy {
        name: "n".into(),
        algorithm: Algorithm::Gcra,
        requests: 1,
        window: Duration::from_secs(3_600),
        burst: 1,
    };
    let limit = RateLimit {
        label: "hourly".into(),
        policy,
        key: vec![KeyPart::Address],
        unavailable: Unavailable::Open,
    };
    let guard = Guard {
        rate_limits: vec![limit],
        deny: vec!["192.0.2.0/24".parse().unwrap()],
        authorize: Some("request.method == 'GET'".into()),
        ..Guard::default()
    };
    let tutti = Tutti::start(
        options(),
        vec![Route { guard: guard.into(), ..to("web") }],
        vec![passing("web", 0, web.addr)],
    )
    .await;
    let (_, passed) = told(&tutti, ask("/")).await;
    let limit = &passed.limits[0];
    assert_eq!((limit.name.as_str(), limit.requests, limit.allowed, limit.remaining), ("hourly", 1, true, 0));
    let (answer, refused) = told(&tutti, ask("/")).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let verdicts: Vec<_> =
        refused.guards.iter().map(|one| (one.guard.as_str(), one.verdict.as_str())).collect();
    assert_eq!(verdicts, [("addresses", "passed"), ("rate limits", "refused"), ("condition", "not reached")]);
    assert!(!refused.limits[0].allowed && refused.limits[0].reset_ms > 3_500_000, "{:?}", refused.limits);
    assert_eq!(refused.failure.unwrap().who, "client");
    assert!(refused.attempts.is_empty() && refused.upstream.is_none());
}

#[tokio::test]
async fn who_takes_no_route_hears_of_those_near() {
    let web = named("web").await;
    let host = Route { hosts: vec!["api.test".into()], ..below("api", "/v1", "web") };
    let routes = vec![host, below("docs", "/docs", "web")];
    let tutti = Tutti::start(options(), routes, vec![passing("web", 0, web.addr)]).await;
    let (_, told) = told(&tutti, ask("/v1/items")).await;
    assert_eq!((told.request.status, told.request.route.as_str()), (404, ""));
    let others: Vec<_> =
        told.routing.others.iter().map(|one| (one.route.as_str(), one.why.as_str())).collect();
    assert_eq!(others, [("api", "it wants the host api.test"), ("docs", "it wants a path below /docs/")]);
}

#[tokio::test]
async fn troubles_outlive_a_flood_of_good_ones_and_of_refusals() {
    let web = upstream(|request: Request<Body>| async move {
        let mut response = Response::new(Body::from("x"));
        if request.uri().path() == "/bad" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    })
    .await;
    let options = tutti_proxy::Options { workers: 1, ..options() };
    let tutti = Tutti::start(
        options,
        vec![below("all", "/s", "web"), below("bad", "/bad", "web")],
        vec![passing("web", 0, web.addr)],
    )
    .await;
    let (_, bad) = told(&tutti, ask("/bad")).await;
    assert_eq!(bad.failure.as_ref().unwrap().message, "the service itself answered 500");
    let (_, first) = told(&tutti, ask("/s")).await;
    let one = b"GET /s HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_500);
    let lost = b"GET /lost HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_500);
    let end = b"GET /s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for _ in 0..2 {
        raw(tutti.edge, [&one[..], &lost[..], &end[..]].concat()).await;
    }
    assert!(tutti.handle.explain(&first.request.id).await.is_none(), "it has made room");
    assert!(tutti.handle.explain(&bad.request.id).await.is_some());
    let kept = tutti.handle.requests(&Wanted { most: usize::MAX, ..Wanted::default() }).await.len();
    assert!(kept <= 2_048 + 2_048 + 1_024, "{kept}");
    let of_route = list(&tutti, Wanted { route: Some("bad".into()), ..Wanted::default() }).await;
    assert_eq!(of_route.len(), 1);
    let refused = list(&tutti, Wanted { status: Some((404, 404)), ..Wanted::default() }).await;
    assert!(refused.len() == 100 && refused.iter().all(|one| one.status == 404));
}

#[tokio::test]
async fn slow_ones_are_found_and_a_client_that_left_is_told() {
    let web = upstream(|_| async move {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        Response::new(Body::empty())
    })
    .await;
    let timeouts = Timeouts { request: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let routes = vec![Route { timeouts, ..below("late", "/late", "web") }, below("all", "/", "web")];
    let tutti = Tutti::start(options(), routes, vec![passing("web", 0, web.addr)]).await;
    let (answer, late) = told(&tutti, ask("/late")).await;
    assert_eq!((answer.status().as_u16(), late.attempts[0].ended.as_str()), (504, "late"));
    let slow = Wanted { slower: Some(Duration::from_millis(250)), ..Wanted::default() };
    assert_eq!(list(&tutti, slow).await[0].id, late.request.id);
    let mut stream = dial(tutti.edge).await;
    let head = b"GET /gone HTTP/1.1\r\nhost: shop.test\r\nx-request-id: left\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.unwrap();
    while tutti
        .handle
        .describe()
        .services
        .iter()
        .all(|one| one.endpoints.iter().all(|one| one.in_flight == 0))
    {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let gone = remembered(&tutti, "left").await;
    assert_eq!((gone.request.status, gone.request.host.as_str()), (499, "shop.test"));
    assert_eq!((gone.attempts[0].ended.as_str(), gone.attempts[0].instance.as_str()), ("abandoned", "web-0"));
    assert_eq!(gone.failure.unwrap().who, "client");
}

/// What the answer's field says.
async fn live(edge: std::net::SocketAddr, path: &str, from: Option<&'static str>) -> Option<String> {
    let mut request = ask(path);
    request.headers_mut().insert("x-tutti-explain", "true".parse().unwrap());
    if let Some(from) = from {
        request.headers_mut().insert("x-forwarded-for", from.parse().unwrap());
    }
    let answer = send(edge, request).await;
    answer.headers().get("x-tutti-explain").map(|value| value.to_str().unwrap().to_owned())
}

/// A data plane behind a proxy on this machine, whose clients are strangers.
async fn explaining(explain: Explain, upstream: std::net::SocketAddr) -> Tutti {
    let mut canary = below("canary", "/", "web");
    let value = ValueMatch::Exact("yes".into());
    canary.matches[0].headers.push(FieldMatch { name: "x-canary".into(), value });
    let routes = vec![canary.into(), below("all", "/", "web").into()];
    let mut routing = routing(tutti_ports::routing::Serve::Http(routes));
    routing.observe.explain = explain;
    Tutti::applying(options(), routing, vec![passing("web", 0, upstream)], None).await
}

#[tokio::test]
async fn who_may_hear_it_is_told_with_the_answer() {
    let web = echo().await;
    let tutti = explaining(Explain::Loopback, web.addr).await;
    let told = live(tutti.edge, "/", None).await.unwrap();
    for words in [
        "route=\"all\"",
        "matched=\"any host, any path\"",
        "tries=\"web-0 answered 200 +",
        "service=\"web\", balance=\"least_request\", instance=\"web-0\"",
        "instances=\"web-0 level 0, 1 under way\"",
        "others=\"canary: it wants the header x-canary = yes\"",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(told.contains(&format!("address=\"{}\"", web.addr)), "{told}");
    // Nobody asked, so nothing is told; and the service does not hear that somebody did.
    assert!(!send(tutti.edge, ask("/")).await.headers().contains_key("x-tutti-explain"));
    let mut request = ask("/");
    request.headers_mut().insert("x-tutti-explain", "true".parse().unwrap());
    assert!(!text(&send(tutti.edge, request).await).contains("x-tutti-explain"));
    tutti.catalog.set(vec![]);
    let mut failed = live(tutti.edge, "/", None).await.unwrap();
    while !failed.contains("failed=") {
        failed = live(tutti.edge, "/", None).await.unwrap();
    }
    assert!(failed.contains("failed=\"upstream\", code=\"TUT0502\""), "{failed}");
    // Through a proxy that nobody trusts: a stranger.
    assert_eq!(live(tutti.edge, "/", Some("192.0.2.1")).await, None);
}

#[tokio::test]
async fn strangers_hear_nothing_or_nothing_of_the_inside() {
    let web = echo().await;
    let off = explaining(Explain::Off, web.addr).await;
    assert_eq!(live(off.edge, "/", None).await, None);
    let all = explaining(Explain::Everybody, web.addr).await;
    let told = live(all.edge, "/", Some("192.0.2.1")).await.unwrap();
    assert!(told.contains("route=\"all\"") && told.contains("tries=\"answered 200 +"), "{told}");
    for secret in ["web", "127.0.0.1", "canary", "instance", "address", "balance"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    assert!(live(all.edge, "/", None).await.unwrap().contains("address="));
    let ranges = Explain::Ranges(vec!["192.0.2.0/24".parse().unwrap()]);
    let some = explaining(ranges.clone(), web.addr).await;
    // It is this machine that asks on behalf of somebody, and nobody has said that it is to be believed.
    assert_eq!(live(some.edge, "/", Some("192.0.2.1")).await, None);
    assert!(live(some.edge, "/", None).await.is_some());
    // What is in force changes with the routes.
    let mut routing = routing(tutti_ports::routing::Serve::Http(vec![below("all", "/", "web").into()]));
    routing.observe.explain = Explain::Off;
    some.handle.apply(routing).await.unwrap();
    assert_eq!(live(some.edge, "/", None).await, None);
}
