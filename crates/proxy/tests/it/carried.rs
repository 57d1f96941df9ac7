//! What carries connections to services: the PROXY protocol, TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tutti_core::ServiceName;
use tutti_net::carry::Carries;
use tutti_net::proxy_protocol::{self, Header};
use tutti_net::server::Settings;
use tutti_net::tls::server::{ClientAuth, Keys, Options as ServerOptions, Server, Tickets};
use tutti_net::tls::{Key, Version};
use tutti_net::{Addr, Body, ConnectionInfo, Drainer, Handler, ListenOptions, Listener, Stream, serve};
use tutti_ports::catalog::{AppProtocol, Health};
use tutti_ports::door::Door as _;
use tutti_ports::routing::{
    CertificateFiles, CheckCarriage, ProxyVersion, Routing, Serve, TlsVersion, Upstream as Called,
    UpstreamTls,
};
use tutti_proxy::Options;

use crate::harness::*;
use crate::tls::Authority;

/// A server of TLS that answers with what it sees of the connection.
struct Telling {
    transport: Arc<tutti_net::Transport>,
}

impl Handler for Telling {
    async fn handle(&self, request: Request<Body>, connection: &ConnectionInfo) -> Response<Body> {
        let tls = connection.tls.as_ref().unwrap();
        let client = tls.client.as_ref().map_or("-", |client| client.names.first().map_or("?", |name| name));
        let text = format!(
            "{} sni={} h2={} resumed={} client={client} serial={} for={}",
            request.uri().path(),
            tls.sni.as_deref().unwrap_or("-"),
            tls.h2,
            tls.resumed,
            connection.serial,
            connection.peer,
        );
        let (body, _) = request.into_body().collect(1 << 20).await.unwrap();
        Response::new(Body::from(format!("{text} body={}", body.len())))
    }

    fn transport(&self) -> Option<Arc<tutti_net::Transport>> {
        Some(Arc::clone(&self.transport))
    }
}

/// Shows the one certificate.
struct One(Mutex<Arc<Key>>);

impl Keys for One {
    fn current(&self, _: Option<&str>) -> Option<Arc<Key>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
    fn obtain<'a>(
        &'a self,
        _: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>> {
        Box::pin(async { None })
    }
    fn challenge(&self, _: &str) -> Option<Arc<Key>> {
        None
    }
}

fn key(files: &CertificateFiles) -> Arc<Key> {
    let read = |path: &Path| std::fs::read(path).unwrap();
    Arc::new(Key::from_pem(&read(&files.cert), &read(&files.key), None).unwrap())
}

struct Secure {
    addr: SocketAddr,
    keys: Arc<One>,
    _drainer: Drainer,
}

fn server(files: &CertificateFiles, options: &ServerOptions, proxied: bool) -> Secure {
    let keys = Arc::new(One(Mutex::new(key(files))));
    let tls = Server::new(Arc::clone(&keys) as Arc<dyn Keys>, options, &Tickets::new().unwrap()).unwrap();
    let proxies = proxied.then(|| tutti_net::transport::Proxies { are: Box::new(|_| true), required: true });
    let transport = tutti_net::Transport { tls: Some(Arc::new(tls)), proxies, ..Default::default() };
    let listener = Listener::bind(&Addr::Tcp(loopback()), &ListenOptions::default()).unwrap();
    let addr = listener.socket_addr().unwrap();
    let (drainer, signal) = Drainer::new();
    let handler = Arc::new(Telling { transport: Arc::new(transport) });
    tokio::spawn(serve(listener, handler, Settings::named("secure"), signal));
    Secure { addr, keys, _drainer: drainer }
}

fn tls_to(ca: Option<&Path>, name: &str) -> UpstreamTls {
    UpstreamTls {
        ca: ca.map(Path::to_owned),
        server_name: name.to_owned(),
        certificate: None,
        min_version: TlsVersion::Tls12,
        insecure_skip_verify: false,
    }
}

fn calling(serve: Serve, called: Called) -> Routing {
    let upstreams = [(ServiceName::new("a").unwrap(), called)].into_iter().collect();
    Routing { upstreams, ..routing(serve) }
}

async fn start(called: Called, protocol: AppProtocol, addr: SocketAddr) -> Tutti {
    let one_worker = Options { workers: 1, ..options() };
    let instances = vec![speaking(protocol, "a", 1, addr, Health::Passing)];
    Tutti::applying(one_worker, calling(Serve::http(vec![to("a")]), called), instances, None).await
}

fn secured(tls: UpstreamTls) -> Called {
    Called { tls: Some(tls), ..Called::default() }
}

