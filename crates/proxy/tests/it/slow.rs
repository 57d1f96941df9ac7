//! Clients that take their time on purpose, and services that say how long they keep a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_ports::routing::{ClientLimits, Routing, Serve, Transport};
use tutti_proxy::{Handle, Options};

use crate::harness::*;

/// An engine whose clients are limited so.
async fn limited(options: Options, limits: ClientLimits, upstream: std::net::SocketAddr) -> Tutti {
    let catalog = Catalog::new(vec![passing("a", 1, upstream)]);
    let dyn_catalog = Arc::clone(&catalog) as Arc<dyn tutti_ports::catalog::Catalog>;
    let (proxy, handle) =
        tutti_proxy::Proxy::start(options, limiting(limits), dyn_catalog, None).await.unwrap();
    let edge = handle.describe().listeners[0].address;
    Tutti { proxy, handle, catalog, edge }
}

fn limiting(limits: ClientLimits) -> Routing {
    let mut listener = listener("edge", loopback(), Serve::http(vec![to("a")]));
    listener.transport = Transport { limits, ..Transport::default() };
    Routing { listeners: vec![listener], ..Routing::default() }
}

fn rate(min_rate: u32, grace_ms: u64) -> ClientLimits {
    ClientLimits { connections: Some(0), min_rate, min_rate_grace: Duration::from_millis(grace_ms) }
}

#[tokio::test]
async fn a_client_has_so_many_connections_over_all_workers() {
    let upstream = named("here").await;
    let limits = ClientLimits { connections: Some(3), ..ClientLimits::default() };
    let tutti = limited(options(), limits, upstream.addr).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = dial(tutti.edge).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, "here").await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let mut fourth = dial(tutti.edge).await;
    // It is closed without a word; what was written meanwhile may be answered by a reset.
    let _ = fourth.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(fourth.peek(1).await.map_or(true, <[u8]>::is_empty));
    // Those that are there go on; and a place that is free again is given again.
    held[0].write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_until(&mut held[0], "here").await.starts_with("HTTP/1.1 200 "));
    let mut end = Vec::new();
    held[0].read_to_end(&mut end).await.unwrap();
    let again = async {
        loop {
            let mut stream = dial(tutti.edge).await;
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if stream.peek(1).await.is_ok_and(|start| !start.is_empty()) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMITS.timeout, again).await.unwrap();
}

#[tokio::test]
async fn a_limit_of_connections_changes_while_it_runs_and_is_per_client() {
    let upstream = named("here").await;
    let tutti = limited(options(), ClientLimits::default(), upstream.addr).await;
    // By default this machine is not limited.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(dial(tutti.edge).await);
    }
    assert_eq!(text(&get(tutti.edge, "/").await), "here");
    let apply = |handle: Handle, most| async move {
        let mut routing = limiting(ClientLimits { connections: Some(most), ..ClientLimits::default() });
        routing.listeners[0].name = "edge".into();
        handle.apply(routing).await.unwrap();
    };
    apply(tutti.handle.clone(), 1).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "here");
    // The connection before counts until Tutti has seen its end.
    let mut one = loop {
        let mut one = dial(tutti.edge).await;
        let asked = one.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        if asked.is_ok() && one.peek(1).await.is_ok_and(|answer| !answer.is_empty()) {
            break one;
        }
    };
    read_until(&mut one, "here").await;
    assert!(dial(tutti.edge).await.peek(1).await.map_or(true, <[u8]>::is_empty));
    apply(tutti.handle.clone(), 2).await;
    assert_eq!(text(&get(tutti.edge, "/").await), "here");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_and_one_that_pauses_is_not() {
    let echo = echo().await;
    let tutti = limited(options(), rate(1_000, 300), echo.addr).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(stream);
    let drip = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("TUT0565"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drip.abort();
    // Much at first, then a pause that is longer than the grace: on average it is fast enough.
    let mut stream = dial(tutti.edge).await;
    let body = "y".repeat(4_000);
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4001\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    stream.write_all(b"z").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_an_answer_by_drops_is_given_up() {
    let big = upstream(|_| async { http::Response::new(tutti_net::Body::from(vec![b'x'; 32 << 20])) }).await;
    let tutti = limited(options(), rate(1 << 20, 300), big.addr).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut taken = 0;
    let began = Instant::now();
    let mut drop = vec![0; 8 << 10];
    while let Ok(read @ 1..) = stream.read(&mut drop).await {
        taken += read;
        // Longer than what the buffers of the system took at once has earned.
        if began.elapsed() < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(taken < 32 << 20, "{taken}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // Who reads as it comes gets all of it.
    assert_eq!(get(tutti.edge, "/").await.body().len(), 32 << 20);
}

#[tokio::test]
async fn a_connection_is_kept_as_long_as_the_service_says() {
    for (said, connections) in [("timeout=1", 2), ("timeout=30, max=100", 1)] {
        let made = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&made);
        let (addr, _task) = raw_upstream(move |mut stream| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nKeep-Alive: {said}\r\nContent-Length: 2\r\n\r\nok");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let one = Options { workers: 1, ..options() };
        let tutti = Tutti::start(one, vec![to("a")], vec![passing("a", 1, addr)]).await;
        for _ in 0..2 {
            let answer = get(tutti.edge, "/").await;
            assert_eq!(text(&answer), "ok");
            assert!(!answer.headers().contains_key("keep-alive"));
        }
        assert_eq!(made.load(Ordering::SeqCst), connections, "{said}");
    }
}
