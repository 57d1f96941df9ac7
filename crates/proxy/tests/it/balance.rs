//! How instances share requests: by hash, by cookie, by subset, zone, priority and failover, over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tutti_net::Body;
use tutti_ports::catalog::{Health, Instance, Spec};
use tutti_ports::routing::{
    Algorithm, Backend, Balance, Failover, HashOn, Route, Routing, SameSite, Serve, Sticky, Subset, Upstream,
};

use crate::harness::*;

pub fn called(balance: Balance) -> Upstream {
    Upstream { balance, ..Upstream::default() }
}

pub fn policed(route: Route, service: &str, upstream: Upstream) -> Routing {
    let upstreams = BTreeMap::from([(name(service), upstream)]);
    Routing { upstreams, ..routing(Serve::http(vec![route])) }
}

async fn start(balance: Balance, options: tutti_proxy::Options, instances: Vec<Instance>) -> Tutti {
    let tutti = Tutti::start(options, vec![to("a")], instances).await;
    tutti.handle.apply(policed(to("a"), "a", called(balance))).await.unwrap();
    tutti
}

/// The instance with something changed.
fn with(instance: Instance, change: impl FnOnce(&mut Spec)) -> Instance {
    let mut spec = Spec::clone(&instance.spec);
    change(&mut spec);
    Instance { spec: Arc::new(spec), ..instance }
}

async fn get_with(addr: std::net::SocketAddr, field: &str, value: &str) -> Response<bytes::Bytes> {
    let request = Request::get("/").header("host", "h").header(field, value);
    send(addr, request.body(Body::empty()).unwrap()).await
}

/// Waits until every worker has taken a view into force that lacks an instance.
async fn without(tutti: &Tutti, service: &str, ordinal: u32) {
    tutti_ports::traffic::Traffic::drained(&tutti.handle, &id(service, ordinal), LIMITS.timeout).await;
}

#[tokio::test]
async fn a_hash_takes_the_same_to_the_same() {
    let (one, two, three) = (named("1").await, named("2").await, named("3").await);
    let instances = vec![passing("a", 1, one.addr), passing("a", 2, two.addr), passing("a", 3, three.addr)];
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let hash_on = HashOn::Header("x-user".into());
        let balance = Balance { algorithm: Some(algorithm), hash_on, ..Balance::default() };
        let tutti = start(balance, options(), instances.clone()).await;
        let mut homes = Vec::new();
        for user in 0..30 {
            let user = format!("user-{user}");
            let home = text(&get_with(tutti.edge, "x-user", &user).await).to_owned();
            for _ in 0..3 {
                assert_eq!(text(&get_with(tutti.edge, "x-user", &user).await), home);
            }
            homes.push(home);
        }
        assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
        // When one leaves, the others' users stay with theirs; of the table, nearly all.
        tutti.catalog.set(vec![passing("a", 1, one.addr), passing("a", 3, three.addr)]);
        without(&tutti, "a", 2).await;
        let mut moved = 0;
        for (user, home) in homes.iter().enumerate().filter(|(_, home)| *home != "2") {
            let now = get_with(tutti.edge, "x-user", &format!("user-{user}")).await;
            moved += u32::from(text(&now) != home);
        }
        assert!(moved <= if algorithm == Algorithm::Maglev { 3 } else { 0 }, "{algorithm:?}: {moved}");
        // Without the field, anybody will do.
        assert_eq!(get(tutti.edge, "/").await.status(), 200);
        tutti.proxy.shutdown().await;
    }
}

