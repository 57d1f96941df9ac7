//! More load than a service can take, over real sockets: what of it is answered, and how soon all is well again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tutti_core::metrics::Page;
use tutti_net::client::{self, Limits};
use tutti_net::{Addr, Body};
use tutti_ports::routing::{
    Adaptive, Concurrency, Match, PathMatch, Resilience, Route, Routing, Serve, Upstream as Rules,
};
use tutti_proxy::{Handle, Options};

use crate::harness::*;

/// What the service can do: so many requests at a time, each so long. Whoever comes beyond that waits within it.
const AT_A_TIME: usize = 4;
const WORK: Duration = Duration::from_millis(100);
/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(2);
const QUEUE: u32 = 20;

async fn service() -> Upstream {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    upstream(move |_| {
        let room = Arc::clone(&room);
        async move {
            let _place = room.acquire_owned().await.unwrap();
            tokio::time::sleep(WORK).await;
            Response::new(Body::from("done"))
        }
    })
    .await
}

async fn ask(addr: SocketAddr, path: &str) -> Option<Duration> {
    let began = Instant::now();
    let request = Request::get(path).header("host", "h").body(Body::empty()).unwrap();
    let limits = Limits { timeout: PATIENCE, body_bytes: 1 << 20 };
    let answer = client::request(&Addr::Tcp(addr), request, limits).await;
    answer.ok().filter(|answer| answer.status() == 200).map(|_| began.elapsed())
}

