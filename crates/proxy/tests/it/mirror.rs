//! Copies of requests, and what is done for single backends.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::mpsc;
use tutti_net::Body;
use tutti_ports::routing::{Filter, HeaderEdit, Route};

use crate::harness::*;

/// An upstream that tells what it got, as `METHOD path host x-copy: body`, and answers when `hold` says so.
async fn witness(answer: bool) -> (Upstream, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let upstream = upstream(move |request| {
        let sender = Arc::clone(&sender);
        async move {
            let head = {
                let field = |name: &str| {
                    let value = request.headers().get(name).map(|value| value.to_str().unwrap());
                    value.unwrap_or("-").to_owned()
                };
                let (method, path) = (request.method(), request.uri().path());
                format!("{method} {path} {} {}", field("host"), field("x-copy"))
            };
            let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
            sender.send(format!("{head}: {}", String::from_utf8_lossy(&body))).unwrap();
            if !answer {
                std::future::pending::<()>().await;
            }
            Response::new(Body::from("copy"))
        }
    })
    .await;
    (upstream, receiver)
}

fn mirror(service: &str, numerator: u32, denominator: u32) -> Filter {
    let mut backend = backend(service);
    let set = vec![("x-copy".to_owned(), service.to_owned())];
    backend.filters.push(Filter::RequestHeaders(HeaderEdit { set, ..HeaderEdit::default() }));
    Filter::Mirror { backend: Box::new(backend), numerator, denominator }
}

async fn next(told: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(20), told.recv()).await.expect("no copy came").unwrap()
}

#[tokio::test]
async fn every_mirror_gets_a_copy_and_nobody_waits_for_it() {
    let echo = echo().await;
    let (mute, mut of_mute) = witness(false).await;
    let (fine, mut of_fine) = witness(true).await;
    let filters =
        vec![mirror("mute", 1, 1), mirror("gone", 1, 1), mirror("fine", 100, 100), mirror("never", 0, 5)];
    let route = Route { filters, ..to("echo") };
    let instances = vec![
        passing("echo", 1, echo.addr),
        passing("mute", 1, mute.addr),
        passing("fine", 1, fine.addr),
        passing("never", 1, fine.addr),
        passing("gone", 1, nobody().await),
    ];
    let tutti = Tutti::start(options(), vec![route], instances).await;
    let answer = get(tutti.edge, "/a").await;
    assert!(text(&answer).starts_with("GET /a\n") && !text(&answer).contains("x-copy"), "{}", text(&answer));
    assert_eq!(next(&mut of_mute).await, "GET /a shop.test mute: ");
    assert_eq!(next(&mut of_fine).await, "GET /a shop.test fine: ");
    // A body that comes in parts is copied whole, when it has gone by.
    let (mut sender, body) = Body::channel(1);
    let request = Request::post("/b").header("host", "shop.test").body(body).unwrap();
    let sending = tokio::spawn(send(tutti.edge, request));
    for part in ["one ", "two"] {
        sender.send(part.into()).await.unwrap();
    }
    sender.finish().await.unwrap();
    assert!(text(&sending.await.unwrap()).ends_with("one two"));
    assert_eq!(next(&mut of_fine).await, "POST /b shop.test fine: one two");
    assert_eq!(next(&mut of_mute).await, "POST /b shop.test mute: one two");
    tutti.proxy.shutdown().await;
    assert!(of_fine.try_recv().is_err(), "a mirror that gets no request got one");
}

#[tokio::test]
async fn a_body_that_is_too_long_for_a_copy_passes_all_the_same() {
    let count = upstream(|request| async move {
        let (body, _) = request.into_body().collect(8 << 20).await.unwrap();
        Response::new(Body::from(body.len().to_string()))
    })
    .await;
    let (fine, mut told) = witness(true).await;
    let route = Route { filters: vec![mirror("fine", 1, 1)], ..to("count") };
    let instances = vec![passing("count", 1, count.addr), passing("fine", 1, fine.addr)];
    let tutti = Tutti::start(options(), vec![route], instances).await;
    let (mut sender, body) = Body::channel(1);
    let request = Request::post("/big").header("host", "shop.test").body(body).unwrap();
    let sending = tokio::spawn(send(tutti.edge, request));
    for _ in 0..64 {
        sender.send(vec![b'x'; 16 << 10].into()).await.unwrap();
    }
    sender.finish().await.unwrap();
    assert_eq!(text(&sending.await.unwrap()), (1 << 20).to_string());
    get(tutti.edge, "/small").await;
    assert_eq!(next(&mut told).await, "GET /small shop.test fine: ");
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    assert!(page.finish().contains("tutti_proxy_mirrors_dropped_total 1\n"));
}

#[tokio::test]
async fn what_a_backend_does_is_done_for_it_alone() {
    let (a, b) = (echo().await, echo().await);
    let mut route = to("a");
    let edit =
        |name: &str| HeaderEdit { set: vec![(name.to_owned(), "yes".to_owned())], ..HeaderEdit::default() };
    route.backends.push(backend("b"));
    route.backends[1].filters = vec![
        Filter::RequestHeaders(edit("x-to-b")),
        Filter::ResponseHeaders(edit("x-from-b")),
        Filter::Rewrite { host: Some("b.inner".into()), path: None },
    ];
    let tutti =
        Tutti::start(options(), vec![route], vec![passing("a", 1, a.addr), passing("b", 1, b.addr)]).await;
    let mut of_b = 0;
    for _ in 0..40 {
        let answer = get(tutti.edge, "/").await;
        let at_b = answer.headers().contains_key("x-from-b");
        assert_eq!(text(&answer).contains("\nx-to-b: yes\n"), at_b);
        assert_eq!(text(&answer).contains("\nhost: b.inner\n"), at_b);
        of_b += usize::from(at_b);
    }
    assert!((1..40).contains(&of_b), "{of_b}");
}
