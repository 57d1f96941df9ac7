//! Another service decides: asked over HTTP and over gRPC, on real sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use tokio::io::AsyncWriteExt as _;
use tutti_net::Body;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing;
use tutti_ports::routing::{
    Backend, CachePart, External, ExternalAsk, ExternalBody, ExternalCache, Guard, Route, Unavailable,
};

use crate::harness::*;

fn external(ask: ExternalAsk) -> External {
    let protocol = if matches!(ask, ExternalAsk::Grpc(_)) { AppProtocol::H2c } else { AppProtocol::Http };
    External {
        to: Backend::new(name("auth"), 80, protocol),
        ask,
        timeout: Duration::from_secs(5),
        unavailable: Unavailable::Closed,
        headers: None,
        upstream_headers: vec!["x-auth-*".into(), "remote-user".into()],
        client_headers: None,
        client_headers_on_success: vec!["set-cookie".into()],
        sign_in: None,
        body: None,
        cache: None,
    }
}

fn at(path: &str) -> External {
    external(ExternalAsk::Path(path.into()))
}

fn guarded(external: External) -> Route {
    Route { guard: Guard { external: Some(Box::new(external)), ..Guard::default() }.into(), ..to("web") }
}

async fn with(edge: std::net::SocketAddr, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(path);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "shop.test");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(edge, request.body(Body::empty()).unwrap()).await
}

fn code(response: &Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), fault(response)["code"].as_str().unwrap_or_default().to_owned())
}

