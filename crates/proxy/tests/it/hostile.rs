//! HTTP/2 peers that mean harm, and what others notice of them. Each flood by itself is tested in `net`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_net::Body;
use tutti_net::client::request_h2;
use tutti_ports::catalog::{AppProtocol, Health};
use tutti_proxy::Options;

use crate::frames::*;
use crate::harness::*;

fn metric(tutti: &Tutti, name: &str) -> u64 {
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn rapid_reset_reaches_no_service_for_long_and_harms_nobody() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let slow = upstream(move |request: Request<Body>| {
        let count = Arc::clone(&count);
        async move {
            if request.uri().path() == "/" {
                count.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            Response::new(Body::from("fine"))
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, slow.addr)]).await;
    let attackers: Vec<_> = (0..4)
        .map(|_| {
            let edge = tutti.edge;
            tokio::spawn(async move {
                let mut stream = open(edge).await;
                for number in 0..20_000_u32 {
                    let at = 2 * number + 1;
                    let pair = [frame(1, 5, at, GET), frame(3, 0, at, &[0, 0, 0, 8])].concat();
                    if stream.write_all(&pair).await.is_err() {
                        break;
                    }
                }
                goodbye(&mut stream).await
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !attackers.iter().all(tokio::task::JoinHandle::is_finished) {
        let began = Instant::now();
        assert_eq!(get(tutti.edge, "/well").await.status(), 200);
        slowest = slowest.max(began.elapsed());
    }
    for attacker in attackers {
        // Told, or cut while it still wrote.
        assert!(matches!(attacker.await.unwrap(), Some(11) | None));
    }
    // It is counted when the connection has ended, and clients may know before.
    let counted = async {
        while metric(&tutti, "tutti_proxy_connections_flooded_total") < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    let seen = seen.load(Ordering::Relaxed);
    println!(
        "80,000 cancelled requests: {seen} reached the service, the slowest other request took {slowest:?}"
    );
    assert!(seen <= 4 * 201, "{seen}");
}

/// A service that answers each connection with frames of its own and counts the connections.
async fn saying(script: Vec<u8>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (addr, task) = raw_upstream(move |mut stream| {
        count.fetch_add(1, Ordering::Relaxed);
        let script = script.clone();
        async move {
            stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            if until(&mut stream, 1).await.is_some() {
                let _ = stream.write_all(&script).await;
                while next(&mut stream).await.is_some() {}
            }
        }
    })
    .await;
    // It ends with the test's runtime.
    drop(task);
    (addr, connections)
}

async fn asked(script: Vec<u8>, request: Request<Body>) -> (Response<bytes::Bytes>, usize) {
    let (addr, connections) = saying(script).await;
    let well = named("well").await;
    let instances =
        vec![speaking(AppProtocol::H2c, "a", 1, addr, Health::Passing), passing("well", 1, well.addr)];
    let routes = ["a", "well"]
        .map(|service| tutti_ports::routing::Route { hosts: vec![format!("{service}.test")], ..to(service) });
    let hasty = Options { ready_wait: Duration::ZERO, ..options() };
    let tutti = Tutti::start(hasty, routes.to_vec(), instances).await;
    let (answer, _) = request_h2(&tutti_net::Addr::Tcp(tutti.edge), request, LIMITS).await.unwrap();
    let well = Request::get("/").header("host", "well.test").body(Body::empty()).unwrap();
    assert_eq!(send(tutti.edge, well).await.status(), 200);
    (answer, connections.load(Ordering::Relaxed))
}

fn get_a() -> Request<Body> {
    Request::get("/").header("host", "a.test").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_service_that_says_goaway_to_everything_costs_a_few_tries() {
    // Last stream 0: nothing was processed, so it may be sent again.
    let (answer, connections) = asked(frame(7, 0, 0, &[0; 8]), get_a()).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["x-tutti-fault"].to_str().unwrap()),
        (502, "upstream")
    );
    assert!((1..=3).contains(&connections), "{connections}");
}

#[tokio::test]
async fn what_a_service_refused_is_sent_again_and_what_it_may_have_done_is_not() {
    let post =
        |body: &'static str| Request::post("/").header("host", "a.test").body(Body::from(body)).unwrap();
    // CANCEL after the request came: a POST is not repeated.
    let (answer, connections) = asked(frame(3, 0, 1, &[0, 0, 0, 8]), post("order")).await;
    assert_eq!((answer.status().as_u16(), connections), (502, 1));
    // A head too large to be taken: we refuse the stream ourselves, and it is no proof that nothing was done.
    let mut head = b"\x88".to_vec();
    for number in 0..900 {
        head.extend(field(&format!("x{number}"), &"v".repeat(100)));
    }
    let mut script = Vec::new();
    let pieces: Vec<_> = head.chunks(16_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let last = u8::from(at + 1 == pieces.len()) * 4;
        script.extend(if at == 0 { frame(1, 1 | last, 1, piece) } else { frame(9, last, 1, piece) });
    }
    let (answer, connections) = asked(script, post("order")).await;
    assert_eq!((answer.status().as_u16(), connections), (502, 1));
}

#[tokio::test]
async fn interim_answers_without_end_are_a_failed_request() {
    let hints = frame(1, 4, 1, b"\x08\x03103").repeat(3_000);
    let (answer, _) = asked(hints, get_a()).await;
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn an_answer_that_http1_would_refuse_is_a_failed_request() {
    for head in [&b"\x08\x03600"[..], b"\x08\x03999", b"\x88\x00\x01x\x02 1", b"\x88\x00\x01x\x021\t"] {
        let (answer, connections) = asked(frame(1, 5, 1, head), get_a()).await;
        assert_eq!((answer.status().as_u16(), connections), (502, 1), "{head:?}");
        assert_eq!(fault(&answer)["code"], "TUT0506", "{head:?}");
    }
}

/// What a service has to say of its limit of streams (RFC 9113 section 6.5.2).
fn allowing(streams: u8) -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, streams])
}

/// One worker before a service that speaks HTTP/2.
async fn before(addr: std::net::SocketAddr) -> Tutti {
    let instances = vec![speaking(AppProtocol::H2c, "a", 1, addr, Health::Passing)];
    Tutti::start(Options { workers: 1, ..options() }, vec![to("a")], instances).await
}

#[tokio::test]
async fn a_service_that_takes_nothing_more_on_a_connection_is_asked_on_another() {
    let (addr, connections) = saying([allowing(0), frame(1, 5, 1, b"\x88")].concat()).await;
    let tutti = before(addr).await;
    for asked in 1..=12 {
        let answer = tokio::time::timeout(Duration::from_secs(10), get(tutti.edge, "/")).await;
        assert_eq!(answer.expect("it waits for a stream that never comes free").status(), 200);
        assert_eq!(connections.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_service_that_allows_no_stream_from_the_first_does_not_let_requests_hang() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (addr, _task) = raw_upstream(move |mut stream| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            stream.write_all(&allowing(0)).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            if until(&mut stream, 1).await.is_some() {
                // REFUSED_STREAM (RFC 9113 section 5.1.2), or it is done all the same: the limit came later.
                let answer = match number {
                    0 => frame(3, 0, 1, &[0, 0, 0, 7]),
                    _ => frame(1, 5, 1, b"\x88"),
                };
                stream.write_all(&answer).await.unwrap();
                while next(&mut stream).await.is_some() {}
            }
        }
    })
    .await;
    let tutti = before(addr).await;
    for asked in 2..=12 {
        let post = Request::post("/").header("host", "a.test").body(Body::from("order")).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), send(tutti.edge, post)).await;
        assert_eq!(answer.expect("it waits for a stream that never comes free").status(), 200);
        assert_eq!(connections.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_service_with_one_stream_for_each_connection_gets_several() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (addr, _task) = raw_upstream(move |mut stream| {
        let told = told.clone();
        async move {
            stream.write_all(&allowing(1)).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            // A request, and the word that the settings are in force.
            let (mut asked, mut settled) = (false, false);
            while let Some((kind, flags, ..)) = next(&mut stream).await {
                asked |= kind == 1;
                settled |= (kind, flags) == (4, 1);
                if asked && settled {
                    let (release, released) = tokio::sync::oneshot::channel::<()>();
                    told.send(release).unwrap();
                    released.await.unwrap();
                    stream.write_all(&frame(1, 5, 1, b"\x88")).await.unwrap();
                    while next(&mut stream).await.is_some() {}
                }
            }
        }
    })
    .await;
    let tutti = before(addr).await;
    let (mut answers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let edge = tutti.edge;
        answers.push(tokio::spawn(async move { get(edge, "/").await.status().as_u16() }));
        let reached = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await;
        held.push(reached.expect("it waits for the stream of another").unwrap());
    }
    held.into_iter().for_each(|release| release.send(()).unwrap());
    for answer in answers {
        assert_eq!(answer.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn who_would_wait_for_a_stream_goes_to_another_instance_with_room() {
    let released = Arc::new(tokio::sync::Notify::new());
    let held = Arc::new(AtomicUsize::new(0));
    let (release, count) = (Arc::clone(&released), Arc::clone(&held));
    let (slow, _task) = raw_upstream(move |mut stream| {
        let (release, count) = (Arc::clone(&release), Arc::clone(&count));
        async move {
            stream.write_all(&allowing(1)).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            let (mut asked, mut settled) = (0_u8, false);
            while let Some((kind, flags, ..)) = next(&mut stream).await {
                asked += u8::from(kind == 1);
                settled |= (kind, flags) == (4, 1);
                if asked == 1 && settled {
                    asked += 1;
                    count.fetch_add(1, Ordering::SeqCst);
                    release.notified().await;
                    stream.write_all(&frame(1, 5, 1, b"\x88")).await.unwrap();
                }
            }
        }
    })
    .await;
    let quick = named("quick").await;
    let instance = |ordinal, addr| speaking(AppProtocol::H2c, "a", ordinal, addr, Health::Passing);
    let in_turn = Options { workers: 1, balance: tutti_proxy::Balance::RoundRobin, ..options() };
    let tutti = Tutti::start(in_turn, vec![to("a")], vec![instance(1, slow)]).await;
    let edge = tutti.edge;
    let mut waiting = Vec::new();
    for reached in 1..=8 {
        waiting.push(tokio::spawn(async move { get(edge, "/").await.status().as_u16() }));
        let all = async {
            while held.load(Ordering::SeqCst) < reached {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("a stream is not used");
    }
    // Nobody else is there: it waits, and that can be seen.
    waiting.push(tokio::spawn(async move { get(edge, "/").await.status().as_u16() }));
    tutti.counted("tutti_proxy_upstream_stream_waits_total 1").await;
    // From now on there is somebody with room.
    tutti.catalog.set(vec![instance(1, slow), instance(2, quick.addr)]);
    tutti.handle.settled().await;
    for _ in 0..8 {
        let answer = tokio::time::timeout(Duration::from_secs(20), get(edge, "/")).await;
        assert_eq!(text(&answer.expect("it waits, though there is room elsewhere")), "quick");
    }
    tutti.counted("tutti_proxy_upstream_stream_waits_total 1").await;
    released.notify_waiters();
    for answer in waiting.drain(..8) {
        assert_eq!(answer.await.unwrap(), 200);
    }
}
