//! A catalog in memory, upstreams, and clients that write what they like.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::client::{self, Limits};
use tutti_net::server::{Served, Settings};
use tutti_net::{Addr, Body, ConnectionInfo, Drainer, Handler, ListenOptions, Listener, Stream, serve};
use tutti_ports::catalog::{
    self, AppProtocol, CatalogError, Health, Instance, Registration, Report, Spec, Transition, View,
};
use tutti_ports::certificates::Certificates;
use tutti_ports::routing::{self, Backend, Route, Routing, Serve};
use tutti_proxy::{Handle, Options, Proxy};

pub const LIMITS: Limits = Limits { timeout: Duration::from_secs(20), body_bytes: 64 << 20 };

/// A catalog that says what the test says.
pub struct Catalog {
    views: watch::Sender<Arc<View>>,
    suspects: Mutex<Vec<String>>,
    suspected: Notify,
}

impl Catalog {
    pub fn new(instances: Vec<Instance>) -> Arc<Self> {
        let catalog = Self {
            views: watch::channel(Arc::default()).0,
            suspects: Mutex::default(),
            suspected: Notify::new(),
        };
        catalog.set(instances);
        Arc::new(catalog)
    }

    pub fn set(&self, instances: Vec<Instance>) {
        self.views.send_modify(|view| {
            let mut services = BTreeMap::<ServiceName, Vec<Instance>>::new();
            for instance in instances {
                services.entry(instance.spec.service.clone()).or_default().push(instance);
            }
            *view = Arc::new(View { generation: view.generation + 1, services });
        });
    }

    pub fn suspects(&self) -> Vec<String> {
        self.suspects.lock().unwrap().clone()
    }

    pub async fn suspected(&self) {
        self.suspected.notified().await;
    }
}

