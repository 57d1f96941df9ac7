//! Passive health and circuit breakers, over real sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tutti_net::Body;
use tutti_ports::catalog::{AppProtocol, Health};
use tutti_ports::routing::{
    Algorithm, Backend, Balance, Breaker, Failover, LatencyRule, Outlier, Rate, Route, Routing, Serve,
    Upstream as Policy,
};

use crate::harness::*;

/// Answers with a status that the test sets, and counts.
struct Fickle {
    upstream: Upstream,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU32>,
}

impl Fickle {
    async fn answering(status: u16) -> Self {
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicU32::new(0)));
        let (says, counts) = (Arc::clone(&status), Arc::clone(&asked));
        let upstream = upstream(move |_| {
            counts.fetch_add(1, Ordering::SeqCst);
            let mut response = Response::new(Body::from("x"));
            *response.status_mut() = http::StatusCode::from_u16(says.load(Ordering::SeqCst)).unwrap();
            async move { response }
        })
        .await;
        Self { upstream, status, asked }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn addr(&self) -> std::net::SocketAddr {
        self.upstream.addr
    }
}

fn policed(policy: Policy) -> Routing {
    Routing { upstreams: BTreeMap::from([(name("a"), policy)]), ..routing(Serve::http(vec![to("a")])) }
}

fn in_turn() -> Balance {
    Balance { algorithm: Some(Algorithm::RoundRobin), ..Balance::default() }
}

async fn start(policy: Policy, addrs: &[std::net::SocketAddr]) -> Tutti {
    let instances = (1..).zip(addrs).map(|(ordinal, addr)| passing("a", ordinal, *addr)).collect();
    let options = tutti_proxy::Options { ready_wait: Duration::ZERO, ..options() };
    let tutti = Tutti::start(options, vec![to("a")], instances).await;
    tutti.handle.apply(policed(policy)).await.unwrap();
    tutti
}

fn described(tutti: &Tutti) -> serde_json::Value {
    serde_json::to_value(tutti.handle.describe()).unwrap()["services"][0].take()
}

fn reason(tutti: &Tutti, at: usize) -> Option<String> {
    described(tutti)["endpoints"][at]["ejected"]["reason"].as_str().map(str::to_owned)
}

fn metrics(tutti: &Tutti) -> String {
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    page.finish()
}

