//! Whole servers with certificates of the test's own, on loopback.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::client::{Options as ClientOptions, Trust};
use super::server::{ClientAuth, Options, Tickets};
use super::*;
use crate::drain::Drainer;
use crate::listen::{ListenOptions, Listener};
use crate::server::{ConnectionInfo, Handler, Protocol, Served, Settings};
use crate::stream::{Addr, Stream};
use crate::transport::{Failure, Transport};
use crate::{Body, h1, h2};

const PATIENCE: Duration = Duration::from_secs(20);

/// An authority of the test's own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for names.
    pub(crate) fn issue(&self, names: &[&str]) -> Key {
        self.stapled(names, None)
    }

    fn stapled(&self, names: &[&str], ocsp: Option<Vec<u8>>) -> Key {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "the test");
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Key::from_pem(made.pem().as_bytes(), key.serialize_pem().as_bytes(), ocsp).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Shelf {
    keys: Mutex<BTreeMap<String, Arc<Key>>>,
    /// What can be had with a wait.
    far: Mutex<BTreeMap<String, Arc<Key>>>,
    challenges: Mutex<BTreeMap<String, Arc<Key>>>,
}

impl Shelf {
    pub(crate) fn with(name: &str, key: Key) -> Arc<Self> {
        let shelf = Self::default();
        shelf.put(name, key);
        Arc::new(shelf)
    }

    fn put(&self, name: &str, key: Key) {
        self.keys.lock().unwrap().insert(name.to_owned(), Arc::new(key));
    }
}

impl Keys for Shelf {
    fn current(&self, name: Option<&str>) -> Option<Arc<Key>> {
        self.keys.lock().unwrap().get(name.unwrap_or("")).cloned()
    }

    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.far.lock().unwrap().get(name).cloned()
        })
    }

    fn challenge(&self, name: &str) -> Option<Arc<Key>> {
        self.challenges.lock().unwrap().get(name).cloned()
    }
}

/// Says what the connection is; remembers how connections began.
struct Telling {
    transport: Arc<Transport>,
    failures: tokio::sync::mpsc::UnboundedSender<String>,
}

impl Handler for Telling {
    async fn handle(&self, request: Request<Body>, connection: &ConnectionInfo) -> Response<Body> {
        if request.uri().path() == "/large" {
            return Response::new(Body::full(vec![b'x'; 3 << 20]));
        }
        let tls = connection.tls.as_ref().unwrap();
        let client = tls.client.as_ref().map_or("-".to_owned(), |client| {
            format!("{} {:?} {}", client.subject, client.names, client.fingerprint.len())
        });
        let text = format!(
            "{} {} {} resumed={} h2={} sni={} client={client}",
            tls.version.as_str(),
            tls.suite,
            tls.group.unwrap_or("-"),
            tls.resumed,
            connection.protocol == Protocol::Http2,
            tls.sni.as_deref().unwrap_or("-"),
        );
        let (body, _) = request.into_body().collect(8 << 20).await.unwrap();
        let text = if body.is_empty() { text } else { format!("{text} {}", body.len()) };
        Response::new(text.into())
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        Some(Arc::clone(&self.transport))
    }

    fn begun(&self, _: &ConnectionInfo, result: Result<(), &Failure>) {
        let _ = self
            .failures
            .send(result.map_or_else(|failure| failure.as_str().to_owned(), |()| "ok".to_owned()));
    }
}

struct Running {
    addr: Addr,
    begun: tokio::sync::mpsc::UnboundedReceiver<String>,
    _drainer: Drainer,
    _task: JoinHandle<Served>,
}

fn start(shelf: &Arc<Shelf>, options: &Options) -> Running {
    let listener = Listener::bind(&Addr::Tcp("127.0.0.1:0".parse().unwrap()), &ListenOptions::default());
    let listener = listener.unwrap();
    let addr = listener.local_addr().clone();
    let (drainer, signal) = Drainer::new();
    let keys = Arc::clone(shelf) as Arc<dyn Keys>;
    let tls = Server::new(keys, options, &Tickets::new().unwrap()).unwrap();
    let transport = Arc::new(Transport { tls: Some(Arc::new(tls)), ..Transport::default() });
    let (failures, begun) = tokio::sync::mpsc::unbounded_channel();
    let handler = Arc::new(Telling { transport, failures });
    let task = tokio::spawn(crate::serve(listener, handler, Settings::named("test"), signal));
    Running { addr, begun, _drainer: drainer, _task: task }
}

