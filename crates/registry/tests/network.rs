//! The probes over real connections, seen through the catalog: what servers do, and what is said of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::carry::{BeginError, Beginning, Begun, Carriage, Carries};
use tutti_net::server::Settings;
use tutti_net::{Body, ConnectionInfo, DrainSignal, Handler, ListenOptions, Listener, Stream, serve};
use tutti_ports::catalog::{
    AppProtocol, Catalog, Check, Endpoint, Health, Instance, Probe, Registration, Spec,
};
use tutti_ports::exec::{Exec, ExecError, Finished};
use tutti_registry::{Handle, Options, Registry};
use tutti_testkit::state::MemoryStore;

struct NoExec;

#[async_trait::async_trait]
impl Exec for NoExec {
    async fn run(&self, id: &InstanceId, _: &[String], _: Duration) -> Result<Finished, ExecError> {
        Err(ExecError::NotRunning(id.clone()))
    }
}

fn start() -> Arc<Handle> {
    let (registry, handle) = Registry::new(
        Arc::new(MemoryStore::new()),
        Arc::new(SystemClock::new()),
        Rng::seeded(1),
        Options::default(),
    );
    tokio::spawn(registry.run(std::future::pending()));
    handle
}

/// Registers an instance with one check and no patience: one failure is enough, at once.
async fn watch(handle: &Handle, name: &str, probe: Probe) -> InstanceId {
    watch_at(handle, name.to_owned(), Vec::new(), probe).await
}

