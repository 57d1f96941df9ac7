//! Stopping instances, and the data plane itself, without anybody noticing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tutti_net::Body;
use tutti_ports::catalog::Health;
use tutti_ports::traffic::Traffic as _;

use crate::harness::*;

#[tokio::test]
async fn drained_waits_for_the_last_request_and_not_for_the_first_try() {
    let (go, wait) = watch::channel(false);
    let slow = upstream(move |_| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            Response::new(Body::from("done"))
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, slow.addr)]).await;
    // As long as it may be chosen it is not drained, even if it is idle.
    assert_eq!(tutti.handle.drained(&id("a", 1), Duration::from_millis(30)).await, 1);
    let edge = tutti.edge;
    let asked = tokio::spawn(async move { text(&get(edge, "/").await).to_owned() });
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    tutti.catalog.set(vec![instance("a", 1, slow.addr, Health::Draining)]);
    assert_eq!(tutti.handle.drained(&id("a", 1), Duration::from_millis(30)).await, 1);
    let handle = tutti.handle.clone();
    let drained = tokio::spawn(async move { handle.drained(&id("a", 1), LIMITS.timeout).await });
    go.send(true).unwrap();
    assert_eq!(asked.await.unwrap(), "done");
    assert_eq!(drained.await.unwrap(), 0);
    assert_eq!(tutti.handle.drained(&id("never", 1), LIMITS.timeout).await, 0);
}

#[tokio::test]
async fn a_drain_that_is_given_up_is_over_at_once() {
    let silent = upstream(|_| std::future::pending()).await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, silent.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    let long = Duration::from_secs(20);
    let mut ending = Box::pin(tutti.proxy.shutdown_within(tutti_proxy::Patience::of(long)));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut ending).await.is_err());
    let begun = std::time::Instant::now();
    drop(ending);
    assert!(begun.elapsed() < long / 2, "it was waited for what nobody waits for");
}

