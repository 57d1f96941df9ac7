//! TLS at the edge: certificates of the moment, files that change, names that do not fit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tutti_net::tls::Key;
use tutti_net::tls::client::{Client, Options as ClientOptions, Trust};
use tutti_net::{Body, h1, h2};
use tutti_ports::certificates::{Certificates, Identity};
use tutti_ports::routing::{CertificateFiles, ClientAuth, Routing, Serve, Tls, Transport};
use tutti_proxy::Options;

use crate::harness::*;

/// An authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn make(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// As the port has it.
    pub fn identity(&self, names: &[&str], serial: u64) -> Arc<Identity> {
        let (certificate, key) = self.make(names);
        Arc::new(Identity {
            chain: vec![certificate.der().to_vec()],
            key: key.serialize_der(),
            ocsp: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_after: SystemTime::now() + Duration::from_secs(3600),
            serial,
        })
    }

    /// As files.
    pub fn files(&self, folder: &Path, names: &[&str]) -> CertificateFiles {
        let (certificate, key) = self.make(names);
        let files =
            CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), ocsp: None };
        // Replaced and not written over, as tools that renew do.
        for (path, text) in [(&files.cert, certificate.pem()), (&files.key, key.serialize_pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
        files
    }
}

/// Certificates as the test says.
#[derive(Default)]
pub struct Shelf {
    pub keys: Mutex<BTreeMap<String, Arc<Identity>>>,
    pub tokens: Mutex<BTreeMap<(String, String), String>>,
}

impl Shelf {
    pub fn put(&self, name: &str, identity: Arc<Identity>) {
        self.keys.lock().unwrap().insert(name.to_owned(), identity);
    }
}

#[async_trait::async_trait]
impl Certificates for Shelf {
    fn current(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        self.keys.lock().unwrap().get(name?).cloned()
    }
    async fn obtain(&self, _: &str) -> Option<Arc<Identity>> {
        None
    }
    fn alpn_challenge(&self, _: &str) -> Option<Arc<Identity>> {
        None
    }
    fn http_challenge(&self, host: &str, token: &str) -> Option<String> {
        self.tokens.lock().unwrap().get(&(host.to_owned(), token.to_owned())).cloned()
    }
}

pub fn secure(tls: Tls, serve: Serve) -> Routing {
    let mut routing = routing(serve);
    routing.listeners[0].transport = Transport { tls: Some(tls), ..Transport::default() };
    routing
}

pub fn trusting(authority: &Authority, name: &str, alpn: &[&str]) -> Client {
    let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let trust = Trust::Authorities(authority.pem.clone());
    Client::new(&ClientOptions { trust, server_name: name.to_owned(), key: None, alpn, oldest: None })
        .unwrap()
}

/// One request over a connection of its own.
pub async fn over(
    client: &Client,
    addr: std::net::SocketAddr,
    request: Request<Body>,
) -> Result<Response<Bytes>, String> {
    let (stream, told) = client.connect(dial(addr).await).await.map_err(|error| error.to_string())?;
    let mut kept = None;
    let answer = if told.h2 {
        let (connection, driver) = h2::client::handshake(stream, &h2::Settings::default()).await.unwrap();
        tokio::spawn(driver);
        kept.insert(connection).send(request).await
    } else {
        let home = std::sync::Weak::<h1::client::Nowhere>::new();
        h1::client::Connection::new(stream, &h1::Settings::default(), home).send(request).await
    };
    let (parts, body) = answer.map_err(|error| tutti_core::error::chain(&error))?.into_parts();
    let (body, _) = body.collect(1 << 20).await.map_err(|error| tutti_core::error::chain(&error))?;
    Ok(Response::from_parts(parts, body))
}

