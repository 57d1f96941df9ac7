//! Connections whose bytes are passed on: routes of TCP, and of TLS by the name that the client asks for.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tutti_net::Body;
use tutti_net::tls::server::{Options as ServerOptions, Server, Tickets};
use tutti_net::tls::{Key, Keys};
use tutti_ports::routing::{self, Backend, Routing, Serve, StreamRoute, Tls};
use tutti_proxy::{AccessLogOptions, Options};

use crate::harness::*;
use crate::tls::{Authority, over, trusting};

fn stream(name: &str, hosts: &[&str], service: &str) -> StreamRoute {
    StreamRoute {
        name: name.to_owned(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        alpn: Vec::new(),
        backends: vec![backend(service)],
        allow: Vec::new(),
        deny: Vec::new(),
        connect_timeout: None,
        idle_timeout: None,
    }
}

fn bytes(route: StreamRoute) -> Routing {
    routing(Serve::Stream(Some(Box::new(route))))
}

/// A listener of nothing but TLS that is passed on.
fn sealed(routes: Vec<StreamRoute>) -> Routing {
    let mut routing = routing(Serve::Stream(None));
    routing.listeners[0].transport.passthrough = routes;
    routing
}

/// A service that speaks TLS and answers one line with its name.
async fn speaking_tls(authority: &Authority, name: &'static str, host: &str) -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let files = authority.files(folder.path(), &[host]);
    let read = |path| std::fs::read(path).unwrap();
    let key = Key::from_pem(&read(&files.cert), &read(&files.key), None).unwrap();
    let keys = std::sync::Arc::new(Only(std::sync::Arc::new(key))) as std::sync::Arc<dyn Keys>;
    let bare = ServerOptions { alpn: Vec::new(), ..ServerOptions::default() };
    let tls = std::sync::Arc::new(Server::new(keys, &bare, &Tickets::new().unwrap()).unwrap());
    let (addr, _) = raw_upstream(move |stream| {
        let tls = std::sync::Arc::clone(&tls);
        async move {
            let Ok((mut stream, _)) = tls.accept(stream).await else { return };
            let line = read_until(&mut stream, "\n").await;
            stream.write_all(format!("{name} {line}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    addr
}

struct Only(std::sync::Arc<Key>);

impl Keys for Only {
    fn current(&self, _: Option<&str>) -> Option<std::sync::Arc<Key>> {
        Some(std::sync::Arc::clone(&self.0))
    }
    fn obtain<'a>(
        &'a self,
        _: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<std::sync::Arc<Key>>> + Send + 'a>> {
        Box::pin(async { None })
    }
    fn challenge(&self, _: &str) -> Option<std::sync::Arc<Key>> {
        None
    }
}

/// What is answered by whoever ends the TLS of a name.
async fn asked(authority: &Authority, edge: SocketAddr, name: &str, alpn: &[&str]) -> Result<String, String> {
    let client = trusting(authority, name, alpn);
    let (mut stream, _) = client.connect(dial(edge).await).await.map_err(|error| error.to_string())?;
    stream.write_all(b"hello\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(answer)
}

#[tokio::test]
async fn tls_is_passed_on_by_its_name_and_other_names_are_refused() {
    let authority = Authority::new();
    let a = speaking_tls(&authority, "a", "a.test").await;
    let wide = speaking_tls(&authority, "wide", "x.b.test").await;
    let mut mail = stream("mail", &["a.test"], "wide");
    mail.alpn = vec!["imap".to_owned()];
    let routes = vec![stream("exact", &["a.test"], "a"), stream("wide", &["*.b.test"], "wide"), mail];
    let instances = vec![passing("a", 1, a), passing("wide", 1, wide)];
    let tutti = Tutti::applying(options(), sealed(routes.clone()), instances, None).await;
    assert_eq!(asked(&authority, tutti.edge, "a.test", &[]).await.unwrap(), "a hello\n");
    assert_eq!(asked(&authority, tutti.edge, "x.b.test", &[]).await.unwrap(), "wide hello\n");
    let refused = asked(&authority, tutti.edge, "c.test", &[]).await.unwrap_err();
    assert!(refused.contains("UnrecognizedName") || refused.contains("UnrecognisedName"), "{refused}");
    // What is no TLS gets nothing of a service.
    let answer = raw(tutti.edge, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert!(!answer.contains("HTTP"), "{answer:?}");
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    for line in [
        "tutti_proxy_tls_handshakes_total{listener=\"edge\",result=\"no_route\"} 2",
        "tutti_proxy_faults_total{code=\"TUT0576\",origin=\"client\"} 2",
        "tutti_proxy_requests_total{listener=\"edge\",route=\"exact\",class=\"2xx\"} 1",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // A route for every name, from the next connection on.
    let mut all = routes;
    all.push(stream("rest", &[], "a"));
    tutti.handle.apply(sealed(all)).await.unwrap();
    let wrong = asked(&authority, tutti.edge, "c.test", &[]).await.unwrap_err();
    assert!(wrong.contains("not valid for name"), "{wrong}");
}

#[tokio::test]
async fn a_first_message_in_pieces_is_put_together() {
    let authority = Authority::new();
    let a = speaking_tls(&authority, "a", "a.test").await;
    let routes = vec![stream("exact", &["a.test"], "a")];
    let tutti = Tutti::applying(options(), sealed(routes), vec![passing("a", 1, a)], None).await;
    // Between the client and us sits somebody who passes on byte by byte.
    let edge = tutti.edge;
    let (slow, _task) = raw_upstream(move |client| async move {
        let server = dial(edge).await;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let there = async {
            while let Ok(byte) = from_client.read_u8().await {
                if to_server.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
            let _ = to_server.shutdown().await;
        };
        let _ = tokio::join!(there, tokio::io::copy(&mut from_server, &mut to_client));
    })
    .await;
    assert_eq!(asked(&authority, slow, "a.test", &[]).await.unwrap(), "a hello\n");
}

#[tokio::test]
async fn at_the_address_of_https_other_names_are_served() {
    let authority = Authority::new();
    let a = speaking_tls(&authority, "a", "a.test").await;
    let web = named("web").await;
    let folder = tempfile::tempdir().unwrap();
    let files = vec![authority.files(folder.path(), &["shop.test"])];
    let mut wanted = routing(Serve::http(vec![to("web")]));
    wanted.listeners[0].transport = routing::Transport {
        tls: Some(Tls { files, ..Tls::default() }),
        passthrough: vec![stream("a", &["a.test"], "a")],
        ..routing::Transport::default()
    };
    let instances = vec![passing("a", 1, a), passing("web", 1, web.addr)];
    let tutti = Tutti::applying(options(), wanted, instances, None).await;
    assert_eq!(asked(&authority, tutti.edge, "a.test", &[]).await.unwrap(), "a hello\n");
    let request = || Request::get("/").header("host", "shop.test").body(Body::empty()).unwrap();
    let answer = over(&trusting(&authority, "shop.test", &["h2"]), tutti.edge, request()).await.unwrap();
    assert_eq!(text(&answer), "web");
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    // Answers only when the client has said all.
    let (addr, _task) = raw_upstream(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("{} bytes", all.len()).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let logged = Options { access_log: Some(AccessLogOptions::json(log.clone())), ..options() };
    let tutti =
        Tutti::applying(logged, bytes(stream("db", &[], "a")), vec![passing("a", 1, addr)], None).await;
    let mut client = dial(tutti.edge).await;
    client.write_all(&vec![b'x'; 300_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "300000 bytes");
    let Tutti { proxy, handle, .. } = tutti;
    let mut page = tutti_core::metrics::Page::default();
    proxy.shutdown().await;
    handle.metrics(&mut page);
    let page = page.finish();
    for line in [
        "tutti_proxy_carried_bytes_total{listener=\"edge\",route=\"db\",direction=\"in\"} 300000",
        "tutti_proxy_carried_bytes_total{listener=\"edge\",route=\"db\",direction=\"out\"} 12",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let line = std::fs::read_to_string(&log).unwrap();
    let told: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!((&told["route"], &told["bytes_in"]), (&"db".into(), &300_000.into()), "{line}");
}

#[tokio::test]
async fn a_stranger_and_a_silent_connection_end_and_weights_are_kept() {
    let greeting = |text: &'static str| {
        raw_upstream(move |mut stream| async move {
            stream.write_all(text.as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
        })
    };
    let ((one, _first), (two, _second)) = (greeting("one\n").await, greeting("two\n").await);
    let instances = || vec![passing("one", 1, one), passing("two", 1, two)];
    // The server speaks first.
    let mut denied = stream("r", &[], "one");
    denied.deny = vec!["127.0.0.0/8".parse().unwrap()];
    let tutti = Tutti::applying(options(), bytes(denied.clone()), instances(), None).await;
    assert_eq!(raw(tutti.edge, "").await, "");
    let quiet = StreamRoute { deny: Vec::new(), idle_timeout: Some(Duration::from_millis(50)), ..denied };
    tutti.handle.apply(bytes(quiet.clone())).await.unwrap();
    assert_eq!(raw(tutti.edge, "").await, "one\n");
    let zero = Backend { weight: 0, ..backend("one") };
    let weighted = StreamRoute { backends: vec![zero, backend("two")], ..quiet };
    tutti.handle.apply(bytes(weighted)).await.unwrap();
    for _ in 0..5 {
        assert_eq!(raw(tutti.edge, "").await, "two\n");
    }
    // Another instance is asked where one refuses.
    let instances = vec![passing("two", 1, nobody().await), passing("two", 2, two)];
    tutti.catalog.set(instances);
    for _ in 0..5 {
        assert_eq!(raw(tutti.edge, "").await, "two\n");
    }
}

#[tokio::test]
async fn connections_outlive_a_change_of_their_route() {
    let (addr, _task) = raw_upstream(|mut stream| async move {
        loop {
            let line = read_until(&mut stream, "\n").await;
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    })
    .await;
    let tutti =
        Tutti::applying(options(), bytes(stream("r", &[], "a")), vec![passing("a", 1, addr)], None).await;
    let mut client = dial(tutti.edge).await;
    client.write_all(b"one\n").await.unwrap();
    assert_eq!(read_until(&mut client, "\n").await, "one\n");
    tutti.handle.apply(bytes(stream("s", &[], "b"))).await.unwrap();
    client.write_all(b"two\n").await.unwrap();
    assert_eq!(read_until(&mut client, "\n").await, "two\n");
}