pub(crate) fn client(authority: &Authority, name: &str, alpn: &[&str]) -> Client {
    showing(authority, name, alpn, None)
}

fn showing(authority: &Authority, name: &str, alpn: &[&str], key: Option<Key>) -> Client {
    let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let trust = Trust::Authorities(authority.pem.clone());
    Client::new(&ClientOptions { trust, server_name: name.to_owned(), key, alpn, oldest: None }).unwrap()
}

async fn connect(client: &Client, addr: &Addr) -> std::io::Result<(Stream, TlsInfo)> {
    client.connect(Stream::connect(addr, PATIENCE).await.unwrap()).await
}

/// One request over HTTP/1.1 or HTTP/2, as was agreed.
async fn ask(client: &Client, addr: &Addr, request: Request<Body>) -> std::io::Result<Bytes> {
    let (stream, told) = connect(client, addr).await?;
    let mut kept = None;
    let answer = if told.h2 {
        let (connection, driver) = h2::client::handshake(stream, &h2::Settings::default()).await.unwrap();
        tokio::spawn(driver);
        kept.insert(connection).send(request).await
    } else {
        let home = std::sync::Weak::<h1::client::Nowhere>::new();
        h1::client::Connection::new(stream, &h1::Settings::default(), home).send(request).await
    };
    let answer = answer.map_err(|error| std::io::Error::other(tutti_core::error::chain(&error)))?;
    let (body, _) = answer
        .into_body()
        .collect(8 << 20)
        .await
        .map_err(|error| std::io::Error::other(tutti_core::error::chain(&error)))?;
    Ok(body)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "shop.test").body(Body::empty()).unwrap()
}

