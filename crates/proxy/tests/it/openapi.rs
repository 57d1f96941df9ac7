//! Requests and answers against a description, over real sockets.

use std::path::Path;
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use tutti_net::Body;
use tutti_ports::routing::{Content, Filter, Match, OpenApi, OpenApiMode, PathMatch, PathRewrite, Route};

use crate::harness::*;

const API: &str = "
openapi: 3.1.0
servers: [{url: /api}]
paths:
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    get:
      parameters: [{name: limit, in: query, schema: {type: integer, maximum: 10}}]
      responses: {'200': {content: {application/json: {schema: {$ref: 'models/order.yaml#/Order'}}}}}
  /orders:
    post:
      requestBody: {required: true, content: {application/json: {schema: {$ref: 'models/order.yaml#/Order'}}}}
      responses: {'200': {}}
";

const MODELS: &str =
    "Order: {type: object, required: [name], properties: {name: {type: string, maxLength: 5}}}";

fn write(dir: &Path, api: &str) {
    std::fs::create_dir_all(dir.join("models")).unwrap();
    std::fs::write(dir.join("models/order.yaml"), MODELS).unwrap();
    std::fs::write(dir.join("api.yaml"), api).unwrap();
}

fn described(dir: &Path, requests: OpenApiMode, responses: OpenApiMode) -> Route {
    let (file, folder) = (dir.join("api.yaml"), dir.to_owned());
    let openapi = OpenApi {
        file,
        folder,
        base_path: None,
        requests,
        responses,
        unknown_pass: false,
        max_body: 100_000,
    };
    Route { content: Content { openapi: Some(openapi), ..Content::default() }.into(), ..to("web") }
}

async fn post(edge: std::net::SocketAddr, body: impl Into<Body>) -> Response<bytes::Bytes> {
    let request = Request::post("/api/orders").header("host", "h").header("content-type", "application/json");
    send(edge, request.body(body.into()).unwrap()).await
}

fn errors(answer: &Response<bytes::Bytes>) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    value["errors"].clone()
}

