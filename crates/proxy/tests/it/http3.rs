//! HTTP/3 at the edge, spoken by a client that others wrote (the crates h3 and quinn).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response};
use tokio::sync::watch;
use tutti_net::Body;
use tutti_ports::certificates::Certificates;
use tutti_ports::routing::{ClientAuth, Content, Http3, RequestLimits, Route, Routing, Serve, Tls};

use crate::harness::*;
use crate::tls::{Authority, Shelf, ask, over, secure, trusting};

/// HTTPS with HTTP/3 beside it.
fn beside(http3: Option<Http3>, routes: Vec<Route>) -> Routing {
    let mut routing = secure(Tls::default(), Serve::http(routes));
    routing.listeners[0].transport.http3 = http3;
    routing
}

/// The edge, with a certificate for `shop.test`.
async fn start(authority: &Authority, routing: Routing, upstream: SocketAddr) -> Tutti {
    let shelf = Arc::new(Shelf::default());
    shelf.put("shop.test", authority.identity(&["shop.test"], 1));
    let certificates = Some(shelf as Arc<dyn Certificates>);
    Tutti::applying(options(), routing, vec![passing("a", 1, upstream)], certificates).await
}

struct Client {
    endpoint: quinn::Endpoint,
    quic: quinn::Connection,
    send: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    _driver: tokio::task::JoinHandle<()>,
}

fn endpoint(authority: &Authority) -> quinn::Endpoint {
    use quinn::rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = quinn::rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority.pem).unwrap()).unwrap();
    let provider = Arc::new(quinn::rustls::crypto::aws_lc_rs::default_provider());
    let config = quinn::rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&quinn::rustls::version::TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut endpoint = quinn::Endpoint::client(loopback()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    endpoint
}

impl Client {
    async fn connect(endpoint: quinn::Endpoint, edge: SocketAddr) -> anyhow::Result<Self> {
        let quic = endpoint.connect(edge, "shop.test").unwrap().await?;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        let driving = tokio::spawn(async move {
            let _ = driver.wait_idle().await;
        });
        Ok(Self { endpoint, quic, send, _driver: driving })
    }

