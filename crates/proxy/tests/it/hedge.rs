//! A second instance is asked when the first takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::sync::mpsc;
use tutti_net::Body;
use tutti_ports::routing::{
    Hedge, HedgeAfter, Resilience, RetryBudget, Route, Routing, Serve, Upstream as Called,
};
use tutti_proxy::{Balance, Options};

use crate::harness::*;

const SLOW: Duration = Duration::from_millis(600);

fn hedged(after: HedgeAfter) -> Route {
    let hedge = Hedge { after, max_extra: 1, idempotent: false };
    Route { resilience: Resilience { hedge: Some(hedge), ..Resilience::default() }.into(), ..to("a") }
}

fn one_worker() -> Options {
    Options { workers: 1, balance: Balance::RoundRobin, ..options() }
}

async fn start(route: Route, budget: Option<RetryBudget>, addrs: &[std::net::SocketAddr]) -> Tutti {
    let called = Called { retry_budget: budget, ..Called::default() };
    let routing = Routing { upstreams: [(name("a"), called)].into(), ..routing(Serve::http(vec![route])) };
    let instances = addrs.iter().zip(0..).map(|(addr, at)| passing("a", at, *addr)).collect();
    Tutti::applying(one_worker(), routing, instances, None).await
}

/// Says over its channel when a request was given up.
struct GivenUp(Option<mpsc::UnboundedSender<()>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

/// An upstream that is slow with every `nth` request; counts them.
async fn slow_each(nth: u32, count: Arc<AtomicU32>) -> (Upstream, mpsc::UnboundedReceiver<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let upstream = upstream(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst) + 1;
        let sender = sender.clone();
        async move {
            let mut given_up = GivenUp(Some(sender));
            if at.is_multiple_of(nth) {
                tokio::time::sleep(SLOW).await;
            }
            given_up.0 = None;
            Response::new(Body::from("ok"))
        }
    })
    .await;
    (upstream, receiver)
}

/// The longest but one of each hundred.
async fn p99(edge: std::net::SocketAddr, requests: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        assert_eq!(get(edge, "/").await.status(), 200);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[requests * 99 / 100 - 1]
}

fn metric(tutti: &Tutti, name: &str) -> u32 {
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_tail_is_cut_within_the_budget() {
    const REQUESTS: usize = 200;
    let budget = RetryBudget { percent: 15, min_per_second: 1 };
    for after in
        [None, Some(HedgeAfter::Delay(Duration::from_millis(60))), Some(HedgeAfter::Percentile(90.0))]
    {
        let count = Arc::<AtomicU32>::default();
        let (good, _) = slow_each(u32::MAX, Arc::clone(&count)).await;
        // One of two instances is slow with each tenth request: 5 of 100.
        let (slow, mut given_up) = slow_each(10, Arc::default()).await;
        let route = after.map_or_else(|| to("a"), hedged);
        let tutti = start(route, Some(budget), &[good.addr, slow.addr]).await;
        let p99 = p99(tutti.edge, REQUESTS).await;
        let hedges = metric(&tutti, "tutti_proxy_hedges_total");
        match after {
            None => assert!(p99 >= SLOW && hedges == 0, "{p99:?}"),
            Some(_) => {
                assert!(p99 < SLOW / 2, "{after:?}: {p99:?}");
                assert!(hedges >= 7 && hedges as usize <= REQUESTS * 15 / 100 + 20, "{hedges}");
                assert!(metric(&tutti, "tutti_proxy_hedges_won_total") >= 7);
                // Who lost was given up at once.
                tokio::time::timeout(Duration::from_secs(10), given_up.recv()).await.unwrap().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn where_all_are_slow_the_budget_holds() {
    let count = Arc::<AtomicU32>::default();
    let (one, _a) = slow_each(1, Arc::clone(&count)).await;
    let (two, _b) = slow_each(1, Arc::clone(&count)).await;
    let budget = RetryBudget { percent: 10, min_per_second: 1 };
    let route = hedged(HedgeAfter::Delay(Duration::from_millis(5)));
    let tutti = start(route, Some(budget), &[one.addr, two.addr]).await;
    let answers: Vec<_> = (0..100).map(|_| tokio::spawn(get(tutti.edge, "/"))).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    let hedges = metric(&tutti, "tutti_proxy_hedges_total");
    assert!(hedges <= 15, "{hedges}");
    assert_eq!(count.load(Ordering::SeqCst), 100 + hedges);
    assert!(metric(&tutti, "tutti_proxy_hedges_denied_total") >= 80);
}

#[tokio::test]
async fn what_may_not_be_carried_out_twice_is_asked_once() {
    let count = Arc::<AtomicU32>::default();
    let (one, _a) = slow_each(1, Arc::clone(&count)).await;
    let (two, _b) = slow_each(1, Arc::clone(&count)).await;
    let route = hedged(HedgeAfter::Delay(Duration::from_millis(5)));
    let tutti = start(route.clone(), None, &[one.addr, two.addr]).await;
    let post = || Request::post("/").header("host", "a").body(Body::from("x")).unwrap();
    assert_eq!(send(tutti.edge, post()).await.status(), 200);
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
    // The route says that it may.
    let mut declared = route;
    declared.resilience.hedge.as_mut().unwrap().idempotent = true;
    let tutti = start(declared, None, &[one.addr, two.addr]).await;
    assert_eq!(send(tutti.edge, post()).await.status(), 200);
    assert_eq!(count.swap(0, Ordering::SeqCst), 2);
    // And never the same instance twice.
    let tutti = start(hedged(HedgeAfter::Delay(Duration::from_millis(5))), None, &[one.addr]).await;
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
}