struct Lab {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Lab {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        Self { folder, authority }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate in a folder of its own.
    fn files(&self, place: &str, names: &[&str]) -> CertificateFiles {
        let place = self.folder.path().join(place);
        std::fs::create_dir_all(&place).unwrap();
        self.authority.files(&place, names)
    }
}

#[tokio::test]
async fn http_of_both_versions_goes_over_tls_and_sessions_are_resumed() {
    let lab = Lab::new();
    let server = server(&lab.files("a", &["a.internal"]), &ServerOptions::default(), false);
    for (protocol, h2) in [(AppProtocol::Http, false), (AppProtocol::H2c, true)] {
        let tutti = start(secured(tls_to(Some(&lab.ca()), "a.internal")), protocol, server.addr).await;
        let first = get(tutti.edge, "/x").await;
        assert_eq!(first.status(), 200, "{first:?}");
        assert!(text(&first).starts_with(&format!("/x sni=a.internal h2={h2} resumed=false")), "{first:?}");
        // The connection is kept.
        assert!(text(&get(tutti.edge, "/y").await).contains("resumed=false"));
        let body = Request::put("/up").header("host", "h").body(Body::full(vec![b'x'; 300_000])).unwrap();
        assert!(text(&send(tutti.edge, body).await).ends_with("body=300000"));
    }
    // A new connection resumes the session of the one before.
    let tutti = start(secured(tls_to(Some(&lab.ca()), "a.internal")), AppProtocol::Http, server.addr).await;
    let (one, two) = tokio::join!(get(tutti.edge, "/x"), get(tutti.edge, "/x"));
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    let all: Vec<_> = futures(&tutti, 4).await;
    assert!(all.iter().any(|text| text.contains("resumed=true")), "{all:?}");
}

/// The answers to requests that are made at the same time.
async fn futures(tutti: &Tutti, count: usize) -> Vec<String> {
    let edge = tutti.edge;
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        set.spawn(async move { text(&get(edge, "/x").await).to_owned() });
    }
    set.join_all().await
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let lab = Lab::new();
    let stranger = Authority::new();
    let other = lab.folder.path().join("other.pem");
    std::fs::write(&other, &stranger.pem).unwrap();
    let good = server(&lab.files("a", &["a.internal"]), &ServerOptions::default(), false);
    let plain = named("plain").await;
    let modern = ServerOptions { alpn: vec![b"http/1.1".to_vec()], ..ServerOptions::default() };
    let http1_only = server(&lab.files("b", &["a.internal"]), &modern, false);
    for (tls, protocol, addr, why) in [
        (tls_to(Some(&other), "a.internal"), AppProtocol::Http, good.addr, "authority that is not trusted"),
        (tls_to(Some(&lab.ca()), "b.internal"), AppProtocol::Http, good.addr, "not for the name"),
        (tls_to(Some(&lab.ca()), "a.internal"), AppProtocol::Http, plain.addr, "does not speak TLS"),
        (tls_to(Some(&lab.ca()), "a.internal"), AppProtocol::H2c, http1_only.addr, "ALPN"),
    ] {
        let tutti = start(secured(tls), protocol, addr).await;
        let answer = get(tutti.edge, "/").await;
        let told = fault(&answer);
        assert_eq!((answer.status().as_u16(), &told["code"]), (502, &"TUT0574".into()), "{why}: {told}");
        assert_eq!(told["origin"], "upstream");
        assert!(told["message"].as_str().unwrap().contains(why), "{why}: {told}");
    }
    // Whoever insists gets it all the same.
    let insecure = UpstreamTls { insecure_skip_verify: true, ..tls_to(None, "b.internal") };
    let tutti = start(secured(insecure), AppProtocol::Http, good.addr).await;
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
    // What cannot be set up is refused as a whole, and what was there stays.
    let gone = secured(tls_to(Some(Path::new("/nonexistent/ca.pem")), "a"));
    let refused = tutti.handle.apply(calling(Serve::http(vec![to("a")]), gone)).await.unwrap_err();
    assert!(tutti_core::error::chain(&refused).contains("/nonexistent/ca.pem"), "{refused}");
    assert_eq!(get(tutti.edge, "/").await.status(), 200);
}

