//! Changes while traffic flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tutti_ports::routing::{Filter, Match, PathMatch, Route, Routing, Serve};
use tutti_proxy::RouteEdit;

use crate::harness::*;
use crate::upgrade;

fn numbered(at: usize) -> Route {
    let mut route = to("a");
    route.name = format!("route-{at}");
    route.matches = vec![Match { path: Some(PathMatch::Prefix(format!("/route-{at}"))), ..Match::default() }];
    route
}

#[tokio::test]
async fn a_web_socket_outlives_changes_of_routes_and_listeners() {
    let (addr, _task) = upgrade::echoing().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let mut stream = upgrade::upgraded(tutti.edge).await;
    let main = || listener("edge", loopback(), Serve::http(vec![to("a"), numbered(1)]));
    let other = listener("other", loopback(), Serve::http(vec![to("a")]));
    for listeners in [vec![main()], vec![main(), other], vec![main()]] {
        let routing = Routing { listeners, ..Routing::default() };
        tutti.handle.apply(routing).await.unwrap();
        stream.write_all(b"still here").await.unwrap();
        assert_eq!(read_until(&mut stream, "still here").await, "still here");
    }
    assert_eq!(tutti.handle.describe().listeners[0].address, tutti.edge);
}

#[tokio::test]
async fn many_changes_at_once_are_few_and_the_last_one_is_in_force() {
    let upstream = named("here").await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    let before = tutti.handle.describe().generation;
    let done = Arc::new(AtomicBool::new(false));
    let (edge, over) = (tutti.edge, Arc::clone(&done));
    let traffic = tokio::spawn(async move {
        let mut answered = 0;
        while !over.load(Ordering::SeqCst) {
            assert_eq!(text(&get(edge, "/").await), "here");
            answered += 1;
        }
        answered
    });
    let changes = (0..300).map(|at| {
        let handle = tutti.handle.clone();
        async move {
            let serve = Serve::http(vec![numbered(at), to("a")]);
            handle.apply(routing(serve)).await.unwrap();
        }
    });
    let mut all = tokio::task::JoinSet::new();
    changes.for_each(|change| drop(all.spawn(change)));
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let after = tutti.handle.describe();
    assert!(after.generation - before < 300, "{} generations", after.generation - before);
    assert_eq!(after.listeners[0].routes[0].name, "route-299");
    done.store(true, Ordering::SeqCst);
    assert!(traffic.await.unwrap() > 0);
}

#[tokio::test]
async fn a_change_that_is_overtaken_by_one_that_fails_is_in_force() {
    let upstream = named("here").await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream.addr)]).await;
    let mut bad = numbered(2);
    bad.matches[0].path = Some(PathMatch::Regex("(".into()));
    let good = tutti.handle.apply(routing(Serve::http(vec![numbered(1), to("a")])));
    let wrong = tutti.handle.apply(routing(Serve::http(vec![bad])));
    let (good, wrong) = tokio::join!(good, wrong);
    assert!(good.is_ok() && wrong.is_err());
    assert_eq!(tutti.handle.describe().listeners[0].routes[0].name, "route-1");
    assert_eq!(tutti.handle.describe().generation, good.unwrap());
    let limit = Duration::from_secs(5);
    assert_eq!(tokio::time::timeout(limit, get(tutti.edge, "/route-1")).await.unwrap().status(), 200);
}

/// Answers with a redirect that tells its number.
fn saying(name: &str, number: usize) -> Route {
    let host = Some(format!("n{number}.test"));
    let redirect = Filter::Redirect { scheme: None, host, port: None, path: None, status: 302 };
    let path = Some(PathMatch::Prefix(format!("/{name}")));
    Route { matches: vec![Match { path, ..Match::default() }], filters: vec![redirect], ..Route::named(name) }
}

fn put(route: Route) -> Vec<RouteEdit> {
    vec![RouteEdit::Put(Box::new(route))]
}

#[tokio::test]
async fn everybody_hears_the_truth_about_their_own_change() {
    let tutti = Tutti::start(options(), vec![saying("r", 0)], vec![]).await;
    let mut bad = saying("bad", 1);
    bad.matches[0].path = Some(PathMatch::Regex("(".into()));
    let bad_list = routing(Serve::http(vec![bad.clone()]));
    let good_list = routing(Serve::http(vec![saying("r", 1)]));
    let (a, b, c, d, e) = tokio::join!(
        tutti.handle.apply(bad_list),
        tutti.handle.apply(good_list),
        tutti.handle.edit("edge", put(bad)),
        tutti.handle.edit("edge", put(saying("s", 2))),
        tutti.handle.edit("nowhere", put(saying("s", 3))),
    );
    assert!(a.is_err() && b.is_ok() && c.is_err() && d.is_ok() && e.is_err());
    assert!(d.unwrap() >= b.unwrap());
    for (path, host) in [("/r", "n1.test"), ("/s", "n2.test")] {
        assert!(get(tutti.edge, path).await.headers()["location"].to_str().unwrap().contains(host));
    }
    assert_eq!(get(tutti.edge, "/bad").await.status(), 404);
}

#[tokio::test]
async fn single_routes_change_in_force_when_answered_and_others_stay() {
    let tutti = Tutti::start(options(), vec![saying("r", 0), saying("other", 7)], vec![]).await;
    let mut before = tutti.handle.describe().generation;
    for number in 1..20 {
        let generation = tutti.handle.edit("edge", put(saying("r", number))).await.unwrap();
        assert!(generation > before && tutti.handle.describe().generation == generation);
        before = generation;
        let location = get(tutti.edge, "/r").await.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.contains(&format!("n{number}.test")), "{location}");
    }
    tutti.handle.edit("edge", vec![RouteEdit::Remove("r".into())]).await.unwrap();
    assert_eq!(get(tutti.edge, "/r").await.status(), 404);
    assert_eq!(get(tutti.edge, "/other").await.status(), 302);
    // A whole list knows what single changes have left behind.
    tutti.handle.edit("edge", put(saying("late", 1))).await.unwrap();
    let list = vec![saying("other", 7), saying("r", 5)];
    tutti.handle.apply(routing(Serve::http(list))).await.unwrap();
    assert_eq!(get(tutti.edge, "/late").await.status(), 404);
    assert_eq!(get(tutti.edge, "/r").await.status(), 302);
}
