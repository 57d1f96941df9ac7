//! Who may ask, and how often.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tutti_net::Body;
use tutti_ports::rate::{Algorithm, Answer, Ask, Policy, RateStore, StoreError};
use tutti_ports::routing::{Guard, KeyPart, RateLimit, Route, Serve, Unavailable};
use tutti_proxy::Options;

use crate::harness::*;

fn limit(name: &str, requests: u32, key: Vec<KeyPart>) -> RateLimit {
    let window = Duration::from_secs(3_600);
    let algorithm = Algorithm::Gcra;
    let policy = Policy { name: name.into(), algorithm, requests, window, burst: requests };
    RateLimit { label: name.into(), policy, key, unavailable: Unavailable::Open }
}

fn limited(limits: Vec<RateLimit>) -> Route {
    Route { guard: Guard { rate_limits: limits, ..Guard::default() }.into(), ..to("web") }
}

async fn with(edge: std::net::SocketAddr, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get("/").header("host", "shop.test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(edge, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_limit_is_exact_over_all_workers_and_says_what_is_left() {
    let web = named("web").await;
    let route = limited(vec![limit("hourly", 10, vec![KeyPart::Address])]);
    let options = Options { workers: 3, ..options() };
    let tutti = Tutti::start(options, vec![route], vec![passing("web", 0, web.addr)]).await;
    let answers: Vec<_> = (0..40).map(|_| tokio::spawn(get(tutti.edge, "/"))).collect();
    let (mut passed, mut refused) = (0, None);
    for answer in answers {
        let answer = answer.await.unwrap();
        if answer.status() == 200 {
            passed += 1;
            assert!(answer.headers()["ratelimit"].to_str().unwrap().starts_with("\"hourly\";r="));
        } else {
            refused = Some(answer);
        }
    }
    assert_eq!(passed, 10);
    let refused = refused.unwrap();
    assert_eq!((refused.status().as_u16(), fault(&refused)["code"].clone()), (429, "TUT0540".into()));
    assert_eq!(fault(&refused)["origin"], "client");
    assert_eq!(refused.headers()["ratelimit-policy"], "\"hourly\";q=10;w=3600");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((300..=360).contains(&wait), "{wait}");
    assert_eq!(refused.headers()["ratelimit"], format!("\"hourly\";r=0;t={wait}"));
    let grpc = with(tutti.edge, &[("content-type", "application/grpc")]).await;
    assert_eq!((grpc.status().as_u16(), &grpc.headers()["grpc-status"]), (200, &"8".parse().unwrap()));
}

#[tokio::test]
async fn what_one_limit_refuses_no_other_counts() {
    let web = named("web").await;
    let tenant = limit("tenant", 1, vec![KeyPart::Header("x-tenant".into())]);
    let route = limited(vec![limit("all", 3, vec![]), tenant]);
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let ask = |tenant: &'static str| async move { with(tutti.edge, &[("x-tenant", tenant)]).await.status() };
    assert_eq!(ask("a").await, 200);
    for _ in 0..5 {
        assert_eq!(ask("a").await, 429);
    }
    assert_eq!(ask("b").await, 200);
    assert_eq!(ask("c").await, 200);
    assert_eq!(ask("d").await, 429);
}

#[tokio::test]
async fn counts_outlive_a_reload_and_a_changed_limit_begins_anew() {
    let web = named("web").await;
    let route = |requests| limited(vec![limit("n", requests, vec![KeyPart::Address])]);
    let tutti = Tutti::start(options(), vec![route(1)], vec![passing("web", 0, web.addr)]).await;
    let apply = |routes| tutti.handle.apply(routing(Serve::http(routes)));
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
    apply(vec![Route { timeouts: Default::default(), name: "other".into(), ..route(1) }]).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 429);
    apply(vec![route(2)]).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
    apply(vec![to("web")]).await.unwrap();
    assert!(!get(tutti.edge, "/").await.headers().contains_key("ratelimit"));
}

/// A store elsewhere, that fails at once or never answers.
#[derive(Debug)]
struct Away {
    silent: bool,
}

impl RateStore for Away {
    fn take(&self, _: &[Ask]) -> Answer {
        let silent = self.silent;
        Answer::Later(Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            Err(StoreError("gone".into()))
        }))
    }
    fn give_back(&self, _: &[Ask]) {}
    fn retain(&self, _: &[Arc<Policy>]) {}
}

#[tokio::test]
async fn without_the_store_requests_pass_or_do_not_by_choice() {
    let web = named("web").await;
    for silent in [true, false] {
        let options = Options { rates: Some(Arc::new(Away { silent })), ..options() };
        let open = Route { hosts: vec!["open.test".into()], ..limited(vec![limit("n", 1, vec![])]) };
        let closed = RateLimit { unavailable: Unavailable::Closed, ..limit("m", 1, vec![]) };
        let closed = Route { name: "closed".into(), ..limited(vec![limit("o", 1, vec![]), closed]) };
        let tutti = Tutti::start(options, vec![open, closed], vec![passing("web", 0, web.addr)]).await;
        let request = || Request::get("/").header("host", "open.test").body(Body::empty()).unwrap();
        assert_eq!(send(tutti.edge, request()).await.status(), 200);
        assert_eq!(send(tutti.edge, request()).await.status(), 200);
        let refused = get(tutti.edge, "/").await;
        assert_eq!((refused.status().as_u16(), fault(&refused)["code"].clone()), (503, "TUT0542".into()));
        assert_eq!(fault(&refused)["origin"], "tutti");
    }
}

#[tokio::test]
async fn addresses_are_those_of_the_real_client() {
    let web = named("web").await;
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let guard = Guard { allow: list(&["203.0.113.0/24"]), deny: list(&["203.0.113.66"]), ..Guard::default() };
    let route = Route { guard: guard.into(), ..to("web") };
    let tutti = Tutti::trusting(options(), vec![route.clone()], vec![passing("web", 0, web.addr)]).await;
    let from = |client: &'static str| async move { with(tutti.edge, &[("x-forwarded-for", client)]).await };
    assert_eq!(from("203.0.113.7").await.status(), 200);
    let refused = from("203.0.113.66").await;
    assert_eq!((refused.status().as_u16(), fault(&refused)["code"].clone()), (403, "TUT0541".into()));
    assert_eq!(from("192.0.2.1").await.status(), 403);
    // Nobody is believed who is not trusted.
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let forged = with(tutti.edge, &[("x-forwarded-for", "203.0.113.7")]).await;
    assert_eq!(forged.status(), 403);
}
