//! Rules of retrying and deadlines, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tutti_net::Body;
use tutti_net::client;
use tutti_ports::routing::{
    DeadlineRule, Resilience, Retries, RetryBudget, RetryOn, Route, Routing, Timeouts, Upstream as Rules,
};
use tutti_proxy::{Balance, Options};

use crate::harness::*;

fn in_turn() -> Options {
    Options { balance: Balance::RoundRobin, ready_wait: Duration::ZERO, workers: 1, ..options() }
}

fn retrying(retries: Retries) -> Route {
    Route { resilience: Resilience { retries: Some(retries), ..Resilience::default() }.into(), ..to("a") }
}

fn quick() -> Retries {
    Retries { backoff: Duration::from_millis(1), ..Retries::default() }
}

fn post(body: Body) -> Request<Body> {
    Request::post("/").header("host", "h").body(body).unwrap()
}

/// Answers 503 to the first `bad` requests, then what it was sent; counts.
async fn failing_first(bad: u32, count: Arc<AtomicU32>, extra: (&'static str, &'static str)) -> Upstream {
    upstream(move |request| {
        let count = Arc::clone(&count);
        async move {
            let seen = request.headers().get("x-tutti-attempt").cloned();
            let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
            let mut response = Response::new(Body::full(body));
            if count.fetch_add(1, Ordering::SeqCst) < bad {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(extra.0, extra.1.parse().unwrap());
            }
            if let Some(seen) = seen {
                response.headers_mut().insert("seen", seen);
            }
            response
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_is_asked_for_again_where_the_route_says_so() {
    let count = Arc::new(AtomicU32::new(0));
    let flaky = failing_first(2, Arc::clone(&count), ("x", "y")).await;
    let tutti = Tutti::start(in_turn(), vec![retrying(quick())], vec![passing("a", 1, flaky.addr)]).await;
    let answer = get(tutti.edge, "/").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["seen"]), (200, &"3".parse().unwrap()));
    assert_eq!(count.swap(0, Ordering::SeqCst), 3);
    // A POST may have been carried out.
    assert_eq!(send(tutti.edge, post(Body::from("x"))).await.status(), 503);
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
    // Without rules an answer is an answer.
    tutti.handle.apply(routing(tutti_ports::routing::Serve::http(vec![to("a")]))).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_sent_again_whole() {
    let count = Arc::new(AtomicU32::new(0));
    let flaky = failing_first(1, Arc::clone(&count), ("x", "y")).await;
    let rules = Retries { idempotent: true, buffer: 1_000, ..quick() };
    let tutti = Tutti::start(in_turn(), vec![retrying(rules)], vec![passing("a", 1, flaky.addr)]).await;
    let sent = async |length: usize| {
        let (mut sender, body) = Body::channel(1);
        let sending = tokio::spawn(async move {
            for _ in 0..length / 100 {
                if sender.send(Bytes::from(vec![b'x'; 100])).await.is_err() {
                    return;
                }
            }
            let _ = sender.finish().await;
        });
        let answer = send(tutti.edge, post(body)).await;
        sending.await.unwrap();
        answer
    };
    let answer = sent(1_000).await;
    assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 1_000));
    assert_eq!(count.swap(0, Ordering::SeqCst), 2);
    // What is longer than the buffer is sent once.
    assert_eq!(sent(1_100).await.status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_makes_a_request_repeatable_and_a_hop_that_repeats_gets_no_retries() {
    let count = Arc::new(AtomicU32::new(0));
    let flaky = failing_first(1, Arc::clone(&count), ("x", "y")).await;
    let rules = Retries { idempotency_key: true, ..quick() };
    let tutti = Tutti::trusting(in_turn(), vec![retrying(rules)], vec![passing("a", 1, flaky.addr)]).await;
    let keyed = |name: &'static str| {
        let mut request = post(Body::from("x"));
        request.headers_mut().insert("idempotency-key", "7".parse().unwrap());
        request.headers_mut().insert(name, "2".parse().unwrap());
        request
    };
    assert_eq!(send(tutti.edge, keyed("x-other")).await.status(), 200);
    count.store(0, Ordering::SeqCst);
    assert_eq!(send(tutti.edge, keyed("x-tutti-attempt")).await.status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn retry_after_is_waited_for_or_passed_on() {
    for (asked, most, expected) in [("0", 1, 200), ("2", 1, 503)] {
        let count = Arc::new(AtomicU32::new(0));
        let flaky = failing_first(1, count, ("retry-after", asked)).await;
        let rules = Retries { max_retry_after: Duration::from_secs(most), ..quick() };
        let tutti = Tutti::start(in_turn(), vec![retrying(rules)], vec![passing("a", 1, flaky.addr)]).await;
        assert_eq!(get(tutti.edge, "/").await.status(), expected);
    }
}

/// The bar: with every second upstream failing, at most 1.2 times the load that was offered.
#[tokio::test]
async fn retries_do_not_become_a_storm() {
    const OFFERED: u32 = 4_000;
    let load = Arc::new(AtomicU32::new(0));
    let mut instances = Vec::new();
    for ordinal in 1..=4 {
        let load = Arc::clone(&load);
        let bad = ordinal % 2 == 0;
        let one = upstream(move |_| {
            load.fetch_add(1, Ordering::SeqCst);
            async move {
                let mut response = Response::new(Body::from("ok"));
                if bad {
                    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                }
                response
            }
        })
        .await;
        instances.push(passing("a", ordinal, one.addr));
    }
    let rules = Retries { attempts: 9, on: vec![RetryOn::ServerError], ..quick() };
    let route = retrying(rules);
    let tutti = Tutti::start(Options { workers: 2, ..in_turn() }, vec![route.clone()], instances).await;
    // The budget alone: passive health would pass the bad ones over before they cost any.
    let outlier = tutti_ports::routing::Outlier::off();
    let alone = tutti_ports::routing::Upstream { outlier, ..Default::default() };
    let serve = tutti_ports::routing::Serve::http(vec![route]);
    let upstreams = [(name("a"), alone)].into();
    tutti.handle.apply(tutti_ports::routing::Routing { upstreams, ..routing(serve) }).await.unwrap();
    let mut clients = JoinSet::new();
    let good = Arc::new(AtomicU32::new(0));
    for _ in 0..40 {
        let (edge, good) = (tutti.edge, Arc::clone(&good));
        clients.spawn(async move {
            for _ in 0..OFFERED / 40 {
                let answer = get(edge, "/").await;
                good.fetch_add(u32::from(answer.status() == 200), Ordering::SeqCst);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let (load, good) = (load.load(Ordering::SeqCst), good.load(Ordering::SeqCst));
    let ratio = f64::from(load) / f64::from(OFFERED);
    println!("offered {OFFERED}, upstream {load} ({ratio:.3} times), answered well {good}");
    assert!(ratio <= 1.2, "{ratio}");
    // They help as far as the budget goes.
    assert!(load > OFFERED + OFFERED / 10 && good > OFFERED / 2 + OFFERED / 20, "{load} {good}");
}

#[tokio::test]
async fn a_service_has_its_own_budget() {
    let count = Arc::new(AtomicU32::new(0));
    let flaky = failing_first(u32::MAX, Arc::clone(&count), ("x", "y")).await;
    let tutti = Tutti::start(in_turn(), vec![retrying(quick())], vec![passing("a", 1, flaky.addr)]).await;
    let budget = RetryBudget { percent: 0, min_per_second: 0 };
    let upstream = Rules { retry_budget: Some(budget), ..Rules::default() };
    let plain = routing(tutti_ports::routing::Serve::http(vec![retrying(quick())]));
    let none = Routing { upstreams: [(name("a"), upstream)].into(), ..plain };
    tutti.handle.apply(none).await.unwrap();
    // What had been saved up stays until it is used.
    for _ in 0..20 {
        get(tutti.edge, "/").await;
    }
    count.store(0, Ordering::SeqCst);
    get(tutti.edge, "/").await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_deadline_shortens_is_told_and_ends_the_work() {
    let gone = Arc::new(tokio::sync::Notify::new());
    let left = Arc::clone(&gone);
    let (addr, _task) = raw_upstream(move |mut stream| {
        let left = Arc::clone(&left);
        async move {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            let told = head.lines().find_map(|line| line.strip_prefix("x-tutti-deadline: ")).unwrap();
            assert!(told.parse::<u64>().unwrap() <= 300, "{head}");
            // The connection is closed when nobody waits any more.
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
            left.notify_one();
        }
    })
    .await;
    let tutti = Tutti::start(in_turn(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let asked = || Request::get("/").header("host", "h").header("x-tutti-deadline", "300");
    let began = Instant::now();
    let answer = send(tutti.edge, asked().body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (504, "TUT0535".into()));
    assert!((300..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    tokio::time::timeout(LIMITS.timeout, gone.notified()).await.expect("the work was not given up");
    // A client that leaves ends it as well.
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-Tutti-Deadline: 300\r\n\r\n").await.unwrap();
    drop(stream);
    tokio::time::timeout(LIMITS.timeout, gone.notified()).await.expect("the work was not given up");
    // One that has passed is not even begun; a longer one does not extend the route's timeout.
    let late = Request::get("/").header("host", "h").header("x-tutti-deadline", "0");
    assert_eq!(send(tutti.edge, late.body(Body::empty()).unwrap()).await.status(), 504);
}

#[tokio::test]
async fn what_becomes_of_deadlines_is_the_routes_choice() {
    let echo = echo().await;
    let route = |rule, timeout: u64| {
        let timeouts = Timeouts { request: Some(Duration::from_millis(timeout)), ..Timeouts::default() };
        Route {
            resilience: Resilience { deadline: rule, ..Resilience::default() }.into(),
            timeouts,
            ..to("a")
        }
    };
    let tutti = Tutti::start(in_turn(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let told = async |rule, timeout, asked: Option<&str>| -> Option<u64> {
        let routes = vec![route(rule, timeout)];
        tutti.handle.apply(routing(tutti_ports::routing::Serve::http(routes))).await.unwrap();
        let mut request = Request::get("/").header("host", "h");
        if let Some(asked) = asked {
            request = request.header("x-tutti-deadline", asked);
        }
        let answer = send(tutti.handle.describe().listeners[0].address, request.body(Body::empty()).unwrap());
        let answer = answer.await;
        text(&answer).lines().find_map(|line| line.strip_prefix("x-tutti-deadline: ")?.parse().ok())
    };
    assert_eq!(told(DeadlineRule::Honour, 5_000, None).await, None);
    assert!(told(DeadlineRule::Honour, 5_000, Some("9000")).await.is_some_and(|ms| ms <= 9_000));
    assert!(told(DeadlineRule::Propagate, 5_000, Some("9000")).await.is_some_and(|ms| ms <= 5_000));
    assert!(told(DeadlineRule::Propagate, 5_000, None).await.is_some_and(|ms| (1..=5_000).contains(&ms)));
    assert_eq!(told(DeadlineRule::Ignore, 5_000, Some("9000")).await, None);
}

/// A body of which nothing comes.
struct Silence;

impl http_body::Body for Silence {
    type Data = Bytes;
    type Error = tutti_net::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_call_of_grpc_that_takes_too_long_ends_with_its_status() {
    let silent = upstream(|_| async { Response::new(Body::boxed(Silence)) }).await;
    let instance = speaking(
        tutti_ports::catalog::AppProtocol::H2c,
        "a",
        1,
        silent.addr,
        tutti_ports::catalog::Health::Passing,
    );
    let tutti = Tutti::start(in_turn(), vec![to("a")], vec![instance]).await;
    let call = Request::post("/a.B/C")
        .header("host", "h")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "100m")
        .body(Body::empty())
        .unwrap();
    let (answer, trailers) =
        client::request_h2(&tutti_net::Addr::Tcp(tutti.edge), call, LIMITS).await.unwrap();
    assert_eq!((answer.status().as_u16(), &trailers.unwrap()["grpc-status"]), (200, &"4".parse().unwrap()));
}