/// Asks until something holds.
async fn ask_until(tutti: &Tutti, holds: impl Fn(&Tutti, u16) -> bool) {
    let asking = async {
        loop {
            let status = get(tutti.edge, "/").await.status().as_u16();
            if holds(tutti, status) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMITS.timeout, asking).await.expect("it never comes to that");
}

#[tokio::test]
async fn gateway_errors_in_a_row_pass_an_instance_over_until_its_time_is_over() {
    let (bad, good) = (Fickle::answering(503).await, Fickle::answering(200).await);
    let outlier = Outlier { base_ejection: Duration::from_millis(700), ..Outlier::default() };
    let policy = Policy { balance: in_turn(), outlier, ..Policy::default() };
    let tutti = start(policy, &[bad.addr(), good.addr()]).await;
    ask_until(&tutti, |tutti, _| reason(tutti, 0).is_some()).await;
    assert_eq!((bad.asked(), reason(&tutti, 0).unwrap().as_str()), (5, "consecutive_gateway_errors"));
    assert_eq!(tutti.catalog.suspects(), ["a-1"]);
    let text = metrics(&tutti);
    let line = "tutti_proxy_ejections_total{service=\"a\",reason=\"consecutive_gateway_errors\"} 1";
    assert!(text.contains(line) && text.contains("tutti_proxy_ejected_instances{service=\"a\"} 1"), "{text}");
    // A new snapshot changes nothing.
    tutti.catalog.set(vec![
        passing("a", 1, bad.addr()),
        passing("a", 2, good.addr()),
        passing("b", 1, bad.addr()),
    ]);
    bad.status.store(200, Ordering::SeqCst);
    let began = Instant::now();
    ask_until(&tutti, |_, _| bad.asked() > 5).await;
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(reason(&tutti, 0), None);
}

#[tokio::test]
async fn errors_of_the_application_count_only_where_that_is_said() {
    let (bad, good) = (Fickle::answering(500).await, Fickle::answering(200).await);
    let policy = Policy { balance: in_turn(), ..Policy::default() };
    let tutti = start(policy.clone(), &[bad.addr(), good.addr()]).await;
    for _ in 0..30 {
        get(tutti.edge, "/").await;
    }
    assert_eq!(reason(&tutti, 0), None);
    let outlier = Outlier { consecutive_5xx: 3, ..Outlier::default() };
    tutti.handle.apply(policed(Policy { outlier, ..policy })).await.unwrap();
    ask_until(&tutti, |tutti, _| reason(tutti, 0).as_deref() == Some("consecutive_5xx")).await;
    // What the catalog says of it anew is the beginning of another life.
    tutti.catalog.set(vec![instance("a", 1, bad.addr(), Health::Critical), passing("a", 2, good.addr())]);
    tutti_ports::traffic::Traffic::drained(&tutti.handle, &id("a", 1), LIMITS.timeout).await;
    tutti.catalog.set(vec![passing("a", 1, bad.addr()), passing("a", 2, good.addr())]);
    ask_until(&tutti, |tutti, _| described(tutti)["endpoints"].as_array().unwrap().len() == 2).await;
    assert_eq!(reason(&tutti, 0), None);
}

#[tokio::test]
async fn the_last_instance_is_never_passed_over() {
    let only = Fickle::answering(503).await;
    let tutti = start(Policy::default(), &[only.addr()]).await;
    for _ in 0..20 {
        assert_eq!(get(tutti.edge, "/").await.status(), 503);
    }
    assert_eq!((only.asked(), reason(&tutti, 0)), (20, None));
    let other = Fickle::answering(503).await;
    tutti.catalog.set(vec![passing("a", 1, only.addr()), passing("a", 2, other.addr())]);
    for _ in 0..60 {
        assert_eq!(get(tutti.edge, "/").await.status(), 503);
    }
    let ejected = (0..2).filter(|at| reason(&tutti, *at).is_some()).count();
    assert_eq!(ejected, 1);
}

#[tokio::test]
async fn a_refused_connection_is_known_before_the_next_request() {
    let good = Fickle::answering(200).await;
    let tutti =
        start(Policy { balance: in_turn(), ..Policy::default() }, &[nobody().await, good.addr()]).await;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(get(tutti.edge, "/").await.status(), 200);
        longest = longest.max(began.elapsed());
        if !tutti.catalog.suspects().is_empty() {
            break;
        }
    }
    // The very request that met the refusal was answered by another instance, and the catalog already knows.
    assert_eq!(tutti.catalog.suspects(), ["a-1"]);
    assert_eq!(described(&tutti)["endpoints"][0]["cooling"], true);
    assert!(longest < Duration::from_millis(500), "it took {longest:?}");
}

#[tokio::test]
async fn the_slow_one_and_the_one_that_fails_too_often_are_found() {
    let slow = upstream(|_| async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        Response::new(Body::from("slow"))
    })
    .await;
    let (one, two) = (Fickle::answering(200).await, Fickle::answering(200).await);
    let rule =
        LatencyRule { factor: 3.0, minimum: Duration::from_millis(20), minimum_hosts: 3, request_volume: 2 };
    let interval = Duration::from_millis(250);
    let outlier = Outlier { latency: Some(rule), interval, ..Outlier::default() };
    let policy = Policy { balance: in_turn(), outlier, ..Policy::default() };
    let tutti = start(policy, &[one.addr(), slow.addr, two.addr()]).await;
    ask_until(&tutti, |tutti, _| reason(tutti, 1).as_deref() == Some("latency")).await;
    assert_eq!((reason(&tutti, 0), reason(&tutti, 2)), (None, None));

    two.status.store(500, Ordering::SeqCst);
    let rule = Rate { threshold: 60, minimum_hosts: 2, request_volume: 2 };
    let outlier =
        Outlier { failure_percentage: Some(rule), interval, max_ejection_percent: 70, ..Outlier::default() };
    tutti.handle.apply(policed(Policy { balance: in_turn(), outlier, ..Policy::default() })).await.unwrap();
    ask_until(&tutti, |tutti, _| reason(tutti, 2).as_deref() == Some("failure_percentage")).await;
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
}