/// An authorization service that lets `Bearer good` pass, sends browsers away, and remembers what it was asked.
struct Doorman {
    upstream: Upstream,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Doorman {
    async fn start() -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        let upstream = upstream(move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let mut text = format!("{} {}\n", request.method(), request.uri());
                for (name, value) in request.headers() {
                    text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
                }
                let credential = request.headers().get("authorization").cloned();
                let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
                text.push_str(&format!("\n{}", String::from_utf8_lossy(&body)));
                seen.lock().unwrap().push(text);
                let answer = Response::builder();
                match credential.as_ref().and_then(|one| one.to_str().ok()) {
                    Some("Bearer good" | "Bearer other") => {
                        let user = credential.unwrap().to_str().unwrap().replace("Bearer ", "");
                        let answer = answer.header("x-auth-user", user).header("x-auth-groups", "a");
                        let answer = answer.header("x-auth-groups", "b").header("x-secret", "hidden");
                        answer.status(202).body(Body::empty())
                    }
                    Some("Bearer cookie") => answer.header("set-cookie", "s=1").body(Body::empty()),
                    Some("Bearer broken") => answer.status(500).body(Body::from("inside")),
                    Some(_) => answer
                        .status(302)
                        .header("location", "https://login.test/?rd=x")
                        .header("set-cookie", "state=1; Path=/")
                        .header("x-secret", "hidden")
                        .body(Body::from("go there")),
                    None => answer.status(401).header("www-authenticate", "Bearer").body(Body::from("who?")),
                }
                .unwrap()
            }
        })
        .await;
        Self { upstream, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn a_service_decides_and_says_who_asks() {
    let (web, doorman) = (echo().await, Doorman::start().await);
    let open = Route { name: "open".into(), hosts: vec!["open.test".into()], ..to("web") };
    let limited = External { client_headers: Some(vec!["x-reason".into()]), ..at("/verify?x=1") };
    let limited = Route { name: "limited".into(), hosts: vec!["limited.test".into()], ..guarded(limited) };
    let instances = vec![passing("web", 0, web.addr), passing("auth", 0, doorman.upstream.addr)];
    let tutti = Tutti::start(options(), vec![guarded(at("/verify?x=1")), open, limited], instances).await;

    let forged = [
        ("authorization", "Bearer good"),
        ("x-auth-user", "admin"),
        ("x_auth_user", "admin"),
        ("x-auth-role", "admin"),
        ("remote_user", "admin"),
        ("x-forwarded-method", "DELETE"),
        ("x-original-url", "https://evil.test/"),
        ("if-none-match", "\"x\""),
    ];
    let good = with(tutti.edge, "/a/%2e%2e/b?q=1", &forged).await;
    let told = text(&good);
    assert!(told.starts_with("GET /b?q=1\n") && told.contains("x-auth-user: good\n"), "{told}");
    assert!(told.contains("x-auth-groups: a\nx-auth-groups: b\n"), "{told}");
    assert!(!told.contains("admin") && !told.contains("hidden"), "{told}");
    let asked = doorman.asked().remove(0);
    assert!(asked.starts_with("GET /verify?x=1\n"), "{asked}");
    for line in [
        "x-forwarded-method: GET\n",
        "x-forwarded-uri: /b?q=1\n",
        "x-forwarded-host: shop.test\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-original-url: http://shop.test/b?q=1\n",
        "x-original-method: GET\n",
        "host: auth\n",
        "authorization: Bearer good\n",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert!(
        !asked.contains("admin") && !asked.contains("if-none-match") && !asked.contains("evil"),
        "{asked}"
    );

    // What it says no with reaches the client.
    let refused = with(tutti.edge, "/", &[]).await;
    assert_eq!((refused.status().as_u16(), text(&refused)), (401, "who?"));
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let away = with(tutti.edge, "/", &[("authorization", "Bearer x")]).await;
    assert_eq!(
        (away.status().as_u16(), away.headers()["location"].to_str().unwrap()),
        (302, "https://login.test/?rd=x")
    );
    assert_eq!(
        (&away.headers()["set-cookie"], &away.headers()["x-secret"]),
        (&"state=1; Path=/".parse().unwrap(), &"hidden".parse().unwrap())
    );
    assert!(away.headers().contains_key("x-request-id"));
    let away = with(tutti.edge, "/", &[("host", "limited.test"), ("authorization", "Bearer x")]).await;
    assert!(away.headers().contains_key("location") && !away.headers().contains_key("x-secret"));
    // A permission's cookie reaches the client with the answer.
    let cookie = with(tutti.edge, "/", &[("authorization", "Bearer cookie")]).await;
    assert_eq!((cookie.status().as_u16(), &cookie.headers()["set-cookie"]), (200, &"s=1".parse().unwrap()));

    // On a route that asks nobody, nobody can say either who asks.
    let answer = with(
        tutti.edge,
        "/",
        &[("host", "open.test"), ("x_auth_user", "admin"), ("authorization", "Bearer own")],
    )
    .await;
    assert!(!text(&answer).contains("admin") && text(&answer).contains("Bearer own"), "{}", text(&answer));
    // gRPC hears it in its own way.
    let grpc = with(tutti.edge, "/", &[("content-type", "application/grpc")]).await;
    assert_eq!((grpc.status().as_u16(), &grpc.headers()["grpc-status"]), (200, &"16".parse().unwrap()));
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    assert!(page.finish().contains("tutti_proxy_external_auth_total{service=\"auth\",result=\"denied\"} 4"));
}

#[tokio::test]
async fn envoys_way_shows_the_request_as_it_is() {
    let (web, doorman) = (echo().await, Doorman::start().await);
    let prefix = External {
        headers: Some(vec!["x-tenant".into()]),
        sign_in: Some("/login?rd={url}".into()),
        body: Some(ExternalBody { max_bytes: 4, partial: true, raw: false }),
        ..external(ExternalAsk::Prefix("/check".into()))
    };
    let instances = vec![passing("web", 0, web.addr), passing("auth", 0, doorman.upstream.addr)];
    let tutti = Tutti::start(options(), vec![guarded(prefix)], instances).await;
    let mut stream = dial(tutti.edge).await;
    let head = "POST /a?b=c HTTP/1.1\r\nhost: shop.test\r\nauthorization: Bearer good\r\ncookie: s=1\r\nx-tenant: t\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\ntrailer: x-end\r\n\r\n";
    stream
        .write_all(format!("{head}3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-end: z\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("abcdefg") && answer.contains("x-end: z"),
        "{answer}"
    );
    let asked = doorman.asked().remove(0);
    assert!(asked.starts_with("POST /check/a?b=c\n") && asked.contains("host: shop.test\n"), "{asked}");
    assert!(
        asked.contains("x-tenant: t\n") && asked.contains("x-envoy-auth-partial-body: true\n"),
        "{asked}"
    );
    assert!(!asked.contains("cookie") && asked.ends_with("\n\nabcd"), "{asked}");
    // A browser that is nobody is sent to sign in; a program is not.
    let browser = with(tutti.edge, "/x?y=z", &[("accept", "text/html")]).await;
    assert_eq!(browser.status(), 302);
    assert_eq!(browser.headers()["location"], "/login?rd=http%3A%2F%2Fshop.test%2Fx%3Fy%3Dz");
    assert_eq!(with(tutti.edge, "/", &[]).await.status(), 401);
}

#[tokio::test]
async fn without_a_decision_nobody_is_let_in_unless_the_route_says_so() {
    let (web, doorman) = (echo().await, Doorman::start().await);
    let (silent, _task) = raw_upstream(|_stream| std::future::pending()).await;
    let short = |external| External { timeout: Duration::from_millis(100), ..external };
    let closed = guarded(short(at("/")));
    let open = External { unavailable: Unavailable::Open, ..short(at("/")) };
    let open = Route { name: "open".into(), hosts: vec!["open.test".into()], ..guarded(open) };
    let broken = [("authorization", "Bearer broken"), ("x-auth-user", "admin")];
    for auth in [doorman.upstream.addr, silent, nobody().await] {
        let instances = vec![passing("web", 0, web.addr), passing("auth", 0, auth)];
        let options = tutti_proxy::Options { ready_wait: Duration::from_millis(50), ..options() };
        let tutti = Tutti::start(options, vec![closed.clone(), open.clone()], instances).await;
        let refused = with(tutti.edge, "/", &broken).await;
        assert_eq!(code(&refused), (503, "TUT0546".into()));
        assert!(!String::from_utf8_lossy(refused.body()).contains("inside"));
        let passed = with(tutti.edge, "/", &[("host", "open.test"), broken[0], broken[1]]).await;
        assert!(passed.status() == 200 && !text(&passed).contains("admin"), "{}", text(&passed));
        let mut page = tutti_core::metrics::Page::default();
        tutti.handle.metrics(&mut page);
        let page = page.finish();
        for result in ["refused_unasked", "passed_unasked"] {
            let line = format!("tutti_proxy_external_auth_total{{service=\"auth\",result=\"{result}\"}} 1");
            assert!(page.contains(&line), "{page}");
        }
    }
}

#[tokio::test]
async fn a_question_that_comes_back_is_refused() {
    let web = echo().await;
    // The authorization service leads to the very route that asks it.
    let place = free();
    let catalog_place = vec![passing("web", 0, web.addr), passing("auth", 0, place)];
    let serve = routing::Serve::http(vec![guarded(external(ExternalAsk::Prefix(String::new())))]);
    let listeners = vec![listener("edge", place, serve)];
    let routing = routing::Routing { listeners, ..routing::Routing::default() };
    let tutti = Tutti::applying(options(), routing, catalog_place, None).await;
    let answer = with(tutti.edge, "/", &[("authorization", "Bearer good")]).await;
    assert_eq!(code(&answer), (503, "TUT0546".into()));
    assert_eq!(
        code(&with(tutti.edge, "/", &[("x-tutti-external-auth", "1")]).await),
        (508, "TUT0547".into())
    );
}

#[tokio::test]
async fn a_permission_is_remembered_for_those_who_bring_the_same() {
    let (web, doorman) = (echo().await, Doorman::start().await);
    let cached = External {
        headers: Some(vec!["x-tenant".into()]),
        cache: Some(ExternalCache {
            ttl: Duration::from_secs(60),
            key: vec![CachePart::Method, CachePart::Host, CachePart::Address],
        }),
        ..at("/")
    };
    let instances = vec![passing("web", 0, web.addr), passing("auth", 0, doorman.upstream.addr)];
    let tutti = Tutti::start(options(), vec![guarded(cached)], instances).await;
    let (good, other) = (("authorization", "Bearer good"), ("authorization", "Bearer other"));
    for path in ["/a", "/b?c", "/a"] {
        assert!(text(&with(tutti.edge, path, &[good]).await).contains("x-auth-user: good"));
    }
    assert_eq!(doorman.asked().len(), 1);
    assert!(text(&with(tutti.edge, "/a", &[other]).await).contains("x-auth-user: other"));
    assert!(text(&with(tutti.edge, "/a", &[good, ("x-tenant", "t")]).await).contains("x-auth-user: good"));
    assert_eq!(doorman.asked().len(), 2);
    // What is for one client alone, and what is no permission, is not remembered.
    for _ in 0..2 {
        assert_eq!(with(tutti.edge, "/", &[]).await.status(), 401);
        with(tutti.edge, "/", &[("authorization", "Bearer cookie")]).await;
    }
    assert_eq!(doorman.asked().len(), 4);
}

// The messages again, by the numbers of Envoy's API, so that a mistake in ours would be seen.

#[derive(Clone, PartialEq, Message)]
struct Check {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
    #[prost(map = "string, string", tag = "10")]
    context: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Place>,
}

#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(message, optional, tag = "1")]
    socket: Option<Socket>,
}

#[derive(Clone, PartialEq, Message)]
struct Socket {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, Message)]
struct Http {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(bytes = "vec", tag = "12")]
    raw_body: Vec<u8>,
}