#[async_trait::async_trait]
impl catalog::Catalog for Catalog {
    async fn register(&self, _: Registration) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn drain(&self, _: &InstanceId, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn deregister(&self, _: &InstanceId, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    async fn report(&self, _: &InstanceId, _: &str, _: Report, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
    fn suspect(&self, id: &InstanceId, _: &str) {
        self.suspects.lock().unwrap().push(id.to_string());
        self.suspected.notify_one();
    }
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }
    async fn history(&self, _: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError> {
        Ok(Vec::new())
    }
}

pub fn name(service: &str) -> ServiceName {
    ServiceName::new(service).unwrap()
}

pub fn id(service: &str, ordinal: u32) -> InstanceId {
    InstanceId::of(&name(service), ordinal)
}

/// An instance that offers port 80 at `addr`.
pub fn instance(service: &str, ordinal: u32, addr: SocketAddr, health: Health) -> Instance {
    speaking(AppProtocol::Http, service, ordinal, addr, health)
}

pub fn speaking(
    protocol: AppProtocol,
    service: &str,
    ordinal: u32,
    addr: SocketAddr,
    health: Health,
) -> Instance {
    let spec = Spec {
        id: id(service, ordinal),
        service: name(service),
        endpoints: vec![catalog::Endpoint { port: 80, addr, protocol }],
        version: None,
        zone: None,
        weight: 1,
        tags: vec![],
        meta: BTreeMap::new(),
    };
    Instance {
        spec: Arc::new(spec),
        health,
        reason: "the test says so".into(),
        since: SystemTime::UNIX_EPOCH,
    }
}

pub fn passing(service: &str, ordinal: u32, addr: SocketAddr) -> Instance {
    instance(service, ordinal, addr, Health::Passing)
}

pub fn backend(service: &str) -> Backend {
    Backend::new(name(service), 80, AppProtocol::Http)
}

/// A route that takes everything to one service.
pub fn to(service: &str) -> Route {
    Route::to(service, backend(service))
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Settings for tests: two workers, so that what must hold over all of them is seen to.
pub fn options() -> Options {
    Options { workers: 2, drain_patience: Duration::from_secs(5), ..Options::default() }
}

/// A running data plane with one edge listener.
pub struct Tutti {
    pub proxy: Proxy,
    pub handle: Handle,
    pub catalog: Arc<Catalog>,
    pub edge: SocketAddr,
}

pub fn routing(serve: Serve) -> Routing {
    Routing { listeners: vec![listener("edge", loopback(), serve)], ..Routing::default() }
}

/// A listener of plain TCP.
pub fn listener(name: &str, bind: SocketAddr, serve: Serve) -> routing::Listener {
    routing::Listener { name: name.into(), bind, transport: routing::Transport::default(), serve }
}

impl Tutti {
    /// Waits until the metrics have a line that begins so.
    pub async fn counted(&self, line: &str) {
        let counted = async {
            loop {
                let mut page = tutti_core::metrics::Page::default();
                self.handle.metrics(&mut page);
                if page.finish().lines().any(|one| one.starts_with(line)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), counted).await.is_ok(), "no line {line}");
    }

    pub async fn start(options: Options, routes: Vec<Route>, instances: Vec<Instance>) -> Self {
        Self::serving(options, Serve::http(routes), instances).await
    }

    /// Behind proxies on this machine that are trusted.
    pub async fn trusting(options: Options, routes: Vec<Route>, instances: Vec<Instance>) -> Self {
        let mut routing = routing(Serve::http(routes));
        routing.listeners[0].transport.trusted_proxies.ranges = vec!["127.0.0.0/8".parse().unwrap()];
        Self::applying(options, routing, instances, None).await
    }

    pub async fn serving(options: Options, serve: Serve, instances: Vec<Instance>) -> Self {
        Self::applying(options, routing(serve), instances, None).await
    }

    pub async fn applying(
        options: Options,
        routing: Routing,
        instances: Vec<Instance>,
        certificates: Option<Arc<dyn Certificates>>,
    ) -> Self {
        let catalog = Catalog::new(instances);
        let known = Arc::clone(&catalog) as Arc<dyn catalog::Catalog>;
        let started = Proxy::start(options, routing, known, certificates).await;
        let (proxy, handle) = started.unwrap();
        let edge = handle.describe().listeners[0].address;
        Self { proxy, handle, catalog, edge }
    }
}

/// A server behind the proxy.
pub struct Upstream {
    pub addr: SocketAddr,
    pub drainer: Drainer,
    pub task: JoinHandle<Served>,
}

impl Upstream {
    /// Stops at once, cutting what is under way.
    pub async fn kill(self) {
        self.drainer.drain(Duration::ZERO);
        self.task.await.unwrap();
    }
}

struct Closure<F>(F);

impl<F, Fut> Handler for Closure<F>
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    fn handle(
        &self,
        request: Request<Body>,
        _: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send {
        (self.0)(request)
    }
}

pub async fn upstream<F, Fut>(answer: F) -> Upstream
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    upstream_at(loopback(), answer).await
}

pub async fn upstream_at<F, Fut>(addr: SocketAddr, answer: F) -> Upstream
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = Listener::bind(&Addr::Tcp(addr), &ListenOptions::default()).unwrap();
    let addr = listener.socket_addr().unwrap();
    let (drainer, signal) = Drainer::new();
    let task = tokio::spawn(serve(listener, Arc::new(Closure(answer)), Settings::named("upstream"), signal));
    Upstream { addr, drainer, task }
}

/// An upstream that answers with its name.
pub async fn named(text: &'static str) -> Upstream {
    upstream(move |_| async move { Response::new(Body::from(text)) }).await
}

/// An upstream that answers with what it was sent: first line, fields in order, empty line, body.
pub async fn echo() -> Upstream {
    upstream(|request| async move {
        let mut text = format!("{} {}\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        text.push('\n');
        let (body, trailers) = request.into_body().collect(1 << 20).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&body));
        for (name, value) in trailers.iter().flatten() {
            text.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
        }
        Response::new(Body::from(text))
    })
    .await
}

/// A listener that accepts and does with the stream what the test says.
pub async fn raw_upstream<F, Fut>(serve: F) -> (SocketAddr, JoinHandle<()>)
where
    F: Fn(Stream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = Listener::bind(&Addr::Tcp(loopback()), &ListenOptions::default()).unwrap();
    let addr = listener.socket_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    (addr, task)
}

/// An address at which nobody listens, and nobody will: a client's end, which stays taken until the tests end.
pub async fn nobody() -> SocketAddr {
    static TAKEN: Mutex<Vec<(Listener, Stream)>> = Mutex::new(Vec::new());
    let listener = Listener::bind(&Addr::Tcp(loopback()), &ListenOptions::default()).unwrap();
    let stream = dial(listener.socket_addr().unwrap()).await;
    let addr = stream.local_addr().unwrap().socket_addr().unwrap();
    TAKEN.lock().unwrap().push((listener, stream));
    addr
}

/// An address that is free at this moment.
pub fn free() -> SocketAddr {
    let listener = Listener::bind(&Addr::Tcp(loopback()), &ListenOptions::default()).unwrap();
    listener.socket_addr().unwrap()
}

pub async fn get(addr: SocketAddr, path: &str) -> Response<Bytes> {
    send(addr, Request::get(path).header("host", "shop.test").body(Body::empty()).unwrap()).await
}

pub async fn send(addr: SocketAddr, request: Request<Body>) -> Response<Bytes> {
    client::request(&Addr::Tcp(addr), request, LIMITS).await.unwrap()
}

pub fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

pub async fn dial(addr: SocketAddr) -> Stream {
    Stream::connect(&Addr::Tcp(addr), Duration::from_secs(5)).await.unwrap()
}

/// Sends bytes and reads until the other side closes.
pub async fn raw(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = dial(addr).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("the connection stays open").unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads from a stream until what was read ends with `end`.
pub async fn read_until(stream: &mut Stream, end: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(end.as_bytes()) {
            let byte = stream.read_u8().await.unwrap();
            all.push(byte);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("nothing more comes");
    String::from_utf8(all).unwrap()
}

/// The code in a JSON fault.
pub fn fault(response: &Response<Bytes>) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(response.body()).unwrap()["error"].take()
}
