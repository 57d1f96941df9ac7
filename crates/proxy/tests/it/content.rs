//! What requests and responses may hold, and how they are written.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tutti_net::Body;
use tutti_ports::routing::{
    Compression, Content, Cors, Decompression, Match, RequestLimits, Route, SecurityHeaders,
};

use crate::harness::*;

async fn serving(content: Content, upstream: &Upstream) -> Tutti {
    let route = Route { content: content.into(), ..to("a") };
    Tutti::start(options(), vec![route], vec![passing("a", 1, upstream.addr)]).await
}

fn asking(method: &str, path: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "shop.test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(drop).unwrap(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).map(drop).unwrap(),
        _ => out = zstd::decode_all(bytes).unwrap(),
    }
    out
}

#[tokio::test]
async fn requests_that_a_route_does_not_take_are_refused_with_the_reason() {
    let echo = echo().await;
    let content = Content {
        methods: vec!["GET".into(), "POST".into()],
        types: vec!["application/json".into()],
        request: RequestLimits {
            body: Some(100),
            fields: Some(6),
            header_bytes: Some(400),
            uri_bytes: Some(60),
            query_bytes: Some(20),
            query_parameters: Some(3),
        },
        ..Content::default()
    };
    let tutti = serving(content, &echo).await;
    let json = &[("content-type", "application/json; charset=utf-8")][..];
    let long = "x".repeat(300);
    for (request, status, code) in [
        (asking("GET", "/", &[], Body::empty()), 200, ""),
        (asking("POST", "/", json, "{}"), 200, ""),
        (asking("PUT", "/", json, "{}"), 405, "TUT0558"),
        (asking("POST", "/", &[("content-type", "text/plain")], "{}"), 415, "TUT0559"),
        (asking("POST", "/", &[], "{}"), 415, "TUT0559"),
        (asking("POST", "/", json, "x".repeat(101)), 413, "TUT0555"),
        (asking("POST", "/", json, "x".repeat(100)), 200, ""),
        (asking("GET", &format!("/{}", "a".repeat(60)), &[], Body::empty()), 414, "TUT0556"),
        (asking("GET", "/?abcdefghijklmnopqrstu", &[], Body::empty()), 414, "TUT0556"),
        (asking("GET", "/?a&b&c", &[], Body::empty()), 200, ""),
        (asking("GET", "/?a&b&c&d", &[], Body::empty()), 414, "TUT0556"),
        (asking("GET", "/", &[("a", &long), ("b", &long)], Body::empty()), 431, "TUT0557"),
        (asking("GET", "/", &[("a", "1"); 12], Body::empty()), 431, "TUT0557"),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = send(tutti.edge, request).await;
        assert_eq!(answer.status().as_u16(), status, "{what}: {}", text(&answer));
        if status != 200 {
            assert_eq!(fault(&answer)["code"], code, "{what}");
        }
        assert_eq!(answer.headers().contains_key("allow"), status == 405);
    }
}