#[tokio::test]
async fn we_show_a_certificate_where_it_is_asked_for_and_files_are_read_again() {
    let lab = Lab::new();
    let required = ServerOptions {
        client_auth: ClientAuth::Required(lab.authority.pem.clone()),
        oldest: Version::Tls13,
        ..ServerOptions::default()
    };
    let server = server(&lab.files("a", &["a.internal"]), &required, false);
    let certificate = Some(lab.files("own", &["tutti.internal"]));
    let tls = UpstreamTls { certificate, ..tls_to(Some(&lab.ca()), "a.internal") };
    let hasty = Options { workers: 1, certificate_look: std::time::Duration::from_millis(10), ..options() };
    let instances = vec![passing("a", 1, server.addr)];
    let routing = calling(Serve::http(vec![to("a")]), secured(tls.clone()));
    let tutti = Tutti::applying(hasty, routing, instances, None).await;
    let asked = || async {
        let request = Request::get("/").header("host", "h").body(Body::empty()).unwrap();
        text(&send(tutti.edge, request).await).to_owned()
    };
    assert!(asked().await.contains("client=DNS:tutti.internal"));
    // Another certificate of ours; connections that are made from now on show it.
    lab.files("own", &["renewed.internal"]);
    // More at a time each round, since connections that are there are used first.
    for at_a_time in (8..256).step_by(8).cycle() {
        let all = futures(&tutti, at_a_time).await;
        if all.iter().any(|text| text.contains("client=DNS:renewed.internal")) {
            break;
        }
    }
    // Another authority of the service's: its new certificate is believed when the file has it.
    let other = Authority::new();
    let place = lab.folder.path().join("next");
    std::fs::create_dir_all(&place).unwrap();
    *server.keys.0.lock().unwrap() = key(&other.files(&place, &["a.internal"]));
    let both = [&lab.authority.pem[..], &other.pem].concat();
    std::fs::write(lab.folder.path().join("new.pem"), both).unwrap();
    std::fs::rename(lab.folder.path().join("new.pem"), lab.ca()).unwrap();
    // Without a certificate of ours nothing is answered.
    let bare = secured(UpstreamTls { certificate: None, ..tls });
    tutti.handle.apply(calling(Serve::http(vec![to("a")]), bare)).await.unwrap();
    let answer = get(tutti.edge, "/").await;
    assert_eq!(answer.status(), 502, "{answer:?}");
}

/// A server that reads a header of the PROXY protocol, and answers each request with it and the number of its connection.
async fn reading() -> SocketAddr {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (addr, _) = raw_upstream(move |mut stream: Stream| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let mut seen = Vec::new();
            let header = loop {
                let Ok(byte) = stream.read_u8().await else { return };
                seen.push(byte);
                if let Some((header, _)) = proxy_protocol::read(&seen).unwrap() {
                    break header;
                }
            };
            let told = match header {
                Header::Own => "own".to_owned(),
                Header::For { from, to, .. } => format!("{from} to {to}"),
            };
            let answer = format!("{number} {told}");
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    addr
}

/// Asks on a connection that stays open.
async fn ask(stream: &mut Stream, more: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: h\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(stream, "\r\n\r\n").await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn no_two_clients_share_a_connection_that_says_whom_it_is_for() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let addr = reading().await;
        let called = Called { proxy_protocol: Some(version), ..Called::default() };
        let mut wanted = calling(Serve::http(vec![to("a")]), called);
        wanted.listeners[0].transport.trusted_proxies.ranges = vec!["127.0.0.1".parse().unwrap()];
        let one_worker = Options { workers: 1, ..options() };
        let tutti = Tutti::applying(one_worker, wanted, vec![passing("a", 1, addr)], None).await;
        let (mut one, mut two) = (dial(tutti.edge).await, dial(tutti.edge).await);
        let told = |number: usize, stream: &Stream| {
            format!("{number} {} to {}", stream.local_addr().unwrap(), tutti.edge)
        };
        // Each has its own, and keeps it.
        for _ in 0..3 {
            assert_eq!(ask(&mut one, "").await, told(0, &one));
            assert_eq!(ask(&mut two, "").await, told(1, &two));
        }
        // A client that a proxy in front speaks for is not the one that has connected.
        let through = ask(&mut one, "x-forwarded-for: 203.0.113.9\r\n").await;
        assert_eq!(through, format!("2 203.0.113.9:0 to {}", tutti.edge));
        assert_eq!(ask(&mut one, "").await, told(0, &one));
    }
}