#[tokio::test]
async fn a_cookie_holds_a_client_to_its_instance() {
    let (one, two, three) = (named("1").await, named("2").await, named("3").await);
    let instances = vec![passing("a", 1, one.addr), passing("a", 2, two.addr), passing("a", 3, three.addr)];
    let sticky =
        Sticky { cookie: "at".into(), ttl: None, path: "/".into(), secure: false, same_site: SameSite::Lax };
    let tutti =
        start(Balance { sticky: Some(sticky), ..Balance::default() }, options(), instances.clone()).await;
    let first = get(tutti.edge, "/").await;
    let set = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.starts_with("at=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = set.split(';').next().unwrap();
    for _ in 0..20 {
        let again = get_with(tutti.edge, "cookie", cookie).await;
        assert_eq!(text(&again), text(&first));
        assert!(!again.headers().contains_key("set-cookie"));
    }
    // What a client makes up is replaced.
    let forged = get_with(tutti.edge, "cookie", "at=a-1").await;
    assert!(forged.headers().contains_key("set-cookie"));
    // When the instance goes, the client gets another one and its cookie.
    let gone: u32 = text(&first).parse().unwrap();
    tutti.catalog.set(instances.into_iter().filter(|one| one.spec.id != id("a", gone)).collect());
    without(&tutti, "a", gone).await;
    let moved = get_with(tutti.edge, "cookie", cookie).await;
    assert_ne!(text(&moved), text(&first));
    assert!(moved.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_route_means_the_instances_of_a_version() {
    let (old, new) = (named("old").await, named("new").await);
    let instances = vec![
        with(passing("a", 1, old.addr), |spec| spec.version = Some("v1".into())),
        with(passing("a", 2, new.addr), |spec| {
            spec.version = Some("v2".into());
            spec.tags = vec!["canary".into()];
        }),
    ];
    let subset =
        |version: &str, or_any| Subset { version: Some(version.into()), or_any, ..Subset::default() };
    let route = |subset: Subset| Route::to("a", Backend { subset: Some(subset), ..backend("a") });
    let tutti = Tutti::start(options(), vec![route(subset("v2", false))], instances).await;
    for _ in 0..10 {
        assert_eq!(text(&get(tutti.edge, "/").await), "new");
    }
    let canary = Subset { tags: vec!["canary".into()], ..Subset::default() };
    tutti.handle.apply(routing(Serve::http(vec![route(canary)]))).await.unwrap();
    assert_eq!(text(&get(tutti.edge, "/").await), "new");
    tutti.handle.apply(routing(Serve::http(vec![route(subset("v3", false))]))).await.unwrap();
    let none = get(tutti.edge, "/").await;
    assert_eq!((none.status().as_u16(), fault(&none)["code"].clone()), (503, "TUT0502".into()));
    let message = fault(&none)["message"].to_string();
    assert!(message.contains("none of the 2 instances of a is of version v3"), "{message}");
    tutti.handle.apply(routing(Serve::http(vec![route(subset("v3", true))]))).await.unwrap();
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
    let described = serde_json::to_value(tutti.handle.describe()).unwrap();
    assert_eq!(described["services"][0]["subset"], "of version v2");
}

#[tokio::test]
async fn the_own_zone_comes_first_and_others_take_what_it_cannot() {
    let (near, far) = (named("near").await, named("far").await);
    let zone = |ordinal, addr, zone: &str, health| {
        with(instance("a", ordinal, addr, health), |spec| spec.zone = Some(zone.into()))
    };
    let at = |second| {
        vec![
            zone(1, near.addr, "eu-1", Health::Passing),
            zone(2, near.addr, "eu-1", second),
            zone(3, far.addr, "eu-2", Health::Passing),
        ]
    };
    let options = tutti_proxy::Options { zone: Some("eu-1".into()), ..options() };
    let balance = Balance { prefer_zone: true, ..Balance::default() };
    let tutti = start(balance, options, at(Health::Passing)).await;
    for _ in 0..20 {
        assert_eq!(text(&get(tutti.edge, "/").await), "near");
    }
    // Half of the zone is ill: it keeps 70 % of the requests.
    tutti.catalog.set(at(Health::Critical));
    without(&tutti, "a", 2).await;
    let mut near_ones = 0;
    for _ in 0..200 {
        near_ones += u32::from(text(&get(tutti.edge, "/").await) == "near");
    }
    assert!((110..170).contains(&near_ones), "{near_ones} of 200 stayed near");
    tutti.catalog.set(vec![zone(3, far.addr, "eu-2", Health::Passing)]);
    without(&tutti, "a", 1).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "far");
}

#[tokio::test]
async fn another_service_takes_over_and_gives_back() {
    let (own, spare, other) = (named("own").await, named("spare").await, named("other").await);
    let spare = with(passing("a", 2, spare.addr), |spec| {
        spec.meta.insert("tutti.priority".into(), "1".into());
    });
    let all = |health| vec![instance("a", 1, own.addr, health), spare.clone(), passing("b", 1, other.addr)];
    let failover = Failover { service: name("b"), port: None };
    let balance = Balance { failover: Some(failover), ..Balance::default() };
    let tutti = start(balance, options(), all(Health::Passing)).await;
    for _ in 0..10 {
        assert_eq!(text(&get(tutti.edge, "/").await), "own");
    }
    tutti.catalog.set(all(Health::Critical));
    without(&tutti, "a", 1).await;
    for _ in 0..10 {
        assert_eq!(text(&get(tutti.edge, "/").await), "spare");
    }
    tutti.catalog.set(vec![passing("b", 1, other.addr)]);
    without(&tutti, "a", 2).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "other");
    let levels = serde_json::to_value(tutti.handle.describe()).unwrap();
    assert_eq!(levels["services"][0]["endpoints"][0]["instance"], "b-1");
}

#[tokio::test]
async fn in_a_panic_health_is_not_looked_at() {
    let one = named("1").await;
    let instances = vec![instance("a", 1, one.addr, Health::Critical)];
    let calm = start(Balance::default(), options(), instances.clone()).await;
    assert_eq!(get(calm.edge, "/").await.status(), 503);
    let balance = Balance { panic_threshold: 50, ..Balance::default() };
    let tutti = start(balance, options(), instances).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "1");
    assert_eq!(serde_json::to_value(tutti.handle.describe()).unwrap()["services"][0]["panic"], true);
}

