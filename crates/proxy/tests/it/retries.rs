//! Retries: when, how often, and where; timeouts; waiting for an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tutti_net::Body;
use tutti_ports::catalog::Health;
use tutti_ports::routing::{Outlier, RetryBudget, Route, Routing, Serve, Timeouts, Upstream as Policy};
use tutti_proxy::{Balance, Options};

use crate::harness::*;

fn in_turn() -> Options {
    Options { balance: Balance::RoundRobin, ready_wait: Duration::ZERO, ..options() }
}

async fn counting(
    count: Arc<AtomicU32>,
    answer: &'static str,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    raw_upstream(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_and_the_catalog_hears_of_it() {
    let good = named("good").await;
    let instances = vec![passing("a", 1, nobody().await), passing("a", 2, good.addr)];
    let tutti = Tutti::start(in_turn(), vec![to("a")], instances).await;
    for _ in 0..40 {
        let post = Request::post("/").header("host", "h").body(Body::from("body")).unwrap();
        assert_eq!(text(&send(tutti.edge, post).await), "good");
    }
    tutti.catalog.suspected().await;
    // Once for each cool-off, not for each request; the test may take longer than one.
    let suspects = tutti.catalog.suspects();
    assert!(suspects.iter().all(|one| one == "a-1") && suspects.len() < 20, "{suspects:?}");
}

