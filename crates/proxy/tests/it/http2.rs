//! HTTP/2 and gRPC, in and out.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tutti_net::client::request_h2;
use tutti_net::{Addr, Body};
use tutti_ports::catalog::{AppProtocol, Health};
use tutti_ports::door::Door as _;
use tutti_proxy::Options;

use crate::harness::*;

/// An upstream that answers as a gRPC server does, and says in which version it was asked.
async fn grpc() -> Upstream {
    upstream(|request| async move {
        let version = format!("{:?}", request.version());
        let te = request.headers().get("te").cloned();
        let body = request.into_body().collect(1 << 20).await.unwrap().0;
        let (mut sender, answer) = Body::channel(1);
        tokio::spawn(async move {
            sender.send(body).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            sender.finish_with(trailers).await.unwrap();
        });
        let mut response = Response::new(answer);
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("x-version", version.parse().unwrap());
        response.headers_mut().insert("x-te", te.unwrap_or(HeaderValue::from_static("-")));
        response
    })
    .await
}

fn call() -> Request<Body> {
    Request::post("/catalog.Catalog/List")
        .header("host", "catalog")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(Bytes::from_static(b"\0\0\0\0\x02hi")))
        .unwrap()
}

#[tokio::test]
async fn grpc_goes_through_with_its_trailers() {
    let grpc = grpc().await;
    for protocol in [AppProtocol::Http, AppProtocol::H2c] {
        let instances = vec![speaking(protocol, "catalog", 1, grpc.addr, Health::Passing)];
        let tutti = Tutti::start(options(), vec![to("catalog")], instances).await;
        let door = tutti.handle.open(&name("catalog"), 80, protocol).await.unwrap();
        for address in [tutti.edge, door] {
            for _ in 0..20 {
                let (answer, trailers) = request_h2(&Addr::Tcp(address), call(), LIMITS).await.unwrap();
                assert_eq!(answer.headers()["x-version"], "HTTP/2.0");
                assert_eq!(answer.headers()["x-te"], "trailers");
                assert_eq!(&answer.body()[..], b"\0\0\0\0\x02hi");
                assert_eq!(trailers.unwrap()["grpc-status"], "0");
            }
        }
    }
}

#[tokio::test]
async fn versions_are_translated_both_ways() {
    let echo = echo().await;
    let instances =
        vec![passing("one", 1, echo.addr), speaking(AppProtocol::H2c, "two", 1, echo.addr, Health::Passing)];
    let routes = ["one", "two"]
        .map(|service| tutti_ports::routing::Route { hosts: vec![format!("{service}.test")], ..to(service) });
    let tutti = Tutti::start(options(), routes.to_vec(), instances).await;
    for host in ["one.test", "two.test"] {
        let request = || Request::put("/x?y").header("host", host).body(Body::from("body")).unwrap();
        let mut crumbs = request();
        for crumb in ["a=1", "b=2"] {
            crumbs.headers_mut().append("cookie", HeaderValue::from_static(crumb));
        }
        let (joined, _) = request_h2(&Addr::Tcp(tutti.edge), crumbs, LIMITS).await.unwrap();
        assert!(text(&joined).contains("\ncookie: a=1; b=2\n"), "{}", text(&joined));
        let (over2, _) = request_h2(&Addr::Tcp(tutti.edge), request(), LIMITS).await.unwrap();
        let over1 = send(tutti.edge, request()).await;
        for answer in [over2, over1] {
            assert!(
                text(&answer).starts_with("PUT /x?y\n") && text(&answer).ends_with("\n\nbody"),
                "{}",
                text(&answer)
            );
            assert!(text(&answer).contains(&format!("\nhost: {host}\n")), "{}", text(&answer));
        }
    }
}

#[tokio::test]
async fn a_fault_reaches_grpc_as_a_status() {
    let hasty = Options { ready_wait: std::time::Duration::ZERO, ..options() };
    let tutti = Tutti::start(hasty, vec![to("catalog")], vec![passing("catalog", 1, nobody().await)]).await;
    let (answer, _) = request_h2(&Addr::Tcp(tutti.edge), call(), LIMITS).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
    let message = answer.headers()["grpc-message"].to_str().unwrap();
    assert!(message.starts_with("TUT0503: no connection to catalog"), "{message}");
    assert!(answer.body().is_empty());
}

#[tokio::test]
async fn many_calls_share_few_connections() {
    let slow = upstream(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Response::new(Body::from("ok"))
    })
    .await;
    let instances = vec![speaking(AppProtocol::H2c, "a", 1, slow.addr, Health::Passing)];
    let tutti = Tutti::start(Options { workers: 1, ..options() }, vec![to("a")], instances).await;
    let edge = tutti.edge;
    let calls: Vec<_> =
        (0..150).map(|_| tokio::spawn(async move { get(edge, "/").await.status().as_u16() })).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    let connects = page.lines().find(|line| line.starts_with("tutti_proxy_upstream_connects_total")).unwrap();
    let connects: u32 = connects.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((1..=2).contains(&connects), "{connects}");
}