#[tokio::test]
async fn who_answers_sooner_is_asked_more() {
    let slow = upstream(|_| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Response::new(Body::from("slow"))
    })
    .await;
    let fast = named("fast").await;
    let instances = vec![passing("a", 1, slow.addr), passing("a", 2, fast.addr)];
    let balance = Balance { algorithm: Some(Algorithm::PeakEwma), ..Balance::default() };
    let tutti = start(balance, options(), instances).await;
    let mut slow_ones = 0;
    for _ in 0..60 {
        slow_ones += u32::from(text(&get(tutti.edge, "/").await) == "slow");
    }
    // Each is asked once to know it; both workers share what is known.
    assert!((1..=4).contains(&slow_ones), "{slow_ones} of 60 went to the slow one");
}

#[tokio::test]
async fn weights_are_kept_and_the_algorithm_changes_under_way() {
    let (one, two) = (named("1").await, named("2").await);
    let instances = vec![
        with(passing("a", 1, one.addr), |spec| spec.weight = 3),
        with(passing("a", 2, two.addr), |spec| spec.weight = 1),
    ];
    let options = tutti_proxy::Options { workers: 1, ..options() };
    let balance = Balance { algorithm: Some(Algorithm::RoundRobin), ..Balance::default() };
    let tutti = start(balance, options, instances).await;
    let mut ones = 0;
    for _ in 0..40 {
        ones += u32::from(text(&get(tutti.edge, "/").await) == "1");
    }
    assert_eq!(ones, 30);
    let balance = Balance { algorithm: Some(Algorithm::Maglev), ..Balance::default() };
    tutti.handle.apply(policed(to("a"), "a", called(balance))).await.unwrap();
    // All come from one address.
    let home = text(&get(tutti.edge, "/").await).to_owned();
    for _ in 0..10 {
        assert_eq!(text(&get(tutti.edge, "/").await), home);
    }
}
