//! A one-worker data plane with its access log on, for `cargo xtask bench proxy`.
//!
//! `bench_proxy UPSTREAM LOG [LISTEN]`: proxies everything that comes to LISTEN (a free port if none is given; it is
//! printed) to UPSTREAM until standard input ends.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::watch;
use tutti_core::{InstanceId, ServiceName};
use tutti_ports::catalog::{
    AppProtocol, Catalog, CatalogError, Endpoint, Health, Instance, Registration, Report, Spec, Transition,
    View,
};
use tutti_ports::routing::{Backend, Listener, Route, Routing, Serve, Transport};
use tutti_proxy::{AccessLogOptions, LogFormat, Options, Proxy};

/// A catalog that never changes.
struct Fixed(watch::Sender<Arc<View>>);

#[async_trait::async_trait]
impl Catalog for Fixed {
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
    fn suspect(&self, _: &InstanceId, _: &str) {}
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.0.subscribe()
    }
    async fn history(&self, _: &ServiceName) -> Result<Vec<(InstanceId, Transition)>, CatalogError> {
        Ok(Vec::new())
    }
}

fn view(addr: SocketAddr) -> anyhow::Result<View> {
    let service = ServiceName::new("upstream")?;
    let spec = Spec {
        id: InstanceId::of(&service, 1),
        service: service.clone(),
        endpoints: vec![Endpoint { port: 80, addr, protocol: AppProtocol::Http }],
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    let instance = Instance {
        spec: Arc::new(spec),
        health: Health::Passing,
        reason: String::new(),
        since: SystemTime::now(),
    };
    Ok(View { generation: 1, services: BTreeMap::from([(service, vec![instance])]) })
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let upstream: SocketAddr = arguments.next().context("the upstream's address is missing")?.parse()?;
    let log = arguments.next().context("the access log's path is missing")?;
    let bind: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let backend = Backend::new(ServiceName::new("upstream")?, 80, AppProtocol::Http);
    let serve = Serve::http(vec![Route::to("all", backend)]);
    let listener = Listener { name: "bench".to_owned(), bind, transport: Transport::default(), serve };
    let routing = Routing { listeners: vec![listener], ..Routing::default() };
    let log = AccessLogOptions { path: log.into(), format: LogFormat::Text, rotate_bytes: u64::MAX, keep: 0 };
    let options = Options { workers: 1, access_log: Some(log), ..Options::default() };
    let catalog = Arc::new(Fixed(watch::channel(Arc::new(view(upstream)?)).0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (proxy, handle) = runtime.block_on(Proxy::start(options, routing, catalog, None))?;
    for listener in handle.describe().listeners {
        #[allow(clippy::print_stdout)]
        {
            println!("{}", listener.address);
        }
    }
    // Whoever started us holds the other end; when it is gone, so are we.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.block_on(proxy.shutdown());
    Ok(())
}