async fn watch_at(handle: &Handle, name: String, endpoints: Vec<Endpoint>, probe: Probe) -> InstanceId {
    let id = InstanceId::new(&name).unwrap();
    let spec = Spec {
        id: id.clone(),
        service: ServiceName::new("web").unwrap(),
        endpoints,
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    let check = Check {
        name: "web".into(),
        probe,
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        start_period: Duration::ZERO,
        start_interval: Duration::from_millis(20),
        fall: 1,
        rise: 1,
    };
    let exec = Arc::new(NoExec);
    handle.register(Registration { spec, checks: vec![check], exec, standing: None }).await.unwrap();
    id
}

async fn until(handle: &Handle, id: &InstanceId, health: Health) -> Instance {
    let mut view = handle.watch();
    let seen = view.wait_for(|view| view.instance(id).is_some_and(|instance| instance.health == health));
    let seen = tokio::time::timeout(Duration::from_secs(20), seen).await;
    let view = match seen {
        Ok(view) => view.unwrap().clone(),
        Err(_) => panic!("never {health:?}: {:?}", handle.watch().borrow().instance(id)),
    };
    view.instance(id).unwrap().clone()
}

fn listen() -> (Listener, SocketAddr) {
    let addr: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(&addr.into(), &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().socket_addr().unwrap();
    (listener, addr)
}

fn http_probe(addr: SocketAddr) -> Probe {
    Probe::Http { addr, path: "/health?deep=1".into(), host: None, any_status: false }
}

/// Answers 200 when well, and 503 with a reason otherwise. Keeps what it was asked.
#[derive(Default)]
struct Service {
    ill: AtomicBool,
    large: usize,
    asked: Mutex<Vec<(String, HeaderMap)>>,
}

impl Handler for Service {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let line = format!("{} {}", request.method(), request.uri());
        self.asked.lock().unwrap().push((line, request.headers().clone()));
        if self.ill.load(Ordering::Relaxed) {
            let mut response = Response::new("db \x1b[31mdown\r\n".into());
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        Response::new(Body::full(vec![b'x'; self.large]))
    }
}

fn run(service: Service) -> (Arc<Service>, SocketAddr, JoinHandle<tutti_net::server::Served>) {
    let (listener, addr) = listen();
    let service = Arc::new(service);
    let task =
        tokio::spawn(serve(listener, Arc::clone(&service), Settings::named("service"), DrainSignal::never()));
    (service, addr, task)
}

#[tokio::test]
async fn http_says_what_was_asked_and_what_came_back() {
    let (service, addr, _task) = run(Service::default());
    let handle = start();
    let id = watch(&handle, "web-1", http_probe(addr)).await;
    let seen = until(&handle, &id, Health::Passing).await;
    assert_eq!(seen.reason, format!("GET /health?deep=1 at {addr} answered 200"));
    service.ill.store(true, Ordering::Relaxed);
    let seen = until(&handle, &id, Health::Critical).await;
    assert_eq!(seen.reason, format!("GET /health?deep=1 at {addr} answered 503 \"db [31mdown\""));
    service.ill.store(false, Ordering::Relaxed);
    until(&handle, &id, Health::Passing).await;
    let (line, fields) = service.asked.lock().unwrap().first().cloned().unwrap();
    assert_eq!(line, "GET /health?deep=1");
    assert_eq!(fields.get(header::HOST).unwrap(), &addr.to_string());
    assert!(fields.get(header::USER_AGENT).unwrap().to_str().unwrap().starts_with("tutti/"));
}

#[tokio::test]
async fn any_status_passes_where_that_was_asked_for_and_the_host_is_sent() {
    let service = Service::default();
    service.ill.store(true, Ordering::Relaxed);
    let (service, addr, _task) = run(service);
    let handle = start();
    let probe = Probe::Http { addr, path: "/".into(), host: Some("shop.example".into()), any_status: true };
    let id = watch(&handle, "web-1", probe).await;
    let seen = until(&handle, &id, Health::Passing).await;
    assert_eq!(seen.reason, format!("GET / at {addr} answered 503"));
    assert_eq!(service.asked.lock().unwrap().first().unwrap().1.get(header::HOST).unwrap(), "shop.example");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let (_service, addr, _task) = run(Service { large: 64 << 20, ..Service::default() });
    let handle = start();
    let id = watch(&handle, "web-1", http_probe(addr)).await;
    until(&handle, &id, Health::Passing).await;
}

#[tokio::test]
async fn a_suspicion_finds_the_dead_at_once_whatever_the_interval() {
    let (_service, addr, task) = run(Service::default());
    let handle = start();
    let spec_id = InstanceId::new("web-1").unwrap();
    let check = Check {
        name: "web".into(),
        probe: Probe::Tcp { addr },
        interval: Duration::from_secs(3_600),
        timeout: Duration::from_secs(1),
        start_period: Duration::ZERO,
        start_interval: Duration::from_millis(20),
        fall: 3,
        rise: 1,
    };
    let spec = Spec {
        id: spec_id.clone(),
        service: ServiceName::new("web").unwrap(),
        endpoints: Vec::new(),
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    let exec = Arc::new(NoExec);
    handle.register(Registration { spec, checks: vec![check], exec, standing: None }).await.unwrap();
    until(&handle, &spec_id, Health::Passing).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    handle.suspect(&spec_id, "connection refused");
    let seen = until(&handle, &spec_id, Health::Critical).await;
    assert_eq!(seen.reason, format!("connection refused at {addr}"));
}

/// Answers every connection with these bytes, after the first bytes of a request; with none, it never answers.
fn raw(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let (listener, addr) = listen();
    let task = tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            if answer.is_empty() {
                silent.push(stream);
            } else {
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (addr, task)
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    let handle = start();
    for (number, (answer, probe, reason)) in [
        (
            &b""[..],
            http_probe as fn(SocketAddr) -> Probe,
            "GET /health?deep=1 at ADDR did not answer within 500ms",
        ),
        (
            b"220 mail.example ESMTP\r\n\r\n",
            http_probe,
            "GET /health?deep=1 at ADDR got no answer: the response is malformed",
        ),
        (
            b"",
            |addr| Probe::Grpc { addr, service: String::new() },
            "gRPC health at ADDR did not answer within 500ms",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            |addr| Probe::Grpc { addr, service: "s".into() },
            "gRPC health of s at ADDR got no answer",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (addr, _task) = raw(answer);
        let id = watch(&handle, &format!("web-{number}"), probe(addr)).await;
        let seen = until(&handle, &id, Health::Critical).await;
        let expected = reason.replace("ADDR", &addr.to_string());
        assert!(seen.reason.starts_with(&expected), "{} is not {expected}", seen.reason);
    }
}

#[tokio::test]
async fn where_nobody_listens_the_connection_is_refused() {
    let handle = start();
    let (listener, addr) = listen();
    drop(listener);
    for (number, probe) in
        [http_probe(addr), Probe::Tcp { addr }, Probe::Grpc { addr, service: String::new() }]
            .into_iter()
            .enumerate()
    {
        let id = watch(&handle, &format!("web-{number}"), probe).await;
        let seen = until(&handle, &id, Health::Critical).await;
        assert_eq!(
            seen.reason.trim_end_matches(" (2 times in a row)"),
            format!("connection refused at {addr}")
        );
    }
}

/// `grpc.health.v1.Health` that knows one service, `shop.Cart`.
struct GrpcHealth {
    serving: AtomicBool,
}

impl Handler for GrpcHealth {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers().get(header::CONTENT_TYPE).unwrap(), "application/grpc");
        assert_eq!(request.headers().get(header::TE).unwrap(), "trailers");
        let (message, _) = request.into_body().collect(1024).await.unwrap();
        let known = message == Bytes::from_static(b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        let mut trailers = HeaderMap::new();
        let (mut sender, body) = Body::channel(4);
        if known {
            let status = if self.serving.load(Ordering::Relaxed) { 1 } else { 2 };
            sender.send(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])).await.unwrap();
            trailers.insert("grpc-status", "0".parse().unwrap());
        } else {
            trailers.insert("grpc-status", "5".parse().unwrap());
        }
        sender.finish_with(trailers).await.unwrap();
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
        response
    }
}

#[tokio::test]
async fn grpc_asks_for_the_service_and_believes_its_answer() {
    let (listener, addr) = listen();
    let service = Arc::new(GrpcHealth { serving: AtomicBool::new(true) });
    let _task =
        tokio::spawn(serve(listener, Arc::clone(&service), Settings::named("grpc"), DrainSignal::never()));
    let handle = start();
    let cart = watch(&handle, "web-1", Probe::Grpc { addr, service: "shop.Cart".into() }).await;
    let seen = until(&handle, &cart, Health::Passing).await;
    assert_eq!(seen.reason, format!("gRPC health of shop.Cart at {addr} answered SERVING"));
    service.serving.store(false, Ordering::Relaxed);
    let seen = until(&handle, &cart, Health::Critical).await;
    assert_eq!(seen.reason, format!("gRPC health of shop.Cart at {addr} answered NOT_SERVING"));
    let other = watch(&handle, "web-2", Probe::Grpc { addr, service: "shop.Ghost".into() }).await;
    let seen = until(&handle, &other, Health::Critical).await;
    assert!(seen.reason.contains("gRPC status 5 (it does not know the service)"), "{}", seen.reason);
}

/// Begins with a line, and says a name.
struct Lined(Mutex<Vec<Carries>>);

impl Carriage for Lined {
    fn check<'a>(&'a self, service: &'a str, mut stream: Stream, carries: Carries) -> Beginning<'a> {
        self.0.lock().unwrap().push(carries);
        Box::pin(async move {
            assert_eq!(service, "web");
            if carries == Carries::Bytes {
                return Err(BeginError::NoHttp2);
            }
            stream.write_all(b"LINE\r\n").await.map_err(BeginError::Header)?;
            Ok(Begun { stream, server_name: Some("web.internal".to_owned()) })
        })
    }
}

/// A service that takes connections only as [`Lined`] begins them.
fn lined(service: Arc<Service>) -> SocketAddr {
    let (listener, addr) = listen();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut line = [0; 6];
            if stream.read_exact(&mut line).await.is_err() || line != *b"LINE\r\n" {
                continue;
            }
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                let mut first = vec![0; 4096];
                let read = stream.read(&mut first).await.unwrap();
                first.truncate(read);
                let http2 = first.starts_with(b"PRI * HTTP/2.0");
                let text = String::from_utf8_lossy(&first).to_ascii_lowercase();
                let host = text.split("host: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                let line = if http2 { "HTTP/2" } else { host.unwrap_or_default() };
                service.asked.lock().unwrap().push((line.to_owned(), HeaderMap::new()));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn checks_begin_as_the_carriage_says() {
    let service = Arc::new(Service::default());
    let addr = lined(Arc::clone(&service));
    let handle = start();
    let plain = watch(&handle, "web-1", http_probe(addr)).await;
    until(&handle, &plain, Health::Critical).await;
    let carriage = Arc::new(Lined(Mutex::default()));
    handle.carried_by(Arc::clone(&carriage) as Arc<dyn Carriage>);
    until(&handle, &plain, Health::Passing).await;
    let host = service.asked.lock().unwrap()[0].0.clone();
    assert_eq!(host, format!("web.internal:{}", addr.port()));
    // Over HTTP/2 and as bytes where requests are.
    handle.deregister(&plain, "enough").await.unwrap();
    let speaking = |number: u8, protocol, probe| {
        let endpoint = Endpoint { port: 80, addr, protocol };
        watch_at(&handle, format!("web-{number}"), vec![endpoint], probe)
    };
    let h2 = speaking(2, AppProtocol::H2c, http_probe(addr)).await;
    until(&handle, &h2, Health::Critical).await;
    assert_eq!(service.asked.lock().unwrap().last().unwrap().0, "HTTP/2");
    let bytes = speaking(3, AppProtocol::Tcp, Probe::Tcp { addr }).await;
    let seen = until(&handle, &bytes, Health::Critical).await;
    assert!(seen.reason.starts_with(&format!("at {addr}: no secure connection")), "{}", seen.reason);
    let grpc = speaking(4, AppProtocol::Http, Probe::Grpc { addr, service: String::new() }).await;
    until(&handle, &grpc, Health::Critical).await;
    assert_eq!(carriage.0.lock().unwrap().last(), Some(&Carries::Http2));
}

#[tokio::test]
async fn a_port_of_http2_is_asked_over_http2() {
    let (service, addr, _task) = run(Service::default());
    let handle = start();
    let endpoint = Endpoint { port: 80, addr, protocol: AppProtocol::H2c };
    let id = watch_at(&handle, "web-1".to_owned(), vec![endpoint], http_probe(addr)).await;
    until(&handle, &id, Health::Passing).await;
    service.ill.store(true, Ordering::Relaxed);
    let seen = until(&handle, &id, Health::Critical).await;
    assert_eq!(seen.reason, format!("GET /health?deep=1 at {addr} answered 503 \"db [31mdown\""));
}