pub fn ask(host: &str) -> Request<Body> {
    Request::get("/x").header("host", host).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_service_hears_that_it_was_https() {
    let echo = echo().await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files = vec![authority.files(folder.path(), &["shop.test"])];
    let routing = secure(Tls { files, ..Tls::default() }, Serve::http(vec![to("a")]));
    let tutti = Tutti::applying(options(), routing, vec![passing("a", 1, echo.addr)], None).await;
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let answer =
            over(&trusting(&authority, "shop.test", alpn), tutti.edge, ask("shop.test")).await.unwrap();
        let text = text(&answer);
        assert!(text.contains("\nx-forwarded-proto: https\n"), "{text}");
        assert!(text.contains("proto=https"), "{text}");
    }
    // Plain HTTP is told so, and nothing of it reaches the service.
    let plain = raw(tutti.edge, "GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    for (result, count) in [("full", 3), ("plain_http", 1)] {
        let line =
            format!("tutti_proxy_tls_handshakes_total{{listener=\"edge\",result=\"{result}\"}} {count}");
        assert!(page.contains(&line), "{line}: {page}");
    }
}

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let echo = echo().await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files = vec![authority.files(folder.path(), &["shop.test", "*.shop.test"])];
    let routing = secure(Tls { files, ..Tls::default() }, Serve::http(vec![to("a")]));
    let tutti = Tutti::applying(options(), routing, vec![passing("a", 1, echo.addr)], None).await;
    for alpn in ["h2", "http/1.1"] {
        let client = trusting(&authority, "shop.test", &[alpn]);
        for (host, status) in
            [("shop.test", 200), ("SHOP.test:8443", 200), ("api.shop.test", 200), ("bank.test", 421)]
        {
            let answer = over(&client, tutti.edge, ask(host)).await.unwrap();
            assert_eq!(answer.status(), status, "{host} over {alpn}");
            if status == 421 {
                assert_eq!(fault(&answer)["code"], "TUT0520");
            }
        }
    }
}