    async fn ask(
        &mut self,
        request: Request<()>,
        body: &[Bytes],
        trailers: Option<HeaderMap>,
    ) -> Result<(Response<Bytes>, Option<HeaderMap>), h3::error::StreamError> {
        let stream = self.send.send_request(request).await?;
        let (mut send, mut recv) = stream.split();
        let sending = async {
            for piece in body {
                send.send_data(piece.clone()).await?;
            }
            if let Some(trailers) = trailers {
                send.send_trailers(trailers).await?;
            }
            send.finish().await
        };
        let receiving = async {
            let (parts, ()) = recv.recv_response().await?.into_parts();
            let mut got = Vec::new();
            while let Some(mut piece) = recv.recv_data().await? {
                got.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
            let trailers = recv.recv_trailers().await?;
            Ok((Response::from_parts(parts, got.into()), trailers))
        };
        let (sent, received) = tokio::join!(sending, receiving);
        let received = received?;
        sent.map(|()| received)
    }

    async fn get(&mut self, path: &str) -> Response<Bytes> {
        self.ask(request("GET", path), &[], None).await.unwrap().0
    }
}

#[tokio::test]
async fn the_next_process_listens_when_the_old_one_has_left() {
    let authority = Authority::new();
    let routing = || beside(Some(Http3::default()), vec![to("a")]);
    let old = start(&authority, routing(), named("old").await.addr).await;
    let given = old.handle.front().await.unwrap();
    let shelf = Arc::new(Shelf::default());
    shelf.put("shop.test", authority.identity(&["shop.test"], 1));
    let catalog = Catalog::new(vec![passing("a", 1, named("new").await.addr)]);
    let taken = tutti_proxy::Proxy::take_over(options(), routing(), catalog, Some(shelf), given).await;
    let (_proxy, handle) = taken.unwrap();
    assert!(!handle.bind_http3().await, "two read from one socket");
    let mut client = Client::connect(endpoint(&authority), old.edge).await.unwrap();
    assert_eq!(text(&client.get("/").await), "old");
    let edge = old.edge;
    old.proxy.shutdown().await;
    handle.open_gates();
    assert!(handle.bind_http3().await);
    let mut client = Client::connect(endpoint(&authority), edge).await.unwrap();
    assert_eq!(text(&client.get("/").await), "new");
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://shop.test{path}")).body(()).unwrap()
}

#[tokio::test]
async fn requests_take_the_same_way() {
    let echo = echo().await;
    let authority = Authority::new();
    let tutti = start(&authority, beside(Some(Http3::default()), vec![to("a")]), echo.addr).await;
    let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    let mut asked = request("POST", "/a/../b?c=d");
    asked.headers_mut().append("cookie", "a=1".parse().unwrap());
    asked.headers_mut().append("cookie", "b=2".parse().unwrap());
    asked.headers_mut().insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let body: Vec<Bytes> = vec![vec![b'y'; 64 << 10].into(); 8];
    let (answer, _) = client.ask(asked, &body, None).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = text(&answer);
    for line in [
        "POST /b?c=d",
        "host: shop.test",
        "cookie: a=1; b=2",
        "x-forwarded-proto: https",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(seen.contains(line), "{line}: {}", &seen[..seen.len().min(2_000)]);
    }
    assert!(!seen.contains("6.6.6.6"));
    // Where it is found is told over every version.
    let here = format!("h3=\":{}\"; ma=86400", tutti.edge.port());
    assert_eq!(answer.headers()["alt-svc"], here.as_str());
    for alpn in ["h2", "http/1.1"] {
        let answer = over(&trusting(&authority, "shop.test", &[alpn]), tutti.edge, ask("shop.test")).await;
        assert_eq!(answer.unwrap().headers()["alt-svc"], here.as_str());
    }
    // A host that the certificate is not for.
    let misdirected = Request::get("https://bank.test/").body(()).unwrap();
    assert_eq!(client.ask(misdirected, &[], None).await.unwrap().0.status(), 421);
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    assert!(page.contains("tutti_proxy_tls_handshakes_total{listener=\"edge\",result=\"quic\"} 1"), "{page}");
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways_and_many_at_a_time() {
    let upstream = upstream(|request: Request<Body>| async move {
        let (sender, body) = Body::channel(4);
        tokio::spawn(async move {
            let mut sender = sender;
            let mut request = request.into_body();
            while let Some(Ok(frame)) = request.frame().await {
                match frame.into_data() {
                    Ok(data) => {
                        if sender.send(data).await.is_err() {
                            return;
                        }
                    }
                    Err(frame) => {
                        let _ = sender.finish_with(frame.into_trailers().unwrap()).await;
                        return;
                    }
                }
            }
            let _ = sender.finish().await;
        });
        Response::new(body)
    })
    .await;
    let authority = Authority::new();
    let tutti = start(&authority, beside(Some(Http3::default()), vec![to("a")]), upstream.addr).await;
    let client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    let lanes = (0..32_u8).map(|lane| {
        let (endpoint, quic, send) = (client.endpoint.clone(), client.quic.clone(), client.send.clone());
        tokio::spawn(async move {
            let mut client = Client { endpoint, quic, send, _driver: tokio::spawn(async {}) };
            let body = vec![Bytes::from(vec![lane; 100_000]); 4];
            let trailers =
                HeaderMap::from_iter([("x-sum".parse().unwrap(), lane.to_string().parse().unwrap())]);
            client.ask(request("POST", "/"), &body, Some(trailers)).await.unwrap()
        })
    });
    let lanes: Vec<_> = lanes.collect();
    for (lane, done) in lanes.into_iter().enumerate() {
        let (answer, trailers) = done.await.unwrap();
        assert_eq!(answer.body().len(), 400_000);
        assert!(answer.body().iter().all(|octet| usize::from(*octet) == lane));
        assert_eq!(trailers.unwrap()["x-sum"], lane.to_string().as_str());
    }
}

#[tokio::test]
async fn policies_count_here_too() {
    let named = named("hello").await;
    let authority = Authority::new();
    let request_limits = RequestLimits { body: Some(1_000), ..RequestLimits::default() };
    let content = Content { request: request_limits, ..Content::default() };
    let routes = vec![Route { content: content.into(), ..to("a") }];
    let tutti = start(&authority, beside(Some(Http3::default()), routes), named.addr).await;
    let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    let body = [Bytes::from(vec![0; 600])];
    assert_eq!(client.ask(request("POST", "/"), &body, None).await.unwrap().0.status(), 200);
    let large = client.ask(request("POST", "/"), &[body[0].clone(), body[0].clone()], None).await;
    assert_eq!(large.unwrap().0.status(), 413);
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn it_is_switched_on_and_off_without_a_failed_request() {
    let (go, wait) = watch::channel(false);
    let upstream = upstream(move |request: Request<Body>| {
        let mut wait = wait.clone();
        async move {
            if request.uri().path() == "/slow" {
                wait.wait_for(|go| *go).await.unwrap();
            }
            Response::new(Body::from("hello"))
        }
    })
    .await;
    let authority = Authority::new();
    let on = beside(Some(Http3::default()), vec![to("a")]);
    let tutti = start(&authority, beside(None, vec![to("a")]), upstream.addr).await;
    let tcp = trusting(&authority, "shop.test", &["h2"]);
    let alt_svc = async || {
        let answer = over(&tcp, tutti.edge, ask("shop.test")).await.unwrap();
        answer.headers().get("alt-svc").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(alt_svc().await, None);
    tutti.handle.apply(on.clone()).await.unwrap();
    assert!(alt_svc().await.unwrap().starts_with("h3="));
    let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    assert_eq!(text(&client.get("/").await), "hello");
    // Other routes, and another certificate of the same listener: the connection stays.
    let told =
        Http3 { advertised_port: Some(443), max_age: std::time::Duration::from_secs(60), ..Http3::default() };
    tutti.handle.apply(beside(Some(told), vec![to("a"), to("a")])).await.unwrap();
    assert_eq!(client.get("/").await.headers()["alt-svc"], "h3=\":443\"; ma=60");
    // Switched off while a request is under way, which comes to its end.
    let mut sender = client.send.clone();
    let slow = tokio::spawn(async move {
        let mut stream = sender.send_request(request("GET", "/slow")).await.unwrap();
        stream.finish().await.unwrap();
        let status = stream.recv_response().await.unwrap().status();
        let mut body = Vec::new();
        while let Some(mut piece) = stream.recv_data().await.unwrap() {
            body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        (status, body)
    });
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    tutti.handle.apply(beside(None, vec![to("a")])).await.unwrap();
    assert_eq!(alt_svc().await.as_deref(), Some("clear"));
    assert!(Client::connect(endpoint(&authority), tutti.edge).await.is_err());
    go.send(true).unwrap();
    let (status, body) = slow.await.unwrap();
    assert_eq!((status.as_u16(), &body[..]), (200, &b"hello"[..]));
    // And on again, at the same port, at once.
    tutti.handle.apply(on).await.unwrap();
    let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    assert_eq!(text(&client.get("/").await), "hello");
    let off = Http3 { on: false, ..Http3::default() };
    tutti.handle.apply(beside(Some(off), vec![to("a")])).await.unwrap();
    assert_eq!(alt_svc().await.as_deref(), Some("clear"));
}

#[tokio::test]
async fn clients_prove_who_they_are() {
    let named = named("hello").await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let mut routing = beside(Some(Http3::default()), vec![to("a")]);
    let tutti = start(&authority, routing.clone(), named.addr).await;
    let mut before = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    assert_eq!(before.get("/").await.status(), 200);
    routing.listeners[0].transport.tls.as_mut().unwrap().client_auth =
        Some(ClientAuth { ca, required: true });
    tutti.handle.apply(routing).await.unwrap();
    // The client's side is done before the server has looked at the certificate that it does not show.
    match Client::connect(before.endpoint.clone(), tutti.edge).await {
        Err(_) => {}
        Ok(mut client) => assert!(client.ask(request("GET", "/"), &[], None).await.is_err()),
    }
    // Nothing resumes past it either, and who is connected already stays.
    assert_eq!(before.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_port_that_is_taken_changes_nothing() {
    let named = named("hello").await;
    let authority = Authority::new();
    let tutti = start(&authority, beside(None, vec![to("a")]), named.addr).await;
    let on = beside(Some(Http3::default()), vec![to("a")]);
    // If that fails, somebody else has it, which does as well.
    let taken = std::net::UdpSocket::bind(tutti.edge);
    let error = tutti.handle.apply(on.clone()).await.unwrap_err();
    assert_eq!(tutti_core::Classify::code(&error).unwrap().to_string(), "TUT0578", "{error}");
    let tcp = trusting(&authority, "shop.test", &["h2"]);
    let answer = over(&tcp, tutti.edge, ask("shop.test")).await.unwrap();
    assert_eq!(answer.headers().get("alt-svc"), None);
    if taken.is_ok() {
        drop(taken);
        tutti.handle.apply(on).await.unwrap();
        let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
        assert_eq!(text(&client.get("/").await), "hello");
    }
}

#[tokio::test]
async fn the_end_of_the_proxy_waits_for_requests() {
    let (go, wait) = watch::channel(false);
    let upstream = upstream(move |_| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            Response::new(Body::from("done"))
        }
    })
    .await;
    let authority = Authority::new();
    let tutti = start(&authority, beside(Some(Http3::default()), vec![to("a")]), upstream.addr).await;
    let mut client = Client::connect(endpoint(&authority), tutti.edge).await.unwrap();
    let asked = tokio::spawn(async move { client.get("/").await });
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    let ending = tokio::spawn(tutti.proxy.shutdown());
    tokio::task::yield_now().await;
    go.send(true).unwrap();
    assert_eq!(text(&asked.await.unwrap()), "done");
    ending.await.unwrap();
}