#[tokio::test]
async fn a_tcp_route_tells_the_client_too_and_tls_comes_after() {
    let (addr, _task) = raw_upstream(|mut stream| async move {
        let line = read_until(&mut stream, "\r\n").await;
        stream.write_all(line.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let called = Called { proxy_protocol: Some(ProxyVersion::V1), ..Called::default() };
    let wanted = calling(Serve::Tcp(backend("a")), called);
    let tutti = Tutti::applying(options(), wanted, vec![passing("a", 1, addr)], None).await;
    let mut stream = dial(tutti.edge).await;
    let (own, edge) = (stream.local_addr().unwrap().socket_addr().unwrap(), tutti.edge);
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), edge.port());
    assert_eq!(read_until(&mut stream, "\r\n").await, expected);

    let lab = Lab::new();
    let server = server(&lab.files("a", &["a.internal"]), &ServerOptions::default(), true);
    let both = Called {
        proxy_protocol: Some(ProxyVersion::V2),
        tls: Some(tls_to(Some(&lab.ca()), "a.internal")),
        ..Called::default()
    };
    for protocol in [AppProtocol::Http, AppProtocol::H2c] {
        let tutti = start(both.clone(), protocol, server.addr).await;
        let mut stream = dial(tutti.edge).await;
        let own = stream.local_addr().unwrap();
        let answer = ask(&mut stream, "").await;
        assert!(answer.contains(&format!("for={own} ")), "{answer}");
    }
}

#[tokio::test]
async fn websockets_and_bytes_go_over_tls() {
    let lab = Lab::new();
    let files = lab.files("a", &["a.internal"]);
    let keys = Arc::new(One(Mutex::new(key(&files))));
    let bare = ServerOptions { alpn: Vec::new(), ..ServerOptions::default() };
    let tls = Server::new(keys as Arc<dyn Keys>, &bare, &Tickets::new().unwrap()).unwrap();
    let tls = Arc::new(tls);
    let (addr, _task) = raw_upstream(move |stream| {
        let tls = Arc::clone(&tls);
        async move {
            let Ok((mut stream, _)) = tls.accept(stream).await else { return };
            let mut first = [0; 5];
            stream.read_exact(&mut first).await.unwrap();
            if first == *b"GET /" {
                read_until(&mut stream, "\r\n\r\n").await;
                let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                              sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.read_exact(&mut first).await.unwrap();
            }
            first.make_ascii_uppercase();
            stream.write_all(&first).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let called = || secured(tls_to(Some(&lab.ca()), "a.internal"));
    let tcp = calling(Serve::Tcp(backend("a")), called());
    let tutti = Tutti::applying(options(), tcp, vec![passing("a", 1, addr)], None).await;
    assert_eq!(raw(tutti.edge, "hello").await, "HELLO");
    let tutti = start(called(), AppProtocol::Http, addr).await;
    let mut stream = dial(tutti.edge).await;
    let hello = "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(hello.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"frame").await.unwrap();
    assert_eq!(read_until(&mut stream, "FRAME").await, "FRAME");
    // Also through a door, to which a peer speaks plainly or TLS of its own.
    let door = tutti.handle.open(&name("a"), 80, AppProtocol::Http).await.unwrap();
    assert_eq!(raw(door, "hello").await, "HELLO");
    let peer = crate::tls::trusting(&lab.authority, "a.internal", &[]);
    let (mut stream, _) = peer.connect(dial(door).await).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_until(&mut stream, "HELLO").await, "HELLO");
}

/// What a check sees of the service: `None` if the connection did not begin.
async fn checked(tutti: &Tutti, carries: Carries, addr: SocketAddr) -> Result<String, String> {
    let stream = Stream::connect(&Addr::Tcp(addr), std::time::Duration::from_secs(5)).await.unwrap();
    let begun = tutti.handle.carriage().check("a", stream, carries).await;
    let begun = begun.map_err(|error| tutti_core::error::chain(&error))?;
    let mut stream = begun.stream;
    let host = begun.server_name.unwrap_or_default();
    let request = Request::get("/health").header("host", format!("{host}:1")).body(Body::empty()).unwrap();
    if carries == Carries::Http2 {
        let (response, _) = tutti_net::client::exchange_h2(stream, request, LIMITS).await.unwrap();
        return Ok(text(&response).to_owned());
    }
    Ok(ask(&mut stream, "connection: close\r\n").await)
}

#[tokio::test]
async fn health_checks_begin_as_requests_do() {
    let lab = Lab::new();
    let required = ServerOptions {
        client_auth: ClientAuth::Required(lab.authority.pem.clone()),
        ..ServerOptions::default()
    };
    let server = server(&lab.files("a", &["a.internal"]), &required, true);
    let certificate = Some(lab.files("own", &["tutti.internal"]));
    let called = Called {
        proxy_protocol: Some(ProxyVersion::V2),
        tls: Some(UpstreamTls { certificate, ..tls_to(Some(&lab.ca()), "a.internal") }),
        ..Called::default()
    };
    let tutti = start(called.clone(), AppProtocol::Http, server.addr).await;
    for (carries, h2) in [(Carries::Http1, false), (Carries::Http2, true)] {
        let seen = checked(&tutti, carries, server.addr).await.unwrap();
        assert!(seen.contains(&format!("sni=a.internal h2={h2}")), "{seen}");
        assert!(seen.contains("client=DNS:tutti.internal"), "{seen}");
    }
    // It is told otherwise, and another name is not believed: all with the next check.
    let apply = async |called| {
        tutti.handle.apply(calling(Serve::http(vec![to("a")]), called)).await.unwrap();
        checked(&tutti, Carries::Http1, server.addr).await
    };
    let mut wrong = called.clone();
    wrong.tls.as_mut().unwrap().server_name = "b.internal".to_owned();
    assert!(apply(wrong).await.unwrap_err().contains("not for the name"));
    let checks = CheckCarriage { tls: true, proxy_protocol: false };
    assert!(apply(Called { checks, ..called.clone() }).await.is_err(), "the server wants a header");
    assert!(apply(called).await.is_ok());
}

#[tokio::test]
async fn a_header_for_a_check_names_no_client_and_plain_checks_stay_plain() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let addr = reading().await;
        let called = Called { proxy_protocol: Some(version), ..Called::default() };
        let tutti = start(called.clone(), AppProtocol::Http, addr).await;
        assert_eq!(checked(&tutti, Carries::Http1, addr).await.unwrap(), "0 own");
    }
    let plain = named("plain").await;
    let lab = Lab::new();
    let tls = Some(tls_to(Some(&lab.ca()), "a.internal"));
    let checks = CheckCarriage { tls: false, proxy_protocol: true };
    let tutti = start(Called { tls, checks, ..Called::default() }, AppProtocol::Http, plain.addr).await;
    assert_eq!(checked(&tutti, Carries::Http1, plain.addr).await.unwrap(), "plain");
}

#[tokio::test]
async fn connections_that_are_kept_retire_when_their_files_change() {
    let lab = Lab::new();
    let required = ServerOptions {
        client_auth: ClientAuth::Required(lab.authority.pem.clone()),
        ..ServerOptions::default()
    };
    let server = server(&lab.files("a", &["a.internal"]), &required, false);
    for protocol in [AppProtocol::Http, AppProtocol::H2c] {
        let certificate = Some(lab.files("own", &["tutti.internal"]));
        let tls = UpstreamTls { certificate, ..tls_to(Some(&lab.ca()), "a.internal") };
        let hasty =
            Options { workers: 1, certificate_look: std::time::Duration::from_millis(10), ..options() };
        let instances = vec![speaking(protocol, "a", 1, server.addr, Health::Passing)];
        let wanted = calling(Serve::http(vec![to("a")]), secured(tls));
        let tutti = Tutti::applying(hasty, wanted, instances, None).await;
        let serial = |text: &str| text.split("serial=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let first = text(&get(tutti.edge, "/").await).to_owned();
        assert!(first.contains("client=DNS:tutti.internal"), "{first}");
        assert_eq!(serial(text(&get(tutti.edge, "/").await)), serial(&first), "the connection is kept");
        // Under way while the files change: it is finished where it was begun.
        let (mut sender, body) = Body::channel(2);
        sender.send("half".into()).await.unwrap();
        let slow = Request::put("/slow").header("host", "h").body(body).unwrap();
        let slow = tokio::spawn(send(tutti.edge, slow));
        let under_way = async {
            while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), under_way).await.unwrap();
        // Half of a pair is of no use.
        let own = lab.folder.path().join("own");
        let stray = Authority::new();
        let other = lab.folder.path().join("stray");
        std::fs::create_dir_all(&other).unwrap();
        let made = stray.files(&other, &["x"]);
        crate::tls::replace(&own.join("cert.pem"), &std::fs::read(&made.cert).unwrap());
        tutti.counted("tutti_proxy_file_reloads_total{kind=\"upstream_tls\",result=\"failed\"} 1").await;
        assert!(text(&get(tutti.edge, "/").await).contains("client=DNS:tutti.internal"));
        lab.files("own", &["renewed.internal"]);
        tutti.counted("tutti_proxy_file_reloads_total{kind=\"upstream_tls\",result=\"ok\"}").await;
        tutti.handle.settled().await;
        let renewed = text(&get(tutti.edge, "/").await).to_owned();
        assert!(renewed.contains("client=DNS:renewed.internal"), "{renewed}");
        sender.send(" and half".into()).await.unwrap();
        sender.finish().await.unwrap();
        let slow = slow.await.unwrap();
        assert!(text(&slow).contains("client=DNS:tutti.internal"), "{slow:?}");
        assert_ne!(serial(text(&get(tutti.edge, "/").await)), serial(text(&slow)));
    }
}