#[tokio::test]
async fn certificates_change_under_load_and_no_request_fails() {
    let named = named("hello").await;
    let authorities = [Authority::new(), Authority::new()];
    let shelf = Arc::new(Shelf::default());
    shelf.put("shop.test", authorities[0].identity(&["shop.test"], 1));
    let routing = secure(Tls::default(), Serve::http(vec![to("a")]));
    let certificates = Arc::clone(&shelf) as Arc<dyn Certificates>;
    let tutti =
        Tutti::applying(options(), routing, vec![passing("a", 1, named.addr)], Some(certificates)).await;
    let both: Vec<u8> = authorities.iter().flat_map(|one| one.pem.clone()).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load: Vec<_> = ["h2", "http/1.1"]
        .iter()
        .map(|alpn| {
            let (trust, edge, stopped) = (Trust::Authorities(both.clone()), tutti.edge, stopped.clone());
            let alpn = vec![alpn.as_bytes().to_vec()];
            tokio::spawn(async move {
                let mut served = 0;
                while !*stopped.borrow() {
                    // A client of its own for each, so that nothing is resumed.
                    let options = ClientOptions {
                        trust: trust.clone(),
                        server_name: "shop.test".into(),
                        key: None,
                        alpn: alpn.clone(),
                        oldest: None,
                    };
                    let client = Client::new(&options).unwrap();
                    let answer = over(&client, edge, ask("shop.test")).await.unwrap();
                    assert_eq!(text(&answer), "hello");
                    served += 1;
                }
                served
            })
        })
        .collect();
    let only = |at: usize| trusting(&authorities[at], "shop.test", &[]);
    for serial in 2..20_usize {
        let at = serial % 2;
        shelf.put("shop.test", authorities[at].identity(&["shop.test"], serial as u64));
        // In force with the next handshake, and the one before is not shown any more.
        assert_eq!(over(&only(at), tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
        assert!(over(&only(1 - at), tutti.edge, ask("shop.test")).await.is_err());
    }
    stop.send(true).unwrap();
    for one in load {
        assert!(one.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn sessions_outlive_a_change_of_certificates_but_not_of_whom_is_asked_for_one() {
    let named = named("hello").await;
    let authority = Authority::new();
    let shelf = Arc::new(Shelf::default());
    shelf.put("shop.test", authority.identity(&["shop.test"], 1));
    let certificates = Some(Arc::clone(&shelf) as Arc<dyn Certificates>);
    let instances = vec![passing("a", 1, named.addr)];
    let plain = secure(Tls::default(), Serve::http(vec![to("a")]));
    let tutti = Tutti::applying(options(), plain.clone(), instances, certificates).await;
    let client = trusting(&authority, "shop.test", &["http/1.1"]);
    let resumed = async || {
        let (stream, told) = client.connect(dial(tutti.edge).await).await.unwrap();
        let home = std::sync::Weak::<h1::client::Nowhere>::new();
        let connection = h1::client::Connection::new(stream, &h1::Settings::default(), home);
        assert_eq!(connection.send(ask("shop.test")).await.unwrap().status(), 200);
        told.resumed
    };
    assert!(!resumed().await);
    shelf.put("shop.test", authority.identity(&["shop.test"], 2));
    assert!(resumed().await);
    // Other routes, the same setting.
    let mut routes = plain.clone();
    routes.listeners[0].serve = Serve::http(vec![to("a"), to("a")]);
    tutti.handle.apply(routes).await.unwrap();
    assert!(resumed().await);
    // From now on clients are asked for certificates, and then not any more: each time what was known is forgotten.
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let asking = Tls { client_auth: Some(ClientAuth { ca, required: false }), ..Tls::default() };
    tutti.handle.apply(secure(asking, Serve::http(vec![to("a")]))).await.unwrap();
    assert!(!resumed().await);
    assert!(resumed().await);
    tutti.handle.apply(plain).await.unwrap();
    assert!(!resumed().await);
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let named = named("hello").await;
    let (old, new) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let files = old.files(folder.path(), &["shop.test"]);
    let routing = secure(Tls { files: vec![files.clone()], ..Tls::default() }, Serve::http(vec![to("a")]));
    let options = Options { certificate_look: Duration::from_millis(10), ..options() };
    let tutti = Tutti::applying(options, routing.clone(), vec![passing("a", 1, named.addr)], None).await;
    let (before, after) = (trusting(&old, "shop.test", &[]), trusting(&new, "shop.test", &[]));
    assert_eq!(over(&before, tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
    // The new certificate with the old key: of no use, so the old one stays.
    let elsewhere = tempfile::tempdir().unwrap();
    let made = new.files(elsewhere.path(), &["shop.test"]);
    std::fs::rename(&made.cert, &files.cert).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(over(&before, tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
    std::fs::rename(&made.key, &files.key).unwrap();
    let changed = async { while over(&after, tutti.edge, ask("shop.test")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), changed).await.unwrap();

    // What cannot be used from the beginning is refused, and changes nothing.
    let mut broken = routing;
    broken.listeners[0].transport.tls = Some(Tls {
        files: vec![CertificateFiles { key: folder.path().join("none.pem"), ..files }],
        ..Tls::default()
    });
    let error = tutti.handle.apply(broken).await.unwrap_err();
    assert!(tutti_core::error::chain(&error).contains("none.pem"), "{error:?}");
    assert_eq!(tutti_core::Classify::code(&error).unwrap().to_string(), "TUT0521");
    assert_eq!(over(&after, tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_authority_is_answered_where_http_is_plain() {
    let named = named("the service").await;
    let shelf = Arc::new(Shelf::default());
    shelf.tokens.lock().unwrap().insert(("shop.test".into(), "abc".into()), "abc.thumb".into());
    let certificates = Some(Arc::clone(&shelf) as Arc<dyn Certificates>);
    let instances = vec![passing("a", 1, named.addr)];
    let tutti =
        Tutti::applying(options(), routing(Serve::http(vec![to("a")])), instances, certificates).await;
    let at = |path: &str| {
        Request::get(path.to_owned()).header("host", "Shop.test:80").body(Body::empty()).unwrap()
    };
    let answer = send(tutti.edge, at("/.well-known/acme-challenge/abc")).await;
    assert_eq!((answer.status().as_u16(), text(&answer)), (200, "abc.thumb"));
    for path in ["/.well-known/acme-challenge/other", "/.well-known/acme-challenge/", "/"] {
        assert_eq!(text(&send(tutti.edge, at(path)).await), "the service", "{path}");
    }
}

#[tokio::test]
async fn a_listener_of_bytes_ends_tls_too() {
    let (addr, _task) = raw_upstream(|mut stream| async move {
        let mut first = [0; 5];
        stream.read_exact(&mut first).await.unwrap();
        first.make_ascii_uppercase();
        stream.write_all(&first).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files = vec![authority.files(folder.path(), &["db.test"])];
    let client_auth = Some(ClientAuth { ca: folder.path().join("ca.pem"), required: true });
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let tls = Tls { files, ..Tls::default() };
    let routing = secure(tls.clone(), Serve::Tcp(backend("db")));
    let tutti = Tutti::applying(options(), routing, vec![passing("db", 1, addr)], None).await;
    let client = trusting(&authority, "db.test", &[]);
    let (mut stream, _) = client.connect(dial(tutti.edge).await).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HELLO");
    // The same address, and from now on nobody without a certificate.
    let routing = secure(Tls { client_auth, ..tls }, Serve::Tcp(backend("db")));
    tutti.handle.apply(routing).await.unwrap();
    let (mut stream, told) = client.connect(dial(tutti.edge).await).await.unwrap();
    assert!(!told.resumed);
    assert!(stream.read_u8().await.is_err());
}

#[tokio::test]
async fn authorities_of_clients_are_read_again_when_they_change() {
    let named = named("hello").await;
    let (ours, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    replace(&ca, &old.pem);
    let files = vec![ours.files(folder.path(), &["shop.test"])];
    let client_auth = Some(ClientAuth { ca: ca.clone(), required: true });
    let options = Options { certificate_look: Duration::from_millis(10), ..options() };
    let routing = secure(Tls { files, client_auth, ..Tls::default() }, Serve::http(vec![to("a")]));
    let tutti = Tutti::applying(options, routing, vec![passing("a", 1, named.addr)], None).await;
    let showing = |authority: &Authority| {
        let place = tempfile::tempdir().unwrap();
        let files = authority.files(place.path(), &["client.test"]);
        let read = |path: &Path| std::fs::read(path).unwrap();
        let key = Some(Key::from_pem(&read(&files.cert), &read(&files.key), None).unwrap());
        let (trust, alpn) = (Trust::Authorities(ours.pem.clone()), Vec::new());
        Client::new(&ClientOptions { trust, server_name: "shop.test".into(), key, alpn, oldest: None })
            .unwrap()
    };
    let (before, after) = (showing(&old), showing(&new));
    let (mut kept, _) = before.connect(dial(tutti.edge).await).await.unwrap();
    let on_kept = async |kept: &mut tutti_net::Stream| {
        kept.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
        read_until(kept, "hello").await
    };
    assert!(on_kept(&mut kept).await.starts_with("HTTP/1.1 200"));
    assert!(over(&after, tutti.edge, ask("shop.test")).await.is_err());
    // What is none, and then nothing at all: those from before stay, and it is counted.
    replace(&ca, b"no authority");
    tutti.counted("tutti_proxy_file_reloads_total{kind=\"client_authorities\",result=\"failed\"} 1").await;
    std::fs::remove_file(&ca).unwrap();
    tutti.counted("tutti_proxy_file_reloads_total{kind=\"client_authorities\",result=\"failed\"} 2").await;
    assert_eq!(over(&before, tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
    replace(&ca, &new.pem);
    tutti.counted("tutti_proxy_file_reloads_total{kind=\"client_authorities\",result=\"ok\"} 1").await;
    tutti.handle.settled().await;
    assert_eq!(over(&after, tutti.edge, ask("shop.test")).await.unwrap().status(), 200);
    // Nobody comes in by a session that was made before, and whoever is in stays.
    assert!(over(&before, tutti.edge, ask("shop.test")).await.is_err());
    assert!(on_kept(&mut kept).await.starts_with("HTTP/1.1 200"));
}

/// Replaces a file, as careful people do.
pub fn replace(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}