#[tokio::test]
async fn what_is_not_as_described_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), API);
    let web = echo().await;
    let route = described(dir.path(), OpenApiMode::Enforce, OpenApiMode::Off);
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    assert!(text(&get(tutti.edge, "/api/orders/7?limit=3").await).starts_with("GET /api/orders/7?limit=3"));
    let refused = get(tutti.edge, "/api/orders/x?limit=hunter2").await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.headers()["x-tutti-fault"], "client");
    assert_eq!(errors(&refused)[0]["in"], "path");
    assert_eq!(errors(&refused)[1]["name"], "limit");
    assert!(!text(&refused).contains("hunter2"), "{}", text(&refused));
    for (target, status) in
        [("/orders/7", 404), ("/api/none", 404), ("/api/orders", 405), ("/apiorders/7", 404)]
    {
        let refused = get(tutti.edge, target).await;
        assert_eq!(
            (refused.status().as_u16(), fault(&refused)["code"].clone()),
            (status, "TUT0564".into()),
            "{target}"
        );
    }
    assert_eq!(get(tutti.edge, "/api/orders").await.headers()["allow"], "POST");
    assert_eq!(post(tutti.edge, Body::full("{\"name\": \"ada\"}")).await.status(), 200);
    let refused = post(tutti.edge, Body::full("{\"name\": \"hunter2\"}")).await;
    assert_eq!((refused.status().as_u16(), errors(&refused)[0]["name"].clone()), (400, "/name".into()));
    // A body of many pieces is held until it is whole, and one that is too long is not.
    let long = format!("{{\"name\": \"ada\", \"more\": \"{}\"}}", "x".repeat(50_000));
    let passed = post(tutti.edge, Body::full(long.clone())).await;
    assert_eq!(passed.status(), 200);
    let chunked = |body: &str| {
        let chunks: String = body
            .as_bytes()
            .chunks(7_000)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
            .collect();
        format!(
            "POST /api/orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    assert!(raw(tutti.edge, chunked(&long)).await.starts_with("HTTP/1.1 200 "));
    assert!(raw(tutti.edge, chunked(&long.replace("ada", "hunter2"))).await.starts_with("HTTP/1.1 400 "));
    let refused = post(tutti.edge, Body::full(format!("\"{}\"", "x".repeat(200_000)))).await;
    assert_eq!((refused.status().as_u16(), fault(&refused)["code"].clone()), (413, "TUT0555".into()));
    let bare = Request::post("/api/orders").header("host", "h").body(Body::empty()).unwrap();
    assert_eq!(errors(&send(tutti.edge, bare).await)[0]["detail"], "it is missing");
    tutti.proxy.shutdown().await;
}

#[tokio::test]
async fn answers_are_looked_at_and_reports_let_everything_pass() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), API);
    let web = upstream(|request| async move {
        let body = match request.uri().path() {
            "/api/orders/1" => "{\"name\": \"ada\"}",
            _ => "{\"name\": 1}",
        };
        Response::builder().header("content-type", "application/json").body(Body::full(body)).unwrap()
    })
    .await;
    let enforce = described(dir.path(), OpenApiMode::Enforce, OpenApiMode::Enforce);
    let tutti = Tutti::start(options(), vec![enforce], vec![passing("web", 0, web.addr)]).await;
    assert_eq!(text(&get(tutti.edge, "/api/orders/1").await), "{\"name\": \"ada\"}");
    let refused = get(tutti.edge, "/api/orders/2").await;
    assert_eq!((refused.status().as_u16(), errors(&refused)[0]["name"].clone()), (502, "/name".into()));
    let report =
        Route { name: "report".into(), ..described(dir.path(), OpenApiMode::Report, OpenApiMode::Report) };
    tutti.handle.apply(routing(tutti_ports::routing::Serve::http([report]))).await.unwrap();
    assert_eq!(text(&get(tutti.edge, "/api/orders/2?limit=99").await), "{\"name\": 1}");
    assert_eq!(post(tutti.edge, Body::full("x".repeat(200_000))).await.status(), 200);
    assert_eq!(get(tutti.edge, "/none").await.status(), 200);
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let metrics = page.finish();
    for line in [
        "tutti_proxy_openapi_violations_total{route=\"report\",what=\"request\"} 2",
        "tutti_proxy_openapi_violations_total{route=\"report\",what=\"response\"} 1",
        "tutti_proxy_openapi_violations_total{route=\"report\",what=\"unchecked\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    tutti.proxy.shutdown().await;
}