async fn said(client: &Client, addr: &Addr) -> String {
    String::from_utf8(ask(client, addr, get("/")).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_best_of_both_is_agreed_on_and_sessions_are_resumed() {
    let authority = Authority::new();
    let server = start(&Shelf::with("shop.test", authority.issue(&["shop.test"])), &Options::default());
    for (alpn, h2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
        let client = client(&authority, "shop.test", alpn);
        let first = said(&client, &server.addr).await;
        assert!(first.starts_with("TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768 resumed=false"), "{first}");
        assert!(first.ends_with(&format!("h2={h2} sni=shop.test client=-")), "{first}");
        let second = said(&client, &server.addr).await;
        assert!(second.contains("resumed=true"), "{second}");
    }
    let client = client(&authority, "shop.test", &["smtp"]);
    let refused = connect(&client, &server.addr).await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let server = start(&Shelf::with("shop.test", authority.issue(&["shop.test"])), &Options::default());
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let client = client(&authority, "shop.test", alpn);
        assert_eq!(ask(&client, &server.addr, get("/large")).await.unwrap().len(), 3 << 20);
        let upload = Request::put("/").header("host", "h").body(Body::full(vec![b'y'; 2 << 20])).unwrap();
        let answer = ask(&client, &server.addr, upload).await.unwrap();
        assert!(answer.ends_with(b" 2097152"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_of_the_moment() {
    let authority = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let mut server = start(&shelf, &Options::default());
    let shop = client(&authority, "shop.test", &[]);
    let (mut old, first) = connect(&shop, &server.addr).await.unwrap();
    assert!(!first.resumed);
    // Nobody knows the name: a refusal in the words of TLS.
    let api = client(&authority, "api.test", &[]);
    let refused = connect(&api, &server.addr).await.unwrap_err().to_string();
    assert!(refused.contains("AccessDenied"), "{refused}");
    assert_eq!(server.begun.recv().await.unwrap(), "ok");
    assert_eq!(server.begun.recv().await.unwrap(), "no_certificate");
    // It is had with a wait, then at once.
    shelf.far.lock().unwrap().insert("api.test".to_owned(), Arc::new(authority.issue(&["api.test"])));
    assert!(said(&api, &server.addr).await.contains("sni=api.test"));
    // Another authority's from now on; the connection that is there stays.
    let other = Authority::new();
    shelf.put("shop.test", other.issue(&["shop.test"]));
    assert!(connect(&client(&authority, "shop.test", &[]), &server.addr).await.is_err());
    assert!(said(&client(&other, "shop.test", &[]), &server.addr).await.contains("resumed=false"));
    old.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn clients_prove_who_they_are_where_they_must() {
    let authority = Authority::new();
    let people = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let server = |client_auth| start(&shelf, &Options { client_auth, ..Options::default() });
    let with = |key| showing(&authority, "shop.test", &[], key);
    let ann = || Some(people.issue(&["ann.test"]));
    let stranger = || Some(authority.issue(&["ann.test"]));

    let optional = server(ClientAuth::Optional(people.pem.clone()));
    assert!(said(&with(None), &optional.addr).await.ends_with("client=-"));
    let known = with(ann());
    for resumed in ["resumed=false", "resumed=true"] {
        let known = said(&known, &optional.addr).await;
        assert!(known.contains(resumed), "{known}");
        assert!(known.ends_with("client=CN=the test [\"DNS:ann.test\", \"IP:127.0.0.1\"] 64"), "{known}");
    }
    assert!(ask(&with(stranger()), &optional.addr, get("/")).await.is_err());

    let required = server(ClientAuth::Required(people.pem.clone()));
    assert!(said(&with(ann()), &required.addr).await.contains("DNS:ann.test"));
    assert!(ask(&with(None), &required.addr, get("/")).await.is_err());
    assert!(ask(&with(stranger()), &required.addr, get("/")).await.is_err());
    // What one listener has issued is nothing to another.
    let wide = with(None);
    said(&wide, &optional.addr).await;
    assert!(ask(&wide, &required.addr, get("/")).await.is_err());

    let bad = Server::new(
        shelf,
        &Options { client_auth: ClientAuth::Required(b"no".to_vec()), ..Options::default() },
        &Tickets::new().unwrap(),
    );
    assert!(bad.unwrap_err().to_string().contains("there is no certificate in it"));
}

#[test]
fn a_certificate_that_answers_a_challenge_can_be_shown_and_one_with_another_key_cannot() {
    let (pair, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
    // A critical extension that the library does not know.
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
    let chain = || vec![params.self_signed(&pair).unwrap().der().to_vec()];
    let key = Key::from_der(chain(), pair.serialize_der(), None).unwrap();
    assert_eq!(key.names(), ["shop.test"]);
    assert!(matches!(Key::from_der(chain(), other.serialize_der(), None), Err(KeyError::Unfit(_))));
}

#[tokio::test]
async fn an_authority_finds_the_answer_to_its_challenge() {
    let authority = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let mut server = start(&shelf, &Options::default());
    let looking = client(&authority, "shop.test", &["acme-tls/1"]);
    assert!(connect(&looking, &server.addr).await.is_err());
    assert_eq!(server.begun.recv().await.unwrap(), "failed");
    shelf
        .challenges
        .lock()
        .unwrap()
        .insert("shop.test".to_owned(), Arc::new(authority.issue(&["shop.test"])));
    let (mut stream, told) = connect(&looking, &server.addr).await.unwrap();
    assert!(!told.h2);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(server.begun.recv().await.unwrap(), "challenge");
    // Others are served as ever.
    assert!(said(&client(&authority, "shop.test", &["h2"]), &server.addr).await.contains("h2=true"));
}

#[tokio::test]
async fn plain_http_hears_why_it_is_refused() {
    let authority = Authority::new();
    let mut server = start(&Shelf::with("shop.test", authority.issue(&["shop.test"])), &Options::default());
    let mut plain = Stream::connect(&server.addr, PATIENCE).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("https://"), "{answer}");
    assert_eq!(server.begun.recv().await.unwrap(), "plain_http");
    // What is neither gets an alert.
    let mut noise = Stream::connect(&server.addr, PATIENCE).await.unwrap();
    noise.write_all(&[0; 64]).await.unwrap();
    let mut answer = Vec::new();
    noise.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert_eq!(server.begun.recv().await.unwrap(), "failed");
}

#[tokio::test]
async fn slow_handshakes_are_cut_and_too_many_cut_the_oldest() {
    let authority = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let hasty = Options { timeout: Duration::from_millis(50), ..Options::default() };
    let mut server = start(&shelf, &hasty);
    let mut slow = Stream::connect(&server.addr, PATIENCE).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(slow.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(server.begun.recv().await.unwrap(), "timeout");

    let mut server = start(&shelf, &Options { handshakes: 2, ..Options::default() });
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = Stream::connect(&server.addr, PATIENCE).await.unwrap();
        stream.write_all(&[22, 3, 1]).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(server.begun.recv().await.unwrap(), "cut");
    }
    assert!(said(&client(&authority, "shop.test", &[]), &server.addr).await.contains("TLSv1.3"));
}

#[tokio::test]
async fn the_oldest_version_is_what_was_set() {
    let authority = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let old = |server: Addr| async move {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates([]);
        // It prefers 256 bits, the server does not.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(super::client::Anybody))
            .with_no_client_auth();
        let stream = Stream::connect(&server, PATIENCE).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("shop.test").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let server = start(&shelf, &Options::default());
    let made = old(server.addr.clone()).await.unwrap();
    let told = info(made.get_ref().1);
    assert_eq!((told.version, told.suite), (Version::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    let modern = start(&shelf, &Options { oldest: Version::Tls13, ..Options::default() });
    assert!(old(modern.addr.clone()).await.unwrap_err().to_string().contains("ProtocolVersion"));
}

#[tokio::test]
async fn tunnels_flush_what_they_carry() {
    let authority = Authority::new();
    let shelf = Shelf::with("shop.test", authority.issue(&["shop.test"]));
    let tls =
        Server::new(shelf, &Options { alpn: Vec::new(), ..Options::default() }, &Tickets::new().unwrap());
    let tls = tls.unwrap();
    let (near, far) = crate::testing::tcp_pair().await;
    let client = client(&authority, "shop.test", &[]);
    let (accepted, connected) = tokio::join!(tls.accept(far), client.connect(near));
    let (inside, outside) = (accepted.unwrap().0, connected.unwrap().0);
    let (service, mut peer) = Stream::pair().unwrap();
    let tunnel = tokio::spawn(crate::tunnel::tunnel(inside, service, PATIENCE));
    let (mut read, mut write) = tokio::io::split(outside);
    let sent = tokio::spawn(async move {
        write.write_all(&vec![b'a'; 1 << 20]).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    peer.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), 1 << 20);
    sent.await.unwrap();
    let answered = tokio::spawn(async move {
        peer.write_all(&vec![b'b'; 1 << 20]).await.unwrap();
        peer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert_eq!(back.len(), 1 << 20);
    answered.await.unwrap();
    let carried = tunnel.await.unwrap();
    assert_eq!((carried.a_to_b, carried.b_to_a), (1 << 20, 1 << 20));
}

#[test]
fn names_are_compared_as_certificates_mean_them() {
    let key = Authority::new().issue(&["shop.test", "*.shop.test", "UPPER.test"]);
    for (host, covered) in [
        ("shop.test", true),
        ("shop.test.", true),
        ("a.shop.test", true),
        ("a.b.shop.test", false),
        (".shop.test", true),
        ("xshop.test", false),
        ("upper.test", true),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("[::1]", false),
        ("", false),
    ] {
        assert_eq!(key.covers(host), covered, "{host}");
    }
    assert!(key.not_after() > std::time::SystemTime::now());
}

#[test]
fn what_is_no_certificate_is_said_so() {
    let fine = Authority::new();
    let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let chain = params.signed_by(&one, &fine.issuer).unwrap().pem();
    let wrong = |chain: &str, key: &str| Key::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap_err();
    assert!(matches!(wrong("", &one.serialize_pem()), KeyError::NoCertificate));
    assert!(matches!(wrong(&chain, "nothing"), KeyError::NoKey));
    assert!(matches!(wrong(&chain, &two.serialize_pem()), KeyError::Unfit(_)));
    assert!(Key::from_pem(chain.as_bytes(), one.serialize_pem().as_bytes(), None).is_ok());
}
