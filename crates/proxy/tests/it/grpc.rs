//! gRPC where we answer ourselves, and gRPC-Web, on real sockets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tutti_net::client::request_h2;
use tutti_net::{Addr, Body};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{
    Backend, Content, Cors, Fallback, FallbackOn, FallbackTo, Filter, RequestLimits, Resilience, Route,
};

use crate::harness::*;

fn to_grpc(service: &str) -> Route {
    Route::to(service, Backend::new(name(service), 80, AppProtocol::H2c))
}

fn call(host: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/shop.Cart/Add").header("host", host).header("content-type", kind);
    request.header("te", "trailers").body(body.into()).unwrap()
}

/// What a client of gRPC hears: status and message, of the header or of the trailers.
fn heard(answer: &Response<Bytes>, trailers: Option<&HeaderMap>) -> (u8, String) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/grpc"));
    let fields = trailers.unwrap_or(answer.headers());
    let text = |name: &str| fields.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (text("grpc-status").parse().unwrap(), text("grpc-message"))
}

/// An upstream of gRPC that answers what its path says.
async fn server() -> Upstream {
    upstream(|request| async move {
        assert_eq!(format!("{:?}", request.version()), "HTTP/2.0");
        let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let te = request.headers()["te"].clone();
        let (mut sender, body) = Body::channel(1);
        if host == "refuses.test" {
            let answer = Response::builder().header("content-type", "application/grpc");
            return answer
                .header("grpc-status", "5")
                .header("grpc-message", "none")
                .body(Body::empty())
                .unwrap();
        }
        tokio::spawn(async move {
            let Ok((sent, _)) = request.into_body().collect(1 << 20).await else { return };
            // Whoever broke off wants nothing.
            if sender.send(sent).await.is_err() {
                return;
            }
            if host == "breaks.test" {
                sender.abort("gone".into()).await.unwrap();
                return;
            }
            if host == "long.test" {
                while sender.send(Bytes::from(vec![b'x'; 1000])).await.is_ok() {}
                return;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("x-kind", kind.parse().unwrap());
            trailers.insert("x-te", te);
            sender.finish_with(trailers).await.unwrap();
        });
        Response::builder().header("content-type", "application/grpc+proto").body(body).unwrap()
    })
    .await
}

fn at(host: &str, route: Route) -> Route {
    Route { name: host.into(), hosts: vec![format!("{host}.test")], ..route }
}

#[tokio::test]
async fn what_we_answer_ourselves_is_a_status_of_grpc() {
    let server = server().await;
    let redirect =
        Filter::Redirect { scheme: Some("https".into()), host: None, port: None, path: None, status: 308 };
    let page = FallbackTo::Answer { status: 200, body: b"later".to_vec(), content_type: "text/plain".into() };
    let fallback = Fallback { on: vec![FallbackOn::Unavailable], to: page };
    let small = Content {
        request: RequestLimits { body: Some(4), ..RequestLimits::default() },
        ..Content::default()
    };
    let routes = vec![
        at("nobody", to_grpc("nobody")),
        at("breaks", to_grpc("shop")),
        at("moved", Route { filters: vec![redirect], ..Route::named("moved") }),
        at(
            "page",
            Route {
                resilience: Resilience { fallback: Some(fallback), ..Resilience::default() }.into(),
                ..to_grpc("nobody")
            },
        ),
        at("small", Route { content: small.into(), ..to_grpc("shop") }),
        at(
            "long",
            Route {
                content: Content { response_bytes: Some(5000), ..Content::default() }.into(),
                ..to_grpc("shop")
            },
        ),
    ];
    let options = tutti_proxy::Options { ready_wait: Duration::ZERO, ..options() };
    let tutti = Tutti::start(options, routes, vec![passing("shop", 0, server.addr)]).await;
    for (host, status, says) in [
        ("else", 12, "TUT0501"),
        ("nobody", 14, "TUT0502"),
        ("moved", 2, "308 Permanent Redirect"),
        ("page", 14, "a fallback"),
        ("small", 8, "TUT0555"),
        ("breaks", 14, "TUT0504"),
        ("long", 8, "TUT0560"),
    ] {
        let request = call(&format!("{host}.test"), "application/grpc", Body::from("\0\0\0\0\x01a"));
        let (answer, trailers) = request_h2(&Addr::Tcp(tutti.edge), request, LIMITS).await.unwrap();
        let (heard, message) = heard(&answer, trailers.as_ref());
        assert!(heard == status && message.contains(says), "{host}: {heard} {message}");
    }
    let late = call("shop.test", "application/grpc", Body::empty());
    let mut late = late.map(|_| Body::empty());
    late.headers_mut().insert("grpc-timeout", "0m".parse().unwrap());
    late.headers_mut().insert("host", "breaks.test".parse().unwrap());
    let (answer, trailers) = request_h2(&Addr::Tcp(tutti.edge), late, LIMITS).await.unwrap();
    assert_eq!(heard(&answer, trailers.as_ref()).0, 4);
    // What broke off in the middle is a fault of the service in the books, too.
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    assert!(page.finish().contains("tutti_proxy_faults_total{code=\"TUT0504\",origin=\"upstream\"} 1"));
}

/// The frames of a body of gRPC-Web: their first byte and what they hold.
fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut out = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        out.push((head[0], String::from_utf8_lossy(&rest[..length]).into_owned()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    out
}

/// A text of several, each with its own padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    let ends = text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap());
    ends.collect()
}

/// Routes that differ in what they make of browsers.
fn for_browsers() -> Vec<Route> {
    let cors =
        Cors { origins: vec!["https://page.test".into()], headers: vec!["x-own".into()], ..Cors::default() };
    let holding = |content: Content, route| Route { content: content.into(), ..route };
    let asked = Content { cors: Some(cors), ..Content::default() };
    let off = Content { grpc_web: Some(false), ..Content::default() };
    vec![
        at("plain", holding(asked, to_grpc("shop"))),
        at("refuses", to_grpc("shop")),
        at("breaks", to_grpc("shop")),
        at("nobody", to_grpc("nobody")),
        at("off", holding(off, to("echo"))),
    ]
}

#[tokio::test]
async fn browsers_speak_grpc_in_their_own_way() {
    let (server, routes) = (server().await, for_browsers());
    let echo = echo().await;
    let options = tutti_proxy::Options { ready_wait: Duration::ZERO, ..options() };
    let instances = vec![passing("shop", 0, server.addr), passing("echo", 0, echo.addr)];
    let tutti = Tutti::start(options, routes, instances).await;
    let message = b"\0\0\0\0\x02hi";
    // Two texts, as clients that stream write them: the padding of the first stands in the middle.
    let text = format!("{}{}", STANDARD.encode(&message[..4]), STANDARD.encode(&message[4..]));
    for (kind, body) in [
        ("application/grpc-web+proto", message.to_vec()),
        ("application/grpc-web-text+proto", text.clone().into_bytes()),
    ] {
        for h2 in [false, true] {
            let request = call("plain.test", kind, Body::from(body.clone()));
            let (answer, trailers) = if h2 {
                request_h2(&Addr::Tcp(tutti.edge), request, LIMITS).await.unwrap()
            } else {
                (send(tutti.edge, request).await, None)
            };
            assert!(trailers.is_none() && answer.status() == 200);
            assert_eq!(answer.headers()["content-type"], kind);
            let bytes = if kind.contains("text") { decoded(answer.body()) } else { answer.body().to_vec() };
            let frames = frames(&bytes);
            assert_eq!(frames[0], (0, "hi".to_owned()));
            assert_eq!(frames.len(), 2);
            let (mark, said) = &frames[1];
            assert_eq!(*mark, 0x80);
            for line in ["grpc-status: 0\r\n", "x-kind: application/grpc+proto\r\n", "x-te: trailers\r\n"] {
                assert!(said.contains(line), "{said}");
            }
        }
    }
    // Errors: of the service in its header, in the middle, and our own.
    let kind = "application/grpc-web";
    for (host, status) in [("refuses.test", 5), ("nobody.test", 14), ("else.test", 12)] {
        let answer = send(tutti.edge, call(host, kind, Body::from(message.to_vec()))).await;
        assert_eq!(heard(&answer, None).0, status, "{host}");
        assert!(answer.headers()["content-type"] == kind && answer.body().is_empty());
    }
    let broken = send(tutti.edge, call("breaks.test", kind, Body::from(message.to_vec()))).await;
    let said = frames(broken.body());
    assert!(said[1].0 == 0x80 && said[1].1.contains("grpc-status: 14\r\n"), "{said:?}");
    let bad = send(tutti.edge, call("plain.test", "application/grpc-web-text", Body::from("AAA*"))).await;
    assert_eq!(heard(&bad, None).0, 13);
    // Off, it is passed on as it is.
    let off = send(tutti.edge, call("off.test", kind, Body::from("x"))).await;
    assert!(crate::harness::text(&off).contains("content-type: application/grpc-web\n"));

    // A page may send what its client sends, and read what it is told.
    let preflight = Request::options("/shop.Cart/Add").header("host", "plain.test");
    let preflight =
        preflight.header("origin", "https://page.test").header("access-control-request-method", "POST");
    let preflight = preflight.header("access-control-request-headers", "content-type,x-grpc-web,x-own");
    let allowed = send(tutti.edge, preflight.body(Body::empty()).unwrap()).await;
    let fields = allowed.headers()["access-control-allow-headers"].to_str().unwrap();
    for name in ["x-own", "content-type", "x-grpc-web", "x-user-agent", "grpc-timeout"] {
        assert!(fields.split(", ").any(|field| field == name), "{fields}");
    }
    let mut request = call("plain.test", kind, Body::from(message.to_vec()));
    request.headers_mut().insert("origin", "https://page.test".parse().unwrap());
    let answer = send(tutti.edge, request).await;
    assert_eq!(
        answer.headers()["access-control-expose-headers"],
        "grpc-status, grpc-message, grpc-status-details-bin"
    );
}