#[tokio::test]
async fn a_body_that_grows_too_long_is_refused_while_it_comes() {
    let echo = echo().await;
    let request = RequestLimits { body: Some(100_000), ..RequestLimits::default() };
    let tutti = serving(Content { request, ..Content::default() }, &echo).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..4 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_never_looks_whole() {
    let long = upstream(|request| async move {
        if request.uri().path() == "/known" {
            return Response::new(Body::from("x".repeat(5_000)));
        }
        let (mut sender, body) = Body::channel(1);
        tokio::spawn(async move { while sender.send(Bytes::from(vec![b'x'; 600])).await.is_ok() {} });
        Response::new(body)
    })
    .await;
    let tutti = serving(Content { response_bytes: Some(1_000), ..Content::default() }, &long).await;
    let answer = get(tutti.edge, "/known").await;
    assert_eq!((answer.status().as_u16(), fault(&answer)["code"].clone()), (502, "TUT0560".into()));
    let answer = raw(tutti.edge, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    assert!(page.contains("code=\"TUT0560\"") && page.contains("} 2\n"), "{page}");
}

#[tokio::test]
async fn preflights_are_answered_here_and_pages_may_read_what_they_may() {
    let own = upstream(|request| async move {
        assert_ne!(request.method(), "OPTIONS");
        Response::builder().header("access-control-allow-origin", "*").body(Body::from("a")).unwrap()
    })
    .await;
    let cors = Cors {
        origins: vec!["https://shop.test".into()],
        methods: vec!["PUT".into()],
        credentials: true,
        max_age_s: 60,
        ..Cors::default()
    };
    let put = Match { method: Some("PUT".into()), ..Match::default() };
    let content = Content { cors: Some(cors), ..Content::default() };
    let route = Route { matches: vec![put], content: content.into(), ..to("a") };
    let other = Route { name: "other".into(), ..to("a") };
    let tutti = Tutti::start(options(), vec![route, other], vec![passing("a", 1, own.addr)]).await;
    let origin = ("origin", "https://shop.test");
    let asked = asking("OPTIONS", "/", &[origin, ("access-control-request-method", "PUT")], Body::empty());
    let answer = send(tutti.edge, asked).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.test");
    assert_eq!(answer.headers()["access-control-allow-methods"], "PUT");
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
    let answer = send(tutti.edge, asking("PUT", "/", &[origin], Body::empty())).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.test");
    let answer =
        send(tutti.edge, asking("PUT", "/", &[("origin", "https://evil.test")], Body::empty())).await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(answer.headers()["vary"], "origin");
    own.kill().await;
    // A page can read why it failed, too.
    let answer = send(tutti.edge, asking("PUT", "/", &[origin], Body::empty())).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.test");
    assert!(answer.status().is_server_error());
}

#[tokio::test]
async fn security_headers_are_on_every_answer() {
    let named = named("a").await;
    let security = SecurityHeaders {
        hsts: Some("max-age=1".into()),
        nosniff: true,
        frame_options: Some("DENY".into()),
        ..SecurityHeaders::default()
    };
    let content = Content { security: Some(security), methods: vec!["GET".into()], ..Content::default() };
    let tutti = serving(content, &named).await;
    for method in ["GET", "PUT"] {
        let answer = send(tutti.edge, asking(method, "/", &[], Body::empty())).await;
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{method}");
        assert_eq!(answer.headers()["x-frame-options"], "DENY");
        assert!(!answer.headers().contains_key("strict-transport-security"));
    }
}

fn compressing() -> Content {
    Content { compression: Some(Compression::default()), ..Content::default() }
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_asks_and_are_the_same() {
    let body: String = (0..200_000).map(|n| format!("line {} of a text\n", n % 977)).collect();
    let sent = Bytes::from(body);
    let whole = sent.clone();
    let own = upstream(move |request| {
        let whole = whole.clone();
        async move {
            let response = Response::builder().header("content-type", "text/plain").header("etag", "\"v1\"");
            match request.uri().path() {
                "/short" => response.body(Body::from("short")).unwrap(),
                "/coded" => {
                    response.header("content-encoding", "br").body(Body::from("x".repeat(9_999))).unwrap()
                }
                _ => response.body(Body::full(whole)).unwrap(),
            }
        }
    })
    .await;
    let tutti = serving(compressing(), &own).await;
    for coding in ["gzip", "br", "zstd"] {
        let answer =
            send(tutti.edge, asking("GET", "/", &[("accept-encoding", coding)], Body::empty())).await;
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert_eq!(
            (&answer.headers()["etag"], &answer.headers()["vary"]),
            (&"W/\"v1\"".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
        assert!(!answer.headers().contains_key("content-length"));
        assert!(answer.body().len() < sent.len() / 10, "{coding}: {}", answer.body().len());
        assert!(plain(coding, answer.body()) == sent, "{coding}");
    }
    for (path, accept) in [("/", "identity"), ("/short", "gzip"), ("/coded", "gzip")] {
        let answer =
            send(tutti.edge, asking("GET", path, &[("accept-encoding", accept)], Body::empty())).await;
        assert_ne!(
            answer.headers().get("content-encoding").map(|coding| coding.to_str().unwrap()),
            Some("gzip")
        );
        assert_eq!(answer.headers()["etag"], "\"v1\"", "{path}");
        assert_eq!(answer.headers().contains_key("vary"), path == "/");
    }
    let head = send(tutti.edge, asking("HEAD", "/", &[("accept-encoding", "gzip")], Body::empty())).await;
    assert!(head.headers().contains_key("vary") && head.body().is_empty());
}

#[tokio::test]
async fn events_are_not_held_back_by_compression() {
    let own = upstream(|_| async {
        let (mut sender, body) = Body::channel(1);
        tokio::spawn(async move {
            sender.send("data: one\n\n".into()).await.unwrap();
            // It says nothing more and stays open.
            std::future::pending::<()>().await;
        });
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    })
    .await;
    let tutti = serving(compressing(), &own).await;
    for coding in ["gzip", "br", "zstd"] {
        let mut stream = dial(tutti.edge).await;
        let ask = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {coding}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains(&format!("content-encoding: {coding}\r\n")), "{head}");
        let mut came: Vec<u8> = Vec::new();
        let event = async {
            loop {
                let mut buffer = [0; 512];
                let length = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
                came.extend_from_slice(&buffer[..length]);
                if unchunked(&came, coding).ends_with(b"data: one\n\n") {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), event).await.expect("the event is held back");
    }
}

/// What can be read of a chunked and coded body that goes on.
fn unchunked(mut bytes: &[u8], coding: &str) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = bytes.get(end + 2..end + 2 + length) else { break };
        data.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + length..).unwrap_or_default();
    }
    let mut out = Vec::new();
    // It fails at the end of what has come, with all before it read.
    let _ = match coding {
        "gzip" => flate2::read::GzDecoder::new(&data[..]).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(&data[..], 4096).read_to_end(&mut out),
        _ => {
            zstd::stream::read::Decoder::new(&data[..]).and_then(|mut decoder| decoder.read_to_end(&mut out))
        }
    };
    out
}

#[tokio::test]
async fn requests_are_decompressed_within_limits() {
    let echo = echo().await;
    let limits = Decompression { max_bytes: 1 << 20, max_ratio: 100 };
    let tutti = serving(Content { decompression: Some(limits), ..Content::default() }, &echo).await;
    let sent = "hello, service ".repeat(50);
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 4096, 5, 18).write_all(sent.as_bytes()).unwrap();
    let two_members = [gzip(sent.as_bytes()), gzip(b"more")].concat();
    for (coding, body, expected) in [
        ("gzip", gzip(sent.as_bytes()), sent.clone()),
        ("GZIP", two_members, format!("{sent}more")),
        ("br", br, sent.clone()),
        ("zstd", zstd::encode_all(sent.as_bytes(), 3).unwrap(), sent.clone()),
        ("identity", sent.clone().into_bytes(), sent.clone()),
    ] {
        // Whole, and byte by byte.
        let answer =
            send(tutti.edge, asking("POST", "/", &[("content-encoding", coding)], body.clone())).await;
        assert!(text(&answer).ends_with(&format!("\n\n{expected}")), "{coding}: {}", text(&answer));
        assert_eq!(text(&answer).contains("content-encoding"), coding == "identity");
        let (mut sender, slow) = Body::channel(1);
        let sending =
            tokio::spawn(send(tutti.edge, asking("POST", "/", &[("content-encoding", coding)], slow)));
        for byte in body {
            sender.send(vec![byte].into()).await.unwrap();
        }
        sender.finish().await.unwrap();
        let answer = sending.await.unwrap();
        assert!(text(&answer).ends_with(&format!("\n\n{expected}")), "{coding}: {}", text(&answer));
    }
    let zeros = vec![b'0'; 8 << 20];
    let mut cut = gzip(&sent.repeat(10).into_bytes());
    cut.truncate(cut.len() - 5);
    let mut bomb = Vec::new();
    brotli::CompressorWriter::new(&mut bomb, 4096, 5, 22).write_all(&zeros).unwrap();
    for (coding, body, status, code) in [
        ("gzip", gzip(&zeros), 413, "TUT0555"),
        ("br", bomb, 413, "TUT0555"),
        ("zstd", zstd::encode_all(&zeros[..], 3).unwrap(), 413, "TUT0555"),
        ("gzip", b"not gzip at all, and long enough for a header".to_vec(), 400, "TUT0507"),
        ("zstd", b"not zstd at all".to_vec(), 400, "TUT0507"),
        ("gzip", cut, 400, "TUT0507"),
        ("gzip", [gzip(b"a"), b"garbage".to_vec()].concat(), 400, "TUT0507"),
        ("deflate", b"x".to_vec(), 415, "TUT0559"),
        ("gzip, br", b"x".to_vec(), 415, "TUT0559"),
    ] {
        let answer = send(tutti.edge, asking("POST", "/", &[("content-encoding", coding)], body)).await;
        assert_eq!(answer.status().as_u16(), status, "{coding}: {}", text(&answer));
        assert_eq!(fault(&answer)["code"], code, "{coding}");
    }
}
