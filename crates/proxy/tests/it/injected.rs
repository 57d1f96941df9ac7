//! Faults on purpose and fallbacks, over real sockets.

use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tutti_net::{Addr, Body, client};
use tutti_ports::routing::{
    Abort, Fallback, FallbackOn, FallbackTo, FaultRule, Filter, Match, PathMatch, PathRewrite, Resilience,
    Route, Timeouts,
};
use tutti_proxy::Options;

use crate::harness::*;

fn hasty() -> Options {
    Options { ready_wait: Duration::ZERO, ..options() }
}

fn with(fault: FaultRule) -> Route {
    let fault = FaultRule { percent: 100.0, ..fault };
    Route { resilience: Resilience { fault: Some(fault), ..Resilience::default() }.into(), ..to("a") }
}

async fn faulty(fault: FaultRule) -> Tutti {
    let good = named("good").await;
    Tutti::start(hasty(), vec![with(fault)], vec![passing("a", 1, good.addr)]).await
}

#[tokio::test]
async fn a_request_is_aborted_where_its_header_says_so() {
    let headers = vec![("x-chaos".to_owned(), "on".to_owned())];
    let tutti = faulty(FaultRule { abort: Some(Abort::Status(418)), headers, ..FaultRule::default() }).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "good");
    let meant = Request::get("/").header("host", "h").header("x-chaos", "on").body(Body::empty()).unwrap();
    let answer = send(tutti.edge, meant).await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (418, "TUT0537".into()));
    assert_eq!(answer.headers()["x-tutti-fault"], "tutti");
}

#[tokio::test]
async fn a_call_of_grpc_is_aborted_with_its_status() {
    let tutti = faulty(FaultRule { abort: Some(Abort::Grpc(14)), ..FaultRule::default() }).await;
    let call = Request::post("/a.B/C").header("host", "h").header("content-type", "application/grpc");
    let call = call.body(Body::empty()).unwrap();
    let (answer, _) = client::request_h2(&Addr::Tcp(tutti.edge), call, LIMITS).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
}

#[tokio::test]
async fn a_connection_is_reset_without_an_answer() {
    let tutti = faulty(FaultRule { reset: true, ..FaultRule::default() }).await;
    assert_eq!(raw(tutti.edge, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await, "");
    let call = Request::get("/").header("host", "h").body(Body::empty()).unwrap();
    assert!(client::request_h2(&Addr::Tcp(tutti.edge), call, LIMITS).await.is_err());
}

#[tokio::test]
async fn a_response_comes_late_slowly_and_wrong() {
    let fault = FaultRule {
        delay: Some((Duration::from_millis(100), Duration::from_millis(120))),
        throttle: Some(20),
        corrupt: true,
        ..FaultRule::default()
    };
    let tutti = faulty(fault).await;
    let began = Instant::now();
    let answer = get(tutti.edge, "/").await;
    assert_eq!((answer.status().as_u16(), text(&answer)), (200, "food"));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

fn falling_back(on: Vec<FallbackOn>, to: FallbackTo) -> Resilience {
    Resilience { fallback: Some(Fallback { on, to }), ..Resilience::default() }
}

#[tokio::test]
async fn another_service_stands_in_with_the_same_request() {
    let broken = upstream(|request| async move {
        let _ = request.into_body().collect(1 << 20).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await;
    let echo = echo().await;
    let strip = Filter::Rewrite { host: None, path: Some(PathRewrite::Prefix("/".into())) };
    let route = Route {
        matches: vec![Match { path: Some(PathMatch::Prefix("/api".into())), ..Match::default() }],
        filters: vec![strip],
        resilience: falling_back(vec![FallbackOn::ServerError], FallbackTo::Service(backend("spare"))).into(),
        ..to("a")
    };
    let instances = vec![passing("a", 1, broken.addr), passing("spare", 1, echo.addr)];
    let tutti = Tutti::start(hasty(), vec![route], instances).await;
    let post = Request::post("/api/x").header("host", "h").body(Body::from("the body")).unwrap();
    let answer = send(tutti.edge, post).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-tutti-fallback"]),
        (200, &"true".parse().unwrap())
    );
    assert!(
        text(&answer).starts_with("POST /x\n") && text(&answer).ends_with("the body"),
        "{}",
        text(&answer)
    );
}

#[tokio::test]
async fn an_answer_stands_in_for_each_kind_of_failure() {
    let answer = || FallbackTo::Answer {
        status: 203,
        body: b"{}".to_vec(),
        content_type: "application/json".to_owned(),
    };
    let silent = upstream(|_| std::future::pending::<Response<Body>>()).await;
    let refusing = nobody().await;
    let timeouts = Timeouts { request: Some(Duration::from_millis(100)), ..Timeouts::default() };
    for (on, addr) in [
        (FallbackOn::Timeout, Some(silent.addr)),
        (FallbackOn::ConnectFailure, Some(refusing)),
        (FallbackOn::Unavailable, None),
    ] {
        let instances = addr.map(|addr| passing("a", 1, addr)).into_iter().collect();
        let route = Route { resilience: falling_back(vec![on], answer()).into(), timeouts, ..to("a") };
        let tutti = Tutti::start(hasty(), vec![route], instances).await;
        let got = get(tutti.edge, "/").await;
        assert_eq!((got.status().as_u16(), text(&got)), (203, "{}"), "{on:?}");
        assert_eq!(got.headers()["content-type"], "application/json");
    }
    // What is not named is told as it is.
    let route = Route { resilience: falling_back(vec![FallbackOn::Timeout], answer()).into(), ..to("a") };
    let tutti = Tutti::start(hasty(), vec![route], vec![]).await;
    assert_eq!(get(tutti.edge, "/").await.status(), 503);
}

#[tokio::test]
async fn a_fault_off_is_no_fault() {
    let good = named("good").await;
    let fault = FaultRule { percent: 0.0, reset: true, ..FaultRule::default() };
    let route =
        Route { resilience: Resilience { fault: Some(fault), ..Resilience::default() }.into(), ..to("a") };
    let tutti = Tutti::start(hasty(), vec![route], vec![passing("a", 1, good.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    for _ in 0..20 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_until(&mut stream, "good").await;
    }
}