fn breaking(open: Duration) -> Policy {
    let breaker = Breaker { minimum: 5, open, probes: 2, ..Breaker::default() };
    Policy { breaker: Some(breaker), ..Policy::default() }
}

#[tokio::test]
async fn an_open_breaker_answers_at_once_and_closes_after_good_probes() {
    let fickle = Fickle::answering(500).await;
    let tutti = start(breaking(Duration::from_millis(400)), &[fickle.addr()]).await;
    for _ in 0..5 {
        assert_eq!(get(tutti.edge, "/").await.status(), 500);
    }
    // Both workers know it.
    for _ in 0..10 {
        let refused = get(tutti.edge, "/").await;
        assert_eq!((refused.status().as_u16(), fault(&refused)["code"].clone()), (503, "TUT0530".into()));
        assert_eq!(
            (&refused.headers()["retry-after"], &refused.headers()["x-tutti-fault"]),
            (&"1".parse().unwrap(), &"upstream".parse().unwrap())
        );
    }
    assert_eq!((fickle.asked(), &described(&tutti)["breaker"]), (5, &"open".into()));
    let text = metrics(&tutti);
    assert!(text.contains("tutti_proxy_breaker_state{service=\"a\"} 2"), "{text}");
    assert!(text.contains("tutti_proxy_breaker_refused_total{service=\"a\"} 10"), "{text}");
    // A probe fails: it opens for twice as long.
    ask_until(&tutti, |_, status| status == 500).await;
    let began = Instant::now();
    assert_eq!((fickle.asked(), get(tutti.edge, "/").await.status().as_u16()), (6, 503));
    fickle.status.store(200, Ordering::SeqCst);
    ask_until(&tutti, |_, status| status == 200).await;
    assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
    ask_until(&tutti, |tutti, _| described(tutti)["breaker"] == "closed").await;
    for _ in 0..20 {
        assert_eq!(get(tutti.edge, "/").await.status(), 200);
    }
    assert!(metrics(&tutti).contains("tutti_proxy_breaker_opened_total{service=\"a\"} 2"));
}

#[tokio::test]
async fn a_breaker_ends_the_retries_and_survives_a_change_of_routes() {
    let addrs = [nobody().await, nobody().await, nobody().await];
    let tutti = start(breaking(Duration::from_secs(60)), &addrs).await;
    // Three tries each: the second request's second one is the fifth failure.
    assert_eq!(get(tutti.edge, "/").await.status(), 502);
    assert_eq!(get(tutti.edge, "/").await.status(), 502);
    assert_eq!(get(tutti.edge, "/").await.status(), 503);
    assert!(metrics(&tutti).contains("tutti_proxy_upstream_connect_failures_total 5"), "{}", metrics(&tutti));
    tutti.handle.apply(policed(breaking(Duration::from_secs(60)))).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 503);
    tutti.handle.apply(policed(Policy::default())).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 502);
}

