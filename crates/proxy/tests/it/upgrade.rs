//! WebSocket and other upgrades.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_net::Stream;
use tutti_ports::traffic::Traffic as _;
use tutti_proxy::Options;

use crate::harness::*;

const ASK: &[u8] = b"GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

pub async fn echoing() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    raw_upstream(|mut stream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..read]).await.unwrap();
        }
    })
    .await
}

pub async fn upgraded(edge: std::net::SocketAddr) -> Stream {
    let mut stream = dial(edge).await;
    stream.write_all(ASK).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\nfirst").await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    stream
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_that_counts_as_under_way() {
    let (addr, _task) = echoing().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let mut stream = upgraded(tutti.edge).await;
    for word in ["one", "two"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, word).await, word);
    }
    assert_eq!(tutti.handle.describe().services[0].endpoints[0].in_flight, 1);
    tutti.catalog.set(vec![]);
    assert_eq!(tutti.handle.drained(&id("a", 1), Duration::from_millis(50)).await, 1);
    drop(stream);
    assert_eq!(tutti.handle.drained(&id("a", 1), LIMITS.timeout).await, 0);
}

#[tokio::test]
async fn a_tunnel_ends_when_it_is_silent_or_the_drain_is_over() {
    let (addr, _task) = echoing().await;
    let silent = Options { tunnel_idle_timeout: Duration::from_millis(60), ..options() };
    let tutti = Tutti::start(silent, vec![to("a")], vec![passing("a", 1, addr)]).await;
    let mut stream = upgraded(tutti.edge).await;
    assert_eq!(stream.peek(1).await.unwrap(), b"");
    let short = Options { drain_patience: Duration::from_millis(60), ..options() };
    let tutti = Tutti::start(short, vec![to("a")], vec![passing("a", 1, addr)]).await;
    let mut stream = upgraded(tutti.edge).await;
    tutti.proxy.shutdown().await;
    // Reset or end: it is gone.
    assert!(stream.peek(1).await.map_or(true, <[u8]>::is_empty));
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_answer_as_any_other() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(ASK).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn http_1_0_cannot_ask_for_an_upgrade() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let old = "GET /socket HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = raw(tutti.edge, old).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("websocket"), "{answer}");
}