/// A field on the wire: tag and bytes.
fn part(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// `HeaderValueOption`; with `append` if it is said.
fn option(name: &str, value: &str, append: Option<bool>) -> Vec<u8> {
    let header = [part(1, name.as_bytes()), part(2, value.as_bytes())].concat();
    let append = append.map(|append| part(2, if append { &[8, 1] } else { &[] })).unwrap_or_default();
    [part(1, &header), append].concat()
}

fn grpc(message: &[u8]) -> Response<Body> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend_from_slice(message);
    let (mut sender, body) = Body::channel(2);
    tokio::spawn(async move {
        let _ = sender.send(framed.freeze()).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let _ = sender.finish_with(trailers).await;
    });
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// What the service of gRPC says of a path.
fn decision(path: &str) -> Response<Body> {
    let status = |code: u8| part(1, &[8, code]);
    match path {
        "/ok?secret=1&keep=2" => {
            let parameter = [part(1, b"user"), part(2, b"a b")].concat();
            let ok = [
                part(2, &option("X-Auth-User", "ann", None)),
                part(2, &option("x-list", "more", Some(true))),
                part(2, &option(":path", "/evil", None)),
                part(2, &option("host", "evil", None)),
                part(5, b"authorization"),
                part(5, b"host"),
                part(6, &option("x-answer", "yes", None)),
                part(7, &parameter),
                part(8, b"secret"),
            ];
            grpc(&[status(0), part(3, &ok.concat())].concat())
        }
        "/denied" => {
            let denied = [
                part(1, &[8, 0xad, 0x02]), // 301
                part(2, &option("location", "https://login.test/", None)),
                part(3, b"elsewhere"),
            ];
            grpc(&[status(7), part(2, &denied.concat())].concat())
        }
        "/plain" => grpc(&status(16)),
        "/contradiction" => grpc(&[status(0), part(2, &part(3, b"no"))].concat()),
        "/nothing" => grpc(&[]),
        "/garbage" => grpc(&[0xff, 0xff]),
        "/failed" => Response::builder().header("grpc-status", "13").body(Body::empty()).unwrap(),
        _ => Response::builder().status(404).body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn a_service_of_grpc_decides() {
    let asked = Arc::<Mutex<Vec<(HeaderMap, Attributes)>>>::default();
    let seen = Arc::clone(&asked);
    let auth = upstream(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move {
            assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
            let headers = request.headers().clone();
            let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
            let attributes = Check::decode(&body[5..]).unwrap().attributes.unwrap();
            let path = attributes.request.as_ref().unwrap().http.as_ref().unwrap().path.clone();
            seen.lock().unwrap().push((headers, attributes));
            decision(&path)
        }
    })
    .await;
    let web = echo().await;
    let context = BTreeMap::from([("shop".to_owned(), "one".to_owned())]);
    let external = External {
        body: Some(ExternalBody { max_bytes: 1024, partial: false, raw: true }),
        ..external(ExternalAsk::Grpc(context))
    };
    let instances = vec![passing("web", 0, web.addr), passing("auth", 0, auth.addr)];
    let tutti = Tutti::start(options(), vec![guarded(external)], instances).await;
    let request = Request::post("/ok?secret=1&keep=2").header("host", "shop.test");
    let request =
        request.header("authorization", "Bearer x").header("x-list", "one").header("x-auth-user", "evil");
    let answer = send(tutti.edge, request.body(Body::from("abc")).unwrap()).await;
    let told = text(&answer);
    assert!(told.starts_with("POST /ok?keep=2&user=a%20b\n") && told.contains("host: shop.test\n"), "{told}");
    assert!(told.contains("x-auth-user: ann\n") && told.contains("x-list: one\nx-list: more\n"), "{told}");
    assert!(!told.contains("Bearer") && !told.contains("evil") && told.ends_with("\nabc"), "{told}");
    assert_eq!(answer.headers()["x-answer"], "yes");
    let (headers, attributes) = asked.lock().unwrap().remove(0);
    assert_eq!(
        (&headers["content-type"], &headers["te"]),
        (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
    );
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!(
        (&*http.method, &*http.host, http.size, &*http.protocol),
        ("POST", "shop.test", 3, "HTTP/1.1")
    );
    assert_eq!(
        (&*http.headers["authorization"], &*http.headers[":path"]),
        ("Bearer x", "/ok?secret=1&keep=2")
    );
    assert_eq!((&http.raw_body[..], &*attributes.context["shop"]), (&b"abc"[..], "one"));
    assert!(!http.headers.contains_key("x-auth-user"));
    let socket = |peer: Option<Peer>| peer.unwrap().address.unwrap().socket.unwrap();
    assert_eq!(socket(attributes.destination).port, u32::from(tutti.edge.port()));
    let source = socket(attributes.source);
    assert!(source.address == "127.0.0.1" && source.port > 0);

    let denied = get(tutti.edge, "/denied").await;
    assert_eq!((denied.status().as_u16(), text(&denied)), (301, "elsewhere"));
    assert_eq!(denied.headers()["location"], "https://login.test/");
    assert_eq!(code(&get(tutti.edge, "/plain").await), (403, "TUT0545".into()));
    assert_eq!(get(tutti.edge, "/contradiction").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(get(tutti.edge, "/nothing").await.status(), 200);
    for path in ["/garbage", "/failed", "/else"] {
        assert_eq!(code(&get(tutti.edge, path).await), (503, "TUT0546".into()), "{path}");
    }
    let long = Request::post("/ok").header("host", "shop.test").body(Body::from(vec![b'x'; 2000])).unwrap();
    assert_eq!(code(&send(tutti.edge, long).await), (413, "TUT0555".into()));
}

#[tokio::test]
async fn another_instance_is_asked_when_one_is_gone() {
    let (web, doorman) = (echo().await, Doorman::start().await);
    let instances = vec![
        passing("web", 0, web.addr),
        passing("auth", 0, nobody().await),
        passing("auth", 1, doorman.upstream.addr),
    ];
    let tutti = Tutti::start(options(), vec![guarded(at("/"))], instances).await;
    let passed = Arc::<AtomicUsize>::default();
    for _ in 0..20 {
        if with(tutti.edge, "/", &[("authorization", "Bearer good")]).await.status() == 200 {
            passed.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(passed.load(Ordering::Relaxed), 20);
}
