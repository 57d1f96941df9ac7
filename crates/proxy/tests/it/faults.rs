//! Faults as clients see them, and what is recorded of requests.

use std::time::Duration;

use http::Request;
use tokio::io::AsyncWriteExt as _;
use tutti_core::metrics::Page;
use tutti_net::Body;
use tutti_ports::catalog::Health;
use tutti_ports::routing::{Route, Timeouts};
use tutti_proxy::{AccessLogOptions, LogFormat, Options};

use crate::harness::*;

fn hasty() -> Options {
    Options { ready_wait: Duration::ZERO, ..options() }
}

#[tokio::test]
async fn when_nobody_is_ready_the_answer_says_who_and_why() {
    let down = instance("catalog", 1, nobody().await, Health::Critical);
    let tutti = Tutti::start(hasty(), vec![to("catalog")], vec![down]).await;
    let answer = get(tutti.edge, "/").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let fault = fault(&answer);
    assert_eq!(fault["code"], "TUT0502");
    assert_eq!(fault["hop"], "catalog");
    let message = fault["message"].as_str().unwrap();
    assert!(
        message.contains("the only instance of catalog") && message.contains("catalog-1 is critical"),
        "{message}"
    );
    assert_eq!(fault["request_id"], answer.headers()["x-request-id"].to_str().unwrap());
    let browser =
        Request::get("/").header("host", "h").header("accept", "text/html,*/*").body(Body::empty()).unwrap();
    let page = send(tutti.edge, browser).await;
    assert!(text(&page).starts_with("<!doctype html>") && text(&page).contains("catalog-1 is critical"));
    let head = Request::head("/").header("host", "h").body(Body::empty()).unwrap();
    let answer = send(tutti.edge, head).await;
    assert_eq!((answer.status().as_u16(), answer.body().len()), (503, 0));
}