#[tokio::test]
async fn a_description_is_read_again_and_a_broken_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), API);
    let web = echo().await;
    let mut options = options();
    options.certificate_look = Duration::from_millis(5);
    // The service gets the path without what the route matched.
    let strip = Filter::Rewrite { host: None, path: Some(PathRewrite::Prefix("/api".into())) };
    let matches = vec![Match { path: Some(PathMatch::Prefix("/shop".into())), ..Match::default() }];
    let route = described(dir.path(), OpenApiMode::Enforce, OpenApiMode::Off);
    let route = Route { filters: vec![strip], matches, ..route };
    let tutti = Tutti::start(options, vec![route.clone()], vec![passing("web", 0, web.addr)]).await;
    let ask = async |limit: u32| {
        let target = format!("/shop/orders/7?limit={limit}");
        let request = Request::builder().method(Method::GET).uri(target).header("host", "h");
        send(tutti.edge, request.body(Body::empty()).unwrap()).await.status().as_u16()
    };
    let until = async |limit: u32, status: u16| {
        let begun = Instant::now();
        while ask(limit).await != status {
            assert!(begun.elapsed() < Duration::from_secs(20), "limit {limit} is never {status}");
        }
    };
    assert_eq!((ask(10).await, ask(11).await), (200, 400));
    write(dir.path(), &API.replace("maximum: 10", "maximum: 20"));
    until(11, 200).await;
    // Broken: what was there stays, also when the routes are applied again.
    write(dir.path(), &API.replace("openapi: 3.1.0", "swagger: '2.0'"));
    let renamed = Route { name: "renamed".into(), ..route };
    tutti.handle.apply(routing(tutti_ports::routing::Serve::http([renamed.clone()]))).await.unwrap();
    assert_eq!((ask(20).await, ask(21).await), (200, 400));
    write(dir.path(), &API.replace("maximum: 10", "maximum: 30"));
    until(21, 200).await;
    // One that was never good is an error.
    let other = dir.path().join("other");
    write(&other, "paths: [");
    let bad = described(&other, OpenApiMode::Enforce, OpenApiMode::Off);
    let refused = tutti.handle.apply(routing(tutti_ports::routing::Serve::http([bad]))).await.unwrap_err();
    use tutti_core::Classify;
    assert_eq!(refused.code(), Some(tutti_core::code::OPENAPI_FILE));
    assert!(tutti_core::error::chain(&refused).contains("api.yaml: line"), "{refused:?}");
    assert_eq!(ask(30).await, 200);
    tutti.proxy.shutdown().await;
}

/// What makes one reader see another request than the other does.
#[tokio::test]
async fn a_hostile_client_gets_nothing_past_the_description() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), API);
    let web = echo().await;
    let route = described(dir.path(), OpenApiMode::Enforce, OpenApiMode::Off);
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let ask = async |line: &str, fields: &str, body: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n{body}");
        let answer = raw(tutti.edge, head).await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    };
    let json = "Content-Type: application/json\r\n";
    let long = "Content-Length: 15\r\n";
    for (fields, body, status) in [
        (format!("{json}{long}"), "{\"name\": \"ada\"}", 200),
        (format!("Content-Type: text/plain\r\n{json}{long}"), "{\"name\": \"ada\"}", 415),
        (format!("{json}Content-Type: text/plain\r\n{long}"), "{\"name\": \"ada\"}", 415),
        (
            format!("{json}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n{long}"),
            "{\"name\": \"ada\"}",
            415,
        ),
        (format!("{json}Expect: 100-continue\r\nContent-Length: 14\r\n"), "{\"name\": 123.}", 400),
        (format!("{json}Content-Length: 4\r\n"), "\u{feff}{", 400),
        // The end comes in a chunk of its own; there is no body for all that.
        ("Transfer-Encoding: chunked\r\n".to_owned(), "0\r\n\r\n", 400),
    ] {
        assert_eq!(ask("POST /api/orders", &fields, body).await, status, "{fields}{body}");
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(ask("GET /api/orders/7", chunked, "0\r\n\r\n").await, 200);
    assert_eq!(ask("GET /api/orders/7", chunked, "1\r\nx\r\n0\r\n\r\n").await, 400);
    tutti.proxy.shutdown().await;
}

/// Who says that much will come, and sends nothing, takes no room from others.
#[tokio::test]
async fn bodies_that_are_only_announced_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), API);
    let web = echo().await;
    let mut route = described(dir.path(), OpenApiMode::Enforce, OpenApiMode::Off);
    if let Some(rules) = &mut route.content.openapi {
        rules.max_body = tutti_core::limits::OPENAPI_BODY;
    }
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let mut waiting = Vec::new();
    for number in 0..40 {
        let length = if number % 2 == 0 { "Content-Length: 16000000" } else { "Transfer-Encoding: chunked" };
        let mut stream = dial(tutti.edge).await;
        let head = format!(
            "POST /api/orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{length}\r\n\r\n1"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(post(tutti.edge, Body::full("{\"name\": \"ada\"}")).await.status(), 200);
    }
    drop(waiting);
    tutti.proxy.shutdown().await;
}