/// Requests a second that the service answers when always somebody waits.
async fn capacity(addr: SocketAddr) -> f64 {
    let (done, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + Duration::from_secs(1));
    let mut clients = JoinSet::new();
    for _ in 0..AT_A_TIME * 2 {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            while Instant::now() < end {
                if ask(addr, "/").await.is_some() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while clients.join_next().await.is_some() {}
    done.load(Ordering::Relaxed) as f64 / (end.elapsed() + Duration::from_secs(1)).as_secs_f64()
}

#[derive(Debug)]
struct Seen {
    goodput: f64,
    high_p99: Duration,
    high_failed: usize,
    most_under_way: i64,
    recovery: Duration,
}

/// Offers `rate` requests a second for some seconds, every tenth of them to `/high`.
async fn offer(addr: SocketAddr, handle: &Handle, rate: f64, seconds: f64) -> Seen {
    let began = Instant::now();
    let watching = Arc::new(AtomicBool::new(true));
    let most = tokio::spawn(watch(handle.clone(), Arc::clone(&watching)));
    let mut clients = JoinSet::new();
    for n in 0..(rate * seconds) as u32 {
        tokio::time::sleep_until(began + Duration::from_secs_f64(f64::from(n) / rate)).await;
        let high = n % 10 == 0;
        clients.spawn(async move { (high, ask(addr, if high { "/high" } else { "/" }).await) });
    }
    let ended = Instant::now();
    let (mut good, mut high, mut high_failed) = (0_u32, Vec::new(), 0);
    // Those that are still waiting do not count for the time after.
    let mut recovery = None;
    let prober = async {
        loop {
            if ask(addr, "/").await.is_some_and(|took| took < WORK * 2) {
                return ended.elapsed();
            }
        }
    };
    let mut prober = std::pin::pin!(prober);
    loop {
        tokio::select! {
            took = &mut prober, if recovery.is_none() => recovery = Some(took),
            done = clients.join_next() => match done {
                None => break,
                Some(done) => {
                    let (is_high, took) = done.unwrap();
                    good += u32::from(took.is_some());
                    match took {
                        Some(took) if is_high => high.push(took),
                        None if is_high => high_failed += 1,
                        _ => {}
                    }
                }
            }
        }
    }
    let recovery = match recovery {
        Some(recovery) => recovery,
        None => prober.await,
    };
    watching.store(false, Ordering::Relaxed);
    high.sort();
    let high_p99 = high.get(high.len() * 99 / 100).copied().unwrap_or(Duration::MAX);
    let goodput = f64::from(good) / (ended - began).as_secs_f64();
    Seen { goodput, high_p99, high_failed, most_under_way: most.await.unwrap(), recovery }
}

/// The most requests that were under way at a time.
async fn watch(handle: Handle, watching: Arc<AtomicBool>) -> i64 {
    let mut most = 0;
    while watching.load(Ordering::Relaxed) {
        let mut page = Page::default();
        handle.metrics(&mut page);
        let text = page.finish();
        let line = text.lines().find_map(|line| line.strip_prefix("tutti_proxy_requests_in_flight "));
        most = most.max(line.unwrap().parse().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

fn rules(on: bool) -> Routing {
    let route = |name: &str, path: &str, priority| Route {
        name: name.into(),
        matches: vec![Match { path: Some(PathMatch::Prefix(path.into())), ..Match::default() }],
        resilience: Resilience { priority: on.then_some(priority), ..Resilience::default() }.into(),
        ..to("a")
    };
    let routing = routing(Serve::http(vec![route("high", "/high", 192), route("all", "/", 128)]));
    if !on {
        return routing;
    }
    let upstream = Rules {
        concurrency: Some(Concurrency { queue: QUEUE, ..Concurrency::default() }),
        adaptive: Some(Adaptive { initial: 4, ..Adaptive::default() }),
        ..Rules::default()
    };
    Routing { upstreams: [(name("a"), upstream)].into(), ..routing }
}

/// The bar: at five times the capacity at least 90 % of it is goodput, requests of high priority keep their p99, what is under
/// way is bounded, and all is well again within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and needs a machine with nothing else to do: cargo xtask bench overload"]
async fn an_overload_is_shed_and_what_matters_is_answered() {
    let seconds =
        std::env::var("TUTTI_OVERLOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let service = service().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, service.addr)]).await;
    let capacity = capacity(service.addr).await;
    let compare = std::env::var_os("TUTTI_OVERLOAD_COMPARE").is_some();
    for on in [false, true].into_iter().filter(|on| *on || compare) {
        tutti.handle.apply(rules(on)).await.unwrap();
        // Some load that it can take, as there would have been: the time of an idle service is known from it.
        offer(tutti.edge, &tutti.handle, capacity / 2.0, 1.5).await;
        let seen = offer(tutti.edge, &tutti.handle, capacity * 5.0, seconds).await;
        let share = seen.goodput / capacity;
        println!(
            "{}: capacity {capacity:.0}/s, offered {:.0}/s, goodput {:.0}/s ({:.0} %), high p99 {:?} ({} failed), \
             at most {} under way, well again after {:?}",
            if on { "with limits" } else { "without" },
            capacity * 5.0,
            seen.goodput,
            share * 100.0,
            seen.high_p99,
            seen.high_failed,
            seen.most_under_way,
            seen.recovery,
        );
        if on {
            assert!(share >= 0.9, "{seen:?}");
            assert!(seen.high_p99 < WORK * 6 && seen.high_failed == 0, "{seen:?}");
            assert!(seen.most_under_way < 100, "{seen:?}");
            assert!(seen.recovery < Duration::from_secs(2), "{seen:?}");
        }
    }
}

/// A gate that is asked for at the route: who finds it full is told so.
#[tokio::test]
async fn a_route_takes_only_so_many_at_a_time() {
    let silent = upstream(|_| std::future::pending::<Response<Body>>()).await;
    let concurrency = Concurrency { limit: Some(1), queue: 0, ..Concurrency::default() };
    let resilience = Resilience { concurrency: Some(concurrency), ..Resilience::default() };
    let route = Route { resilience: resilience.into(), ..to("a") };
    let patient = Options { ready_wait: Duration::ZERO, ..options() };
    let tutti = Tutti::start(patient, vec![route], vec![passing("a", 1, silent.addr)]).await;
    let edge = tutti.edge;
    let first = tokio::spawn(async move { get(edge, "/").await });
    let answer = loop {
        let shed = get(edge, "/");
        match tokio::time::timeout(Duration::from_millis(500), shed).await {
            Ok(answer) => break answer,
            // It got in before the other one: it has left again.
            Err(_) => continue,
        }
    };
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (503, "TUT0536".into()));
    assert_eq!(answer.headers()["retry-after"], "1");
    // Who leaves makes room: nothing is answered, but nothing is turned away either.
    first.abort();
    let _ = first.await;
    let again = loop {
        match tokio::time::timeout(Duration::from_millis(200), get(edge, "/")).await {
            Ok(answer) if answer.status() == 503 => continue,
            other => break other,
        }
    };
    assert!(again.is_err());
}