#[tokio::test]
async fn a_request_without_answer_is_repeated_only_if_that_is_safe() {
    let broken = Arc::new(AtomicU32::new(0));
    let (bad, _task) = counting(Arc::clone(&broken), "").await;
    let good = named("good").await;
    let instances = vec![passing("a", 1, bad), passing("a", 2, good.addr)];
    let cold = Options { cool_off: Duration::ZERO, ..in_turn() };
    let tutti = Tutti::start(cold, vec![to("a")], instances).await;
    for _ in 0..8 {
        assert_eq!(text(&get(tutti.edge, "/").await), "good");
    }
    assert!(broken.swap(0, Ordering::SeqCst) > 0);
    let mut failed = 0;
    for _ in 0..8 {
        let post = Request::post("/").header("host", "h").body(Body::from("body")).unwrap();
        let answer = send(tutti.edge, post).await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), 502);
            assert_eq!(fault(&answer)["code"], "TUT0504");
            assert_eq!(answer.headers()["x-tutti-fault"], "upstream");
            failed += 1;
        }
    }
    // Each one that reached the bad instance failed there, once.
    assert!(failed > 0);
    assert_eq!(broken.load(Ordering::SeqCst), failed);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_not_an_error() {
    let answered = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&answered);
    // Says it keeps the connection, and closes it after the answer.
    let (addr, _task) = counting(count, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let tutti = Tutti::start(in_turn(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    for n in 1..=30 {
        assert_eq!(text(&get(tutti.edge, "/").await), "ok");
        assert_eq!(answered.load(Ordering::SeqCst), n);
    }
}

#[tokio::test]
async fn tries_are_bounded() {
    let broken = Arc::new(AtomicU32::new(0));
    let mut instances = Vec::new();
    for ordinal in 1..=5 {
        instances.push(passing("a", ordinal, counting(Arc::clone(&broken), "").await.0));
    }
    let tutti = Tutti::start(in_turn(), vec![to("a")], instances).await;
    let answer = get(tutti.edge, "/").await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (502, "TUT0504".into()));
    assert_eq!(broken.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_budget_bounds_retries() {
    let broken = Arc::new(AtomicU32::new(0));
    let mut instances = Vec::new();
    for ordinal in 1..=3 {
        instances.push(passing("a", ordinal, counting(Arc::clone(&broken), "").await.0));
    }
    let retries = tutti_proxy::config::Allowance { percent: 0, per_second: 0, burst: 5, initial: 5 };
    let tutti = Tutti::start(Options { workers: 1, retries, ..in_turn() }, vec![to("a")], instances).await;
    for _ in 0..20 {
        assert_eq!(get(tutti.edge, "/").await.status(), 502);
    }
    assert_eq!(broken.load(Ordering::SeqCst), 25);
}

#[tokio::test]
async fn slow_tries_are_given_up_and_repeated_elsewhere() {
    let slow = upstream(|_| std::future::pending::<Response<Body>>()).await;
    let good = named("good").await;
    let timeouts = |request, per_try| Timeouts { request: Some(request), per_try: Some(per_try), idle: None };
    let short = Duration::from_millis(60);
    let route = Route { timeouts: timeouts(Duration::from_secs(20), short), ..to("a") };
    let instances = vec![passing("a", 1, slow.addr), passing("a", 2, good.addr)];
    let tutti = Tutti::start(in_turn(), vec![route], instances).await;
    for _ in 0..4 {
        assert_eq!(text(&get(tutti.edge, "/").await), "good");
    }
    // A POST may be under way there, and nobody is left for the last one.
    let post = Request::post("/").header("host", "h").body(Body::from("x")).unwrap();
    let mut statuses = vec![send(tutti.edge, post).await.status().as_u16()];
    let post = Request::post("/").header("host", "h").body(Body::from("x")).unwrap();
    statuses.push(send(tutti.edge, post).await.status().as_u16());
    assert!(statuses.contains(&504), "{statuses:?}");
    let route = Route { timeouts: timeouts(short, Duration::ZERO), ..to("a") };
    tutti.handle.apply(routing(tutti_ports::routing::Serve::http(vec![route]))).await.unwrap();
    tutti.catalog.set(vec![passing("a", 1, slow.addr)]);
    tutti_ports::traffic::Traffic::drained(&tutti.handle, &id("a", 2), LIMITS.timeout).await;
    let answer = get(tutti.edge, "/").await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (504, "TUT0505".into()));
}

#[tokio::test]
async fn a_request_waits_for_an_instance_that_starts() {
    let good = named("good").await;
    let patient = Options { ready_wait: LIMITS.timeout, ..options() };
    let starting = instance("a", 1, good.addr, Health::Starting);
    let tutti = Tutti::start(patient, vec![to("a")], vec![starting]).await;
    let edge = tutti.edge;
    let asked = tokio::spawn(async move { text(&get(edge, "/").await).to_owned() });
    // It is under way and has not been answered.
    loop {
        let mut page = tutti_core::metrics::Page::default();
        tutti.handle.metrics(&mut page);
        if page.finish().contains("tutti_proxy_requests_in_flight 1\n") {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(!asked.is_finished());
    tutti.catalog.set(vec![passing("a", 1, good.addr)]);
    assert_eq!(asked.await.unwrap(), "good");
}

#[tokio::test]
async fn the_only_instance_is_asked_again_while_it_restarts() {
    let addr = free();
    let patient = Options { ready_wait: LIMITS.timeout, ..options() };
    let tutti = Tutti::start(patient, vec![to("a")], vec![passing("a", 1, addr)]).await;
    let edge = tutti.edge;
    let asked = tokio::spawn(async move {
        let post = Request::post("/").header("host", "h").body(Body::from("x")).unwrap();
        text(&send(edge, post).await).to_owned()
    });
    tutti.catalog.suspected().await;
    let _late = upstream_at(addr, |_| async { Response::new(Body::from("late")) }).await;
    assert_eq!(asked.await.unwrap(), "late");
}

#[tokio::test]
async fn all_workers_share_what_is_allowed_however_few_requests_there_are() {
    let broken = Arc::new(AtomicU32::new(0));
    let (bad, _task) = counting(Arc::clone(&broken), "").await;
    let good = named("good").await;
    let many = Options { workers: 8, cool_off: Duration::ZERO, ..in_turn() };
    let budget = Some(RetryBudget { percent: 0, min_per_second: 1 });
    let policy = Policy { retry_budget: budget, outlier: Outlier::off(), ..Policy::default() };
    let wanted = Routing { upstreams: [(name("a"), policy)].into(), ..routing(Serve::http(vec![to("a")])) };
    let instances = vec![passing("a", 1, bad), passing("a", 2, good.addr)];
    let began = std::time::Instant::now();
    let tutti = Tutti::applying(many, wanted, instances, None).await;
    let mut well = 0;
    for _ in 0..64 {
        well += u64::from(get(tutti.edge, "/").await.status() == 200);
    }
    let straight = 64 - u64::from(broken.load(Ordering::SeqCst));
    let again = well - straight;
    // One at the beginning, and one a second; not one for each worker.
    assert!((1..=1 + began.elapsed().as_secs() + 1).contains(&again), "{again}");
}