/// Waits until the edge has answered so many more requests.
async fn answered(tutti: &Tutti, more: u64) {
    let answered = || {
        let mut page = tutti_core::metrics::Page::default();
        tutti.handle.metrics(&mut page);
        let page = page.finish();
        let of = |line: &&str| line.starts_with("tutti_proxy_requests_total{listener=\"edge\",route=\"a\"");
        page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let enough = answered() + more;
    while answered() < enough {
        tokio::task::yield_now().await;
    }
}

/// Clients that ask in a loop until told to stop; answers how many requests there were and which failed.
fn load(
    edge: std::net::SocketAddr,
    clients: usize,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<(u32, Vec<String>)>> {
    let client = |post: bool| {
        let stop = Arc::clone(stop);
        async move {
            let (mut asked, mut failed) = (0, Vec::new());
            let mut stream = dial(edge).await;
            while !stop.load(Ordering::Relaxed) {
                let request: &[u8] = if post {
                    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
                } else {
                    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
                };
                stream.write_all(request).await.unwrap();
                let head = read_until(&mut stream, "\r\n\r\n").await;
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                let mut body = vec![0; length.parse().unwrap()];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await.unwrap();
                asked += 1;
                if !head.starts_with("HTTP/1.1 200 ") {
                    failed.push(format!("{head}{}", String::from_utf8_lossy(&body)));
                }
            }
            (asked, failed)
        }
    };
    (0..clients).map(|n| tokio::spawn(client(n % 2 == 0))).collect()
}

async fn finish(clients: Vec<tokio::task::JoinHandle<(u32, Vec<String>)>>) -> (u32, Vec<String>) {
    let mut all = (0, Vec::new());
    for client in clients {
        let (asked, failed) = client.await.unwrap();
        all.0 += asked;
        all.1.extend(failed);
    }
    all
}

async fn working(text: &'static str) -> Upstream {
    upstream(move |_| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Response::new(Body::from(text))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_replacement_under_load_fails_nobody() {
    let mut running = vec![working("a").await, working("b").await];
    let list = |running: &[Upstream], from: u32| -> Vec<_> {
        running.iter().zip(from..).map(|(one, ordinal)| passing("a", ordinal, one.addr)).collect()
    };
    let tutti = Tutti::start(options(), vec![to("a")], list(&running, 1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(tutti.edge, 8, &stop);
    for round in 1..=12 {
        // One more is started, the oldest is drained, and stopped when the data plane says it is idle.
        running.push(working("next").await);
        tutti.catalog.set(list(&running, round));
        let oldest = running.remove(0);
        let mut instances = list(&running, round + 1);
        instances.push(instance("a", round, oldest.addr, Health::Draining));
        tutti.catalog.set(instances);
        assert_eq!(tutti.handle.drained(&id("a", round), LIMITS.timeout).await, 0);
        oldest.kill().await;
        tutti.catalog.set(list(&running, round + 1));
        answered(&tutti, 20).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (asked, failed) = finish(clients).await;
    assert!(asked > 100, "{asked}");
    assert_eq!(failed, [] as [String; 0], "of {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_three_fails_only_what_it_was_doing() {
    let mut running = vec![working("a").await, working("b").await, working("c").await];
    let instances = running.iter().zip(1..).map(|(one, ordinal)| passing("a", ordinal, one.addr)).collect();
    let tutti = Tutti::start(options(), vec![to("a")], instances).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(tutti.edge, 8, &stop);
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    running.remove(0).kill().await;
    // The catalog does not even know yet.
    tutti.catalog.suspected().await;
    answered(&tutti, 200).await;
    stop.store(true, Ordering::Relaxed);
    let (asked, failed) = finish(clients).await;
    assert!(asked > 100, "{asked}");
    // Of eight clients four send POSTs; each can have had one there.
    assert!(failed.len() <= 4 && failed.iter().all(|one| one.contains("TUT0504")), "{failed:?} of {asked}");
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way() {
    let (go, wait) = watch::channel(false);
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let slow = upstream(move |_| {
        let mut wait = wait.clone();
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            Response::new(Body::from("done"))
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, slow.addr)]).await;
    let edge = tutti.edge;
    let asked = tokio::spawn(async move {
        let request = Request::post("/").header("host", "h").body(Body::from("x")).unwrap();
        text(&send(edge, request).await).to_owned()
    });
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let handle = tutti.handle.clone();
    let shutdown = tokio::spawn(tutti.proxy.shutdown());
    // New connections are refused as soon as the listeners are closed.
    let refused = async {
        while tutti_net::Stream::connect(&edge.into(), Duration::from_secs(1)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMITS.timeout, refused).await.unwrap();
    assert!(!shutdown.is_finished());
    go.send(true).unwrap();
    assert_eq!(asked.await.unwrap(), "done");
    shutdown.await.unwrap();
    // Nothing can be chosen any more, whatever the catalog says.
    assert_eq!(handle.drained(&id("a", 1), LIMITS.timeout).await, 0);
    let error = handle.apply(tutti_ports::routing::Routing::default()).await.unwrap_err();
    assert!(matches!(error, tutti_proxy::ApplyError::Closed));
}

/// Sends POSTs on one connection, half of them in chunks that take their time, until told to stop; each answer is the body.
async fn posts(edge: std::net::SocketAddr, client: u32, stop: Arc<AtomicBool>) -> u32 {
    let mut stream = dial(edge).await;
    let mut sent = 0;
    while !stop.load(Ordering::SeqCst) {
        let body = format!("{client}-{sent};");
        let (first, second) = body.split_at(2);
        let head = "POST /x HTTP/1.1\r\nHost: h\r\n";
        if sent % 2 == 0 {
            let all = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(all.as_bytes()).await.unwrap();
        } else {
            let begin = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{first}\r\n");
            stream.write_all(begin.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            let end = format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
            stream.write_all(end.as_bytes()).await.unwrap();
        }
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{client}-{sent}: {answer}");
        assert_eq!(read_until(&mut stream, ";").await, body);
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_on_kept_connections_survive_the_replacement_of_every_instance() {
    async fn mirror() -> Upstream {
        upstream(|request| async move {
            // Its length is known, so the answer is the body and nothing else.
            let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
            Response::new(Body::full(body))
        })
        .await
    }
    let mut running = vec![(1, mirror().await), (2, mirror().await)];
    let view = |running: &[(u32, Upstream)]| {
        running.iter().map(|(ordinal, upstream)| passing("a", *ordinal, upstream.addr)).collect::<Vec<_>>()
    };
    let tutti = Tutti::start(options(), vec![to("a")], view(&running)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..12).map(|client| tokio::spawn(posts(tutti.edge, client, Arc::clone(&stop)))).collect();
    for ordinal in 3..33 {
        answered(&tutti, 20).await;
        running.push((ordinal, mirror().await));
        let (old, upstream) = running.remove(0);
        tutti.catalog.set(view(&running));
        assert_eq!(tutti.handle.drained(&id("a", old), LIMITS.timeout).await, 0);
        upstream.kill().await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    assert!(sent >= 600, "{sent} requests are no load");
}