#[tokio::test]
async fn a_probe_that_is_given_up_leaves_its_place() {
    let hangs = upstream(|request| async move {
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        let mut response = Response::new(Body::from("x"));
        if request.uri().path() == "/bad" {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    })
    .await;
    let tutti = start(breaking(Duration::from_millis(100)), &[hangs.addr]).await;
    for _ in 0..5 {
        get(tutti.edge, "/bad").await;
    }
    assert_eq!(get(tutti.edge, "/").await.status(), 503);
    // Two clients ask, get the two places of probes, and go away.
    let asking = async {
        while described(&tutti)["endpoints"][0]["in_flight"] != 2 {
            let one = async {
                drop(tokio::time::timeout(Duration::from_millis(300), get(tutti.edge, "/hang")).await)
            };
            let two = async {
                drop(tokio::time::timeout(Duration::from_millis(300), get(tutti.edge, "/hang")).await)
            };
            let look = async {
                for _ in 0..50 {
                    if described(&tutti)["endpoints"][0]["in_flight"] == 2 {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
                false
            };
            if tokio::join!(one, two, look).2 {
                return;
            }
        }
    };
    tokio::time::timeout(LIMITS.timeout, asking).await.expect("the probes never came to be");
    ask_until(&tutti, |_, status| status == 200).await;
}

/// A service of gRPC whose trailers say what the test says; nothing, if that is no status.
async fn of_grpc(said: Arc<AtomicU16>) -> Upstream {
    upstream(move |_| {
        let said = said.load(Ordering::SeqCst);
        async move {
            let (mut sender, body) = Body::channel(2);
            tokio::spawn(async move {
                let _ = sender.send(Bytes::from_static(b"\0\0\0\0\0")).await;
                if said > 16 {
                    std::future::pending::<()>().await;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", said.into());
                let _ = sender.finish_with(trailers).await;
            });
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        }
    })
    .await
}

async fn calling_grpc(policy: Policy, addrs: &[std::net::SocketAddr]) -> Tutti {
    let instance = |(ordinal, addr): (u32, &std::net::SocketAddr)| {
        speaking(AppProtocol::H2c, "a", ordinal, *addr, Health::Passing)
    };
    let route = Route::to("a", Backend::new(name("a"), 80, AppProtocol::H2c));
    let wanted =
        Routing { upstreams: BTreeMap::from([(name("a"), policy)]), ..routing(Serve::http(vec![route])) };
    let one_worker = tutti_proxy::Options { workers: 1, ..options() };
    Tutti::applying(one_worker, wanted, (1..).zip(addrs).map(instance).collect(), None).await
}

/// A call, and the status that its client hears.
async fn call(tutti: &Tutti, timeout: &str) -> u8 {
    let request = http::Request::post("/a.B/C").header("host", "h").header("te", "trailers");
    let request = request.header("content-type", "application/grpc").header("grpc-timeout", timeout);
    let request = request.body(Body::full(&b"\0\0\0\0\0"[..])).unwrap();
    let edge = tutti_net::Addr::Tcp(tutti.edge);
    let (answer, trailers) = tutti_net::client::request_h2(&edge, request, LIMITS).await.unwrap();
    let fields = trailers.as_ref().unwrap_or(answer.headers());
    fields["grpc-status"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn statuses_of_grpc_in_trailers_count_as_statuses_of_http_do() {
    let well = of_grpc(Arc::default()).await;
    for (said, why) in [
        (2, Some("consecutive_5xx")),
        (13, Some("consecutive_5xx")),
        (15, Some("consecutive_5xx")),
        (4, Some("consecutive_gateway_errors")),
        (14, Some("consecutive_gateway_errors")),
        // What the caller has done wrong, or is told, says nothing against who tells it.
        (0, None),
        (3, None),
        (5, None),
        (8, None),
        (12, None),
        (16, None),
    ] {
        let ill = of_grpc(Arc::new(AtomicU16::new(said))).await;
        let outlier = Outlier { consecutive_5xx: 5, consecutive_gateway_errors: 3, ..Outlier::default() };
        let policy = Policy { balance: in_turn(), outlier, ..Policy::default() };
        let tutti = calling_grpc(policy, &[ill.addr, well.addr]).await;
        let mut heard = Vec::new();
        for _ in 0..24 {
            heard.push(call(&tutti, "5S").await);
        }
        assert_eq!(reason(&tutti, 0).as_deref(), why, "{said}: {heard:?}");
        let failed = heard.iter().filter(|heard| u16::from(**heard) == said).count();
        let errors = metrics(&tutti)
            .lines()
            .filter(|line| {
                line.starts_with("tutti_proxy_upstream_errors_total{service=\"a\"") && !line.ends_with(" 0")
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
            .sum::<usize>();
        assert_eq!(errors, if why.is_some() { failed } else { 0 }, "{said}: {}", metrics(&tutti));
    }
}

#[tokio::test]
async fn a_breaker_counts_statuses_of_grpc_and_not_the_impatience_of_callers() {
    let said = Arc::new(AtomicU16::new(99));
    let service = of_grpc(Arc::clone(&said)).await;
    let breaker = Breaker { minimum: 4, failure_percent: 50, ..Breaker::default() };
    let policy = Policy { breaker: Some(breaker), ..Policy::default() };
    let tutti = calling_grpc(policy, &[service.addr]).await;
    // The answer begins, and the caller's own time is over before it ends.
    for _ in 0..6 {
        assert_eq!(call(&tutti, "50m").await, 4);
    }
    assert_eq!((described(&tutti)["breaker"].as_str(), reason(&tutti, 0)), (Some("closed"), None));
    said.store(13, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(call(&tutti, "5S").await, 13);
    }
    assert_eq!(described(&tutti)["breaker"], "open");
    assert_eq!(call(&tutti, "5S").await, 14, "it is left in peace");
}

#[tokio::test]
async fn while_the_breaker_is_open_another_service_stands_in() {
    let (ill, spare) = (Fickle::answering(500).await, named("spare").await);
    let failover = Some(Failover { service: name("b"), port: None });
    let policy = |open: Duration| Policy {
        breaker: Some(Breaker {
            minimum: 4,
            failure_percent: 50,
            open,
            open_max: open,
            ..Breaker::default()
        }),
        balance: Balance { failover: failover.clone(), ..Balance::default() },
        ..Policy::default()
    };
    let begin = async |policy: Policy| {
        let instances = vec![passing("a", 1, ill.addr()), passing("b", 1, spare.addr)];
        Tutti::applying(options(), policed(policy), instances, None).await
    };
    let tutti = begin(policy(Duration::from_secs(600))).await;
    ask_until(&tutti, |tutti, _| described(tutti)["breaker"] == "open").await;
    let asked = ill.asked();
    for _ in 0..10 {
        assert_eq!(text(&get(tutti.edge, "/").await), "spare");
    }
    assert_eq!(ill.asked(), asked, "it is left in peace");
    let counted = metrics(&tutti);
    assert!(counted.contains("tutti_proxy_breaker_diverted_total{service=\"a\"} 10"), "{counted}");
    assert!(counted.contains("tutti_proxy_breaker_refused_total{service=\"a\"} 0"), "{counted}");
    // Who stands in fails as well: that is the answer, and nobody else is asked.
    tutti.catalog.set(vec![passing("a", 1, ill.addr()), passing("b", 1, nobody().await)]);
    ask_until(&tutti, |_, status| status == 502).await;
    assert_eq!(ill.asked(), asked);
    // Nobody stands in any more.
    tutti.catalog.set(vec![passing("a", 1, ill.addr())]);
    ask_until(&tutti, |_, status| status == 503).await;
    assert_eq!(ill.asked(), asked);
    // It is looked at again by and by, and gets its requests back once it is well; who stood in has no say in that.
    let tutti = begin(policy(Duration::from_millis(50))).await;
    ask_until(&tutti, |tutti, _| described(tutti)["breaker"] == "open").await;
    ill.status.store(200, Ordering::SeqCst);
    ask_until(&tutti, |tutti, _| described(tutti)["breaker"] == "closed").await;
    assert_eq!(text(&get(tutti.edge, "/").await), "x");
}