#[tokio::test]
async fn a_stranger_hears_nothing_of_what_goes_on_inside() {
    let secret = || instance("catalog", 1, free(), Health::Critical);
    let forwarded = || {
        let request = Request::get("/").header("host", "h").header("x-forwarded-for", "203.0.113.9");
        request.body(Body::empty()).unwrap()
    };
    for trusting in [false, true] {
        let (routes, instances) = (vec![to("catalog")], vec![secret()]);
        let tutti = match trusting {
            false => Tutti::start(hasty(), routes, instances).await,
            true => Tutti::trusting(hasty(), routes, instances).await,
        };
        let answer = send(tutti.edge, forwarded()).await;
        assert_eq!(answer.status(), 503);
        let told = fault(&answer);
        assert_eq!((told["code"].as_str(), told["hop"].as_str()), (Some("TUT0502"), Some("catalog")));
        assert!(!text(&answer).contains("catalog-1") && !text(&answer).contains("the test says"), "{told}");
        tutti.catalog.set(vec![passing("catalog", 1, nobody().await)]);
        let answer = loop {
            // The new view reaches the workers in a moment.
            let answer = send(tutti.edge, forwarded()).await;
            if answer.status() == 502 {
                break answer;
            }
        };
        assert!(!text(&answer).contains("127.0.0.1"), "{}", text(&answer));
        assert!(text(&get(tutti.edge, "/").await).contains("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_malformed_body_is_not_called_a_slow_one() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let answer = raw(
        tutti.edge,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed"), "{answer}");
}

#[tokio::test]
async fn a_refused_connection_names_the_hop() {
    let addr = nobody().await;
    let tutti = Tutti::start(hasty(), vec![to("catalog")], vec![passing("catalog", 2, addr)]).await;
    let answer = get(tutti.edge, "/").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(fault(&answer)["code"], "TUT0503");
    assert_eq!(fault(&answer)["hop"], format!("catalog (catalog-2 at {addr})"));
    assert_eq!(answer.headers()["x-tutti-fault"], "upstream");
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_passed_on() {
    for bad in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let (addr, _task) = raw_upstream(move |mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(bad.as_bytes()).await.unwrap();
        })
        .await;
        let tutti = Tutti::start(hasty(), vec![to("a")], vec![passing("a", 1, addr)]).await;
        let answer = get(tutti.edge, "/").await;
        assert_eq!(
            (answer.status().as_u16(), fault(&answer)["code"].clone()),
            (502, "TUT0506".into()),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_stands_still_ends_the_request() {
    let echo = echo().await;
    let (half, _task) = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let timeouts = Timeouts { idle: Some(Duration::from_millis(80)), ..Timeouts::default() };
    let route = |service: &str| Route { timeouts, hosts: vec![format!("{service}.test")], ..to(service) };
    let instances = vec![passing("echo", 1, echo.addr), passing("half", 1, half)];
    let tutti = Tutti::start(hasty(), vec![route("echo"), route("half")], instances).await;
    let answer = raw(tutti.edge, "PUT / HTTP/1.1\r\nHost: echo.test\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("TUT0513"), "{answer}");
    let answer = raw(tutti.edge, "GET / HTTP/1.1\r\nHost: half.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhalf"), "{answer}");
}

#[tokio::test]
async fn a_long_upload_is_not_a_slow_service() {
    let echo = echo().await;
    let limit = Duration::from_millis(150);
    let route = Route { timeouts: Timeouts { request: Some(limit), ..Timeouts::default() }, ..to("a") };
    let tutti = Tutti::start(hasty(), vec![route], vec![passing("a", 1, echo.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    for byte in b"uploaded" {
        // The pace is what is tested: together this takes more than twice the limit.
        tokio::time::sleep(limit / 3).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert!(read_until(&mut stream, "uploaded").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn connect_is_not_served() {
    let tutti = Tutti::start(hasty(), vec![to("a")], vec![]).await;
    let answer = raw(tutti.edge, "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let good = named("good").await;
    let few = Options { workers: 1, connections: 1, ..options() };
    let tutti = Tutti::start(few, vec![to("a")], vec![passing("a", 1, good.addr)]).await;
    let mut first = dial(tutti.edge).await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_until(&mut first, "good").await;
    let mut second = dial(tutti.edge).await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), second.peek(1)).await.is_err());
    drop(first);
    read_until(&mut second, "good").await;
}

#[tokio::test]
async fn every_request_is_recorded_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLogOptions { format: LogFormat::Json, ..AccessLogOptions::json(path.clone()) };
    let good = named("good").await;
    let logged = Options { access_log: Some(log), ..hasty() };
    let instances = vec![passing("a", 1, good.addr)];
    let route = Route { hosts: vec!["shop.test".into()], ..to("a") };
    let tutti = Tutti::start(logged, vec![route], instances).await;
    get(tutti.edge, "/one?token=secret").await;
    raw(tutti.edge, "GET /two HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n").await;
    raw(tutti.edge, "GET /three HTTP/1.1\r\nHost : x\r\n\r\n").await;
    let mut page = Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    assert!(
        page.contains("tutti_proxy_requests_total{listener=\"edge\",route=\"a\",class=\"2xx\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("tutti_proxy_requests_refused_total 1\n"), "{page}");
    assert!(page.contains("tutti_proxy_faults_total{code=\"TUT0501\",origin=\"client\"} 1\n"), "{page}");
    tutti.proxy.shutdown().await;
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["status"].as_u64());
    assert_eq!(lines.len(), 3, "{text}");
    assert!(!text.contains("secret"));
    let one = &lines[0];
    assert_eq!((&one["path"], &one["status"], &one["bytes_out"]), (&"/one".into(), &200.into(), &4.into()));
    assert_eq!(
        (&one["service"], &one["instance"], &one["attempts"]),
        (&"a".into(), &"a-1".into(), &1.into())
    );
    assert_eq!(one["request_id"], one["trace_id"]);
    assert_eq!((&lines[1]["status"], &lines[1]["fault"]), (&400.into(), &"TUT0507".into()));
    assert_eq!((&lines[2]["status"], &lines[2]["fault"]), (&404.into(), &"TUT0501".into()));
}
