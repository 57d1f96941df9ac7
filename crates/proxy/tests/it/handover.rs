//! One data plane goes on where another one is: with its sockets, and without anybody's being refused.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::io::AsyncWriteExt as _;
use tutti_net::Body;
use tutti_ports::catalog::{self, AppProtocol, Instance};
use tutti_ports::door::Door as _;
use tutti_ports::routing::{Balance, Routing, SameSite, Serve, Sticky};
use tutti_proxy::config::Key;
use tutti_proxy::error::ApplyError;
use tutti_proxy::handover::Front;
use tutti_proxy::{Handle, Options, Proxy};

use crate::balance::{called, policed};
use crate::harness::*;

/// The old one, whose answers are "old".
async fn old() -> Tutti {
    let options = Options { sticky_key: Key::new([1; 32]), ..options() };
    Tutti::start(options, vec![to("a")], vec![passing("a", 1, named("old").await.addr)]).await
}

type Given = (Front, Vec<OwnedFd>);

/// What the old one gives, as it comes out of another process.
async fn given(old: &Tutti) -> Given {
    let (front, sockets) = old.handle.front().await.unwrap();
    (serde_json::from_str(&serde_json::to_string(&front).unwrap()).unwrap(), sockets)
}

/// Takes over, with settings of its own.
async fn take_over(
    given: Given,
    routing: Routing,
    instances: Vec<Instance>,
) -> Result<(Proxy, Handle), ApplyError> {
    let options = Options { workers: 7, sticky_key: Key::new([2; 32]), ..options() };
    let catalog = Catalog::new(instances) as Arc<dyn catalog::Catalog>;
    Proxy::take_over(options, routing, catalog, None, given).await
}

/// The next one, whose answers are "new".
async fn next(old: &Tutti) -> (Proxy, Handle) {
    let new = vec![passing("a", 1, named("new").await.addr)];
    take_over(given(old).await, routing(Serve::http(vec![to("a")])), new).await.unwrap()
}

/// Who answers so many requests, each over a connection of its own.
async fn answer(edge: std::net::SocketAddr, who: &str) {
    for _ in 0..32 {
        assert_eq!(text(&get(edge, "/").await), who);
    }
}

#[tokio::test]
async fn nobody_is_served_before_the_gates_open_and_nobody_is_refused() {
    let old = old().await;
    let (proxy, handle) = next(&old).await;
    let (before, after) = (old.handle.describe(), handle.describe());
    assert!(after.generation > before.generation, "workers would not take it");
    assert_eq!(after.listeners[0].address, old.edge);
    answer(old.edge, "old").await;
    let Tutti { proxy: ending, edge, .. } = old;
    ending.shutdown().await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut stream = dial(edge).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    let served = tokio::time::timeout(Duration::from_millis(100), waiting[0].peek(1)).await;
    assert!(served.is_err(), "somebody was served: {served:?}");
    handle.open_gates();
    for stream in &mut waiting {
        assert!(read_until(stream, "\r\n\r\nnew").await.starts_with("HTTP/1.1 200 "));
    }
    answer(edge, "new").await;
    proxy.shutdown().await;
}

#[tokio::test]
async fn one_that_is_given_up_leaves_everything_to_the_old_one() {
    let old = old().await;
    for _ in 0..3 {
        drop(next(&old).await);
        answer(old.edge, "old").await;
    }
    // As it may have been before the last word: both have the sockets, and both serve.
    let (proxy, handle) = next(&old).await;
    handle.open_gates();
    for _ in 0..32 {
        let who = get(old.edge, "/").await;
        assert!(["old", "new"].contains(&text(&who)));
    }
    proxy.shutdown().await;
    answer(old.edge, "old").await;
}

#[tokio::test]
async fn a_cookie_of_the_old_one_holds_its_client_at_the_next_one() {
    let (one, two, three) = (named("1").await, named("2").await, named("3").await);
    let instances = vec![passing("a", 1, one.addr), passing("a", 2, two.addr), passing("a", 3, three.addr)];
    let sticky =
        Sticky { cookie: "at".into(), ttl: None, path: "/".into(), secure: false, same_site: SameSite::Lax };
    let balanced =
        || policed(to("a"), "a", called(Balance { sticky: Some(sticky.clone()), ..Balance::default() }));
    let own = Options { sticky_key: Key::new([1; 32]), ..options() };
    let old = Tutti::applying(own, balanced(), instances.clone(), None).await;
    let first = get(old.edge, "/").await;
    let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (_proxy, handle) = take_over(given(&old).await, balanced(), instances).await.unwrap();
    let edge = old.edge;
    old.proxy.shutdown().await;
    handle.open_gates();
    for _ in 0..20 {
        let request = Request::get("/").header("host", "h").header("cookie", &cookie).body(Body::empty());
        let again = send(edge, request.unwrap()).await;
        assert_eq!(text(&again), text(&first));
        assert!(!again.headers().contains_key("set-cookie"), "it was not taken for its own");
    }
}

#[tokio::test]
async fn doors_stay_where_they_are_and_carry_what_they_carried() {
    let old = old().await;
    let door = old.handle.open(&name("a"), 80, AppProtocol::Http).await.unwrap();
    let h2 = old.handle.open(&name("b"), 81, AppProtocol::H2c).await.unwrap();
    let (_proxy, handle) = next(&old).await;
    let (doors, sockets) = old.handle.doors().await.unwrap();
    assert_eq!((doors.len(), sockets.len()), (2, 4));
    handle.adopt_doors(doors.clone(), sockets).await.unwrap();
    old.proxy.shutdown().await;
    handle.open_gates();
    assert_eq!(handle.open(&name("a"), 80, AppProtocol::Http).await.unwrap(), door);
    assert_eq!(handle.open(&name("b"), 81, AppProtocol::H2c).await.unwrap(), h2);
    answer(door, "new").await;
    // The one after the next hears of all of it, in whatever order.
    let (again, _) = handle.doors().await.unwrap();
    assert!(again.len() == 2 && doors.iter().all(|door| again.contains(door)), "{again:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let old = old().await;
    for more in [false, true] {
        let (front, mut sockets) = given(&old).await;
        let one = sockets.pop().unwrap();
        if more {
            sockets.extend([one.try_clone().unwrap(), one]);
        }
        let refused = take_over((front, sockets), routing(Serve::http(vec![to("a")])), vec![]).await;
        assert!(matches!(refused.map(drop), Err(ApplyError::Start { .. })));
    }
    old.handle.open(&name("a"), 80, AppProtocol::Http).await.unwrap();
    let (_proxy, handle) = next(&old).await;
    let (doors, mut sockets) = old.handle.doors().await.unwrap();
    sockets.pop();
    assert!(handle.adopt_doors(doors, sockets).await.is_err());
    answer(old.edge, "old").await;
}

#[tokio::test]
async fn a_listener_that_the_next_one_does_not_have_is_closed_with_the_old_one() {
    let old = old().await;
    let (_proxy, handle) = take_over(given(&old).await, Routing::default(), vec![]).await.unwrap();
    let edge = old.edge;
    old.proxy.shutdown().await;
    handle.open_gates();
    let dialled = tutti_net::Stream::connect(&tutti_net::Addr::Tcp(edge), Duration::from_secs(5)).await;
    assert!(dialled.is_err(), "whoever connects waits for ever");
}
