//! Doors between services, and bytes that are not HTTP.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::door::Door as _;
use tutti_ports::routing::{
    DoorRules, Hedge, HedgeAfter, Outlier, Retries, RetryOn, Routing, Serve, Timeouts, Upstream as Called,
};
use tutti_proxy::{Balance, Options};

use crate::harness::*;

#[tokio::test]
async fn a_door_has_one_address_and_balances() {
    let (a, b) = (named("a").await, named("b").await);
    let in_turn = Options { workers: 1, balance: Balance::RoundRobin, ..options() };
    let instances = vec![passing("peer", 1, a.addr), passing("peer", 2, b.addr)];
    let tutti = Tutti::start(in_turn, vec![], instances).await;
    let door = tutti.handle.open(&name("peer"), 80, AppProtocol::Http).await.unwrap();
    assert!(door.ip().is_loopback());
    assert_eq!(tutti.handle.open(&name("peer"), 80, AppProtocol::Http).await.unwrap(), door);
    assert_ne!(tutti.handle.open(&name("peer"), 81, AppProtocol::Http).await.unwrap(), door);
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(text(&get(door, "/").await).to_owned());
    }
    assert_eq!((answers.iter().filter(|one| *one == "a").count(), answers.len()), (3, 6), "{answers:?}");
    // New routes of the edge leave doors as they are.
    tutti.handle.apply(routing(Serve::http(vec![to("x")]))).await.unwrap();
    assert_eq!(text(&get(door, "/").await).len(), 1);
}

#[tokio::test]
async fn a_door_continues_what_the_caller_says() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![], vec![passing("peer", 1, echo.addr)]).await;
    let door = tutti.handle.open(&name("peer"), 80, AppProtocol::Http).await.unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = raw(
        door,
        format!(
            "GET / HTTP/1.1\r\nHost: peer:80\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
             traceparent: {parent}\r\nConnection: close\r\n\r\n"
        ),
    )
    .await;
    assert!(answer.contains("\nx-forwarded-for: 203.0.113.9, 127.0.0.1\n"), "{answer}");
    assert!(answer.contains("\nx-forwarded-proto: https\n"), "{answer}");
    assert!(answer.contains(&format!("\ntraceparent: {}", &parent[..36])), "{answer}");
}

async fn upper() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    raw_upstream(|mut stream| async move {
        let mut buffer = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..read].to_ascii_uppercase()).await.unwrap();
        }
        stream.write_all(b"!").await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn bytes_go_through_a_door_and_an_edge_listener() {
    let (addr, _task) = upper().await;
    let instances = vec![passing("db", 1, nobody().await), passing("db", 2, addr)];
    let backend = tutti_ports::routing::Backend { protocol: AppProtocol::Tcp, ..backend("db") };
    let tutti = Tutti::serving(options(), Serve::Tcp(backend), instances).await;
    let door = tutti.handle.open(&name("db"), 80, AppProtocol::Tcp).await.unwrap();
    for address in [tutti.edge, door, tutti.edge, door] {
        let mut stream = dial(address).await;
        stream.write_all(b"\0select").await.unwrap();
        assert_eq!(read_until(&mut stream, "SELECT").await, "\0SELECT");
        // One direction may end before the other.
        stream.shutdown().await.unwrap();
        assert_eq!(read_until(&mut stream, "!").await, "!");
    }
}

#[tokio::test]
async fn a_door_for_http_carries_what_is_not_http() {
    let (addr, _task) = upper().await;
    let tutti = Tutti::start(options(), vec![], vec![passing("redis", 1, addr)]).await;
    let door = tutti.handle.open(&name("redis"), 80, AppProtocol::Http).await.unwrap();
    for hello in ["*1\r\n$4\r\nping\r\n", "\0\0\0\x08\x04\u{d2}\x16/", "\x16\x03\x01"] {
        let mut stream = dial(door).await;
        stream.write_all(hello.as_bytes()).await.unwrap();
        let answer = hello.to_ascii_uppercase();
        assert_eq!(read_until(&mut stream, &answer).await, answer);
    }
    // A server that speaks first, as databases and mail servers do, is heard.
    let (greets, _task) = raw_upstream(|mut stream| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    })
    .await;
    tutti.catalog.set(vec![passing("redis", 2, greets)]);
    tutti_ports::traffic::Traffic::drained(&tutti.handle, &id("gone", 1), LIMITS.timeout).await;
    let mut stream = dial(door).await;
    assert_eq!(read_until(&mut stream, "\r\n").await, "220 ready\r\n");
}

#[tokio::test]
async fn a_door_that_is_open_takes_over_what_is_said_of_it() {
    let silent = raw_upstream(|mut stream| async move {
        let mut buffer = [0; 64];
        while let Ok(1..) = stream.read(&mut buffer).await {}
    });
    let ((silent, _task), good) = (silent.await, named("good").await);
    let in_turn = Options { workers: 1, balance: Balance::RoundRobin, ..options() };
    let instances = vec![passing("peer", 1, silent), passing("peer", 2, good.addr)];
    let tutti = Tutti::start(in_turn, vec![], instances).await;
    let door = tutti.handle.open(&name("peer"), 80, AppProtocol::Http).await.unwrap();
    let mut kept = dial(door).await;
    let called = |rules: DoorRules| Routing {
        upstreams: [(
            name("peer"),
            Called { door: Some(Box::new(rules)), outlier: Outlier::off(), ..Called::default() },
        )]
        .into(),
        ..routing(Serve::http(vec![to("peer")]))
    };
    let ms = Duration::from_millis;
    let again = Retries { attempts: 2, on: vec![RetryOn::Timeout], ..Retries::default() };
    let again = DoorRules {
        timeouts: Timeouts { per_try: Some(ms(50)), ..Timeouts::default() },
        retries: Some(again),
        hedge: None,
    };
    let hedge = Some(Hedge { after: HedgeAfter::Delay(ms(20)), max_extra: 1, idempotent: false });
    let twice = DoorRules { hedge, ..DoorRules::default() };
    for rules in [again, twice] {
        tutti.handle.apply(called(rules)).await.unwrap();
        for _ in 0..4 {
            assert_eq!(text(&get(door, "/").await), "good");
            kept.write_all(b"GET / HTTP/1.1\r\nhost: peer\r\n\r\n").await.unwrap();
            assert!(read_until(&mut kept, "good").await.starts_with("HTTP/1.1 200"));
        }
    }
    // It is the door's alone: whoever comes from outside waits, as its route says nothing.
    let outside = tokio::time::timeout(ms(300), async {
        for _ in 0..4 {
            get(tutti.edge, "/").await;
        }
    });
    assert!(outside.await.is_err());
    let late = DoorRules {
        timeouts: Timeouts { request: Some(ms(30)), ..Timeouts::default() },
        ..DoorRules::default()
    };
    tutti.handle.apply(called(late)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(get(door, "/").await.status().as_u16());
    }
    assert!(seen.contains(&504) && seen.contains(&200), "{seen:?}");
}
