//! What others do with the running data plane: new routes, doors, waiting for traffic to end, and looking.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tutti_core::{InstanceId, ServiceName, metrics::Page};
use tutti_net::carry::Carriage;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::door::{Door, DoorError};
use tutti_ports::routing::Routing;
use tutti_ports::traffic::Traffic;

use crate::changes::{RouteEdit, Work};
use crate::engine::Shared;
use crate::error::ApplyError;
use crate::explain::report::{Teller, Wanted};
use crate::explain::{Explanation, Summary};
use crate::model::breaker::State;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, Clusters};
use crate::snapshot::members::words;
use crate::snapshot::plan::{ListenerPlan, Serve, Side};
use crate::upstream::endpoint::Endpoint;

/// A handle on the running data plane. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes new listeners and routes into force: all of them, or on an error none. Listeners that stay keep their
    /// sockets and connections; those that go are drained. Answers when every worker serves what is new, with the
    /// generation in which it is.
    pub async fn apply(&self, routing: Routing) -> Result<u64, ApplyError> {
        self.shared.submit(Work::All(Box::new(routing))).await
    }

    /// Changes single routes of a listener: all of them, or on an error none. Costs what it changes, however many routes
    /// there are. Answers as [`Handle::apply`] does.
    pub async fn edit(&self, listener: &str, edits: Vec<RouteEdit>) -> Result<u64, ApplyError> {
        self.shared.submit(Work::Edits { listener: listener.to_owned(), edits }).await
    }

    /// How connections to services begin, for whoever else connects to them. Knows of every [`Handle::apply`].
    pub fn carriage(&self) -> Arc<dyn Carriage> {
        Arc::clone(&self.shared.in_force) as Arc<dyn Carriage>
    }

    /// The newest generation, when every worker serves it: listeners, routes, doors, endpoints and certificates have one together. It is made
    /// of no less than what the catalog knows at the time of the call, unless the data plane is closing.
    pub async fn settled(&self) -> u64 {
        self.until(|_| true).await;
        let generation = self.generation();
        self.shared.all_adopted(generation).await;
        generation
    }

    /// How often a description was read again because its files have changed, and is another one since.
    pub async fn descriptions_reread(&self) -> u64 {
        self.shared.control.lock().await.documents.reread()
    }

    /// The generation of the newest snapshot.
    pub fn generation(&self) -> u64 {
        self.shared.snapshots.borrow().generation
    }

    /// Writes the data plane's metrics.
    pub fn metrics(&self, page: &mut Page) {
        self.gauge();
        self.shared.metrics.write(page);
    }

    /// Brings those gauges up to date that nobody counts: an ejection ends by itself.
    fn gauge(&self) {
        let snapshot = Arc::clone(&self.shared.snapshots.borrow());
        let now = self.shared.origin.elapsed();
        let mut services: BTreeMap<&str, (i64, Option<i64>)> = BTreeMap::new();
        for cluster in snapshot.clusters.iter() {
            let (ejected, breaker) = services.entry(cluster.service.as_str()).or_default();
            let here = cluster.ready.iter().filter(|endpoint| endpoint.passive.is_ejected(now)).count();
            *ejected += i64::try_from(here).unwrap_or(i64::MAX);
            if cluster.policy.breaker.is_some() {
                let state = match cluster.guard.state() {
                    State::Closed => 0,
                    State::HalfOpen { .. } => 1,
                    State::Open { .. } => 2,
                };
                *breaker = (*breaker).max(Some(state));
            }
        }
        for (service, (ejected, breaker)) in services {
            let labels = [("service", service)];
            self.shared.metrics.ejected.with(&labels).set(ejected);
            if let Some(state) = breaker {
                self.shared.metrics.breaker_state.with(&labels).set(state);
            }
        }
    }

    /// What is in force now.
    pub fn describe(&self) -> Description {
        let snapshot = Arc::clone(&self.shared.snapshots.borrow());
        let now = self.shared.origin.elapsed();
        Description {
            generation: snapshot.generation,
            view: snapshot.view.generation,
            listeners: snapshot.listeners.iter().map(|plan| listener(plan, &snapshot)).collect(),
            services: snapshot.clusters.iter().map(|cluster| service(cluster, now)).collect(),
        }
    }

    /// What became of the request of this id or trace, and why; `None` if it is not remembered (any more).
    pub async fn explain(&self, id: &str) -> Option<Explanation> {
        let control = self.shared.control.lock().await;
        self.teller(&control.clusters).explain(id)
    }

    /// The newest requests that are remembered, newest first.
    pub async fn requests(&self, wanted: &Wanted) -> Vec<Summary> {
        let control = self.shared.control.lock().await;
        self.teller(&control.clusters).list(wanted)
    }

    fn teller<'a>(&'a self, clusters: &'a Clusters) -> Teller<'a> {
        let snapshot = Arc::clone(&self.shared.snapshots.borrow());
        Teller { shared: &self.shared, clusters, snapshot }
    }

    /// The generation of the first snapshot that is made of no less than what the catalog knows now, and of which this holds. When no
    /// snapshot comes any more, the greatest number: nothing is chosen once the workers are gone.
    async fn until(&self, holds: impl Fn(&Snapshot) -> bool) -> u64 {
        let mut snapshots = self.shared.snapshots.subscribe();
        // A change that the catalog has acknowledged may not have reached a snapshot yet.
        let known = self.shared.catalog.watch().borrow().generation;
        let mut closed = self.shared.closed.subscribe();
        let settled = async {
            let settled = snapshots.wait_for(|one| one.view.generation >= known && holds(one)).await;
            settled.map_or(u64::MAX, |snapshot| snapshot.generation)
        };
        let ended = async {
            let _ = closed.wait_for(|closed| *closed).await;
            u64::MAX
        };
        tokio::select! { generation = settled => generation, generation = ended => generation }
    }

    async fn until_drained(&self, id: &InstanceId) {
        let chosen =
            |snapshot: &Snapshot| snapshot.view.instance(id).is_some_and(|one| one.health.takes_traffic());
        let generation = self.until(|snapshot| !chosen(snapshot)).await;
        self.shared.all_adopted(generation).await;
        let load = self.shared.control.lock().await.clusters.load(id);
        if let Some(load) = load {
            load.until_idle().await;
        }
    }
}

#[async_trait::async_trait]
impl Door for Handle {
    async fn open(
        &self,
        service: &ServiceName,
        port: u16,
        protocol: AppProtocol,
    ) -> Result<SocketAddr, DoorError> {
        let opened = self.shared.open(service, port, protocol, None).await;
        opened.map_err(|error| match error {
            ApplyError::Closed => DoorError::Closed,
            ApplyError::Bind { source, .. } => DoorError::Listen { service: service.clone(), port, source },
            other => {
                DoorError::Listen { service: service.clone(), port, source: std::io::Error::other(other) }
            }
        })
    }
}

#[async_trait::async_trait]
impl Traffic for Handle {
    async fn drained(&self, id: &InstanceId, patience: Duration) -> u64 {
        if tokio::time::timeout(patience, self.until_drained(id)).await.is_ok() {
            return 0;
        }
        let load = self.shared.control.lock().await.clusters.load(id);
        // It may still be chosen, so it is not idle even if nothing is under way at this moment.
        load.map_or(1, |load| load.get().max(1))
    }
}

/// The data plane, for people and the API.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The snapshot's generation.
    pub generation: u64,
    /// The generation of the catalog's view that it was made of.
    pub view: u64,
    /// What is listened at.
    pub listeners: Vec<ListenerDescription>,
    /// Where requests may go.
    pub services: Vec<ServiceDescription>,
}

/// A listener.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerDescription {
    /// Its name.
    pub name: String,
    /// Where it really listens.
    pub address: SocketAddr,
    /// `edge` or `door`.
    pub side: &'static str,
    /// `http` or `tcp`.
    pub protocol: &'static str,
    /// Whether TLS carries it.
    pub tls: bool,
    /// Its routes, in the order of declaration.
    pub routes: Vec<RouteDescription>,
}

/// A route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteDescription {
    /// Its name.
    pub name: String,
    /// Its backends, as `service:port`.
    pub backends: Vec<String>,
}

/// A service's port.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceDescription {
    /// The service.
    pub service: String,
    /// The port.
    pub port: u16,
    /// Which of its instances; `None`: all.
    pub subset: Option<String>,
    /// How an instance is chosen.
    pub balance: &'static str,
    /// Whether so few instances are well that health is not looked at.
    pub panic: bool,
    /// Where its circuit breaker is: `closed`, `half-open` or `open`; `None`: it has none.
    pub breaker: Option<&'static str>,
    /// Who takes traffic.
    pub endpoints: Vec<EndpointDescription>,
    /// Why nobody does; empty if somebody does.
    pub why: String,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointDescription {
    /// The instance.
    pub instance: String,
    /// Where it listens.
    pub address: String,
    /// Its level: 0 is asked first.
    pub level: usize,
    /// Requests and connections under way on the instance.
    pub in_flight: u64,
    /// Whether it refused a connection a moment ago and is passed over.
    pub cooling: bool,
    /// Why and for how long it is passed over for what its answers showed.
    pub ejected: Option<EjectedDescription>,
}

/// An endpoint that is passed over.
#[derive(Clone, Debug, Serialize)]
pub struct EjectedDescription {
    /// Which rule.
    pub reason: &'static str,
    /// For how much longer, in milliseconds.
    pub remaining_ms: u64,
    /// How often it has been, as far as it is not forgiven.
    pub times: u32,
}

fn listener(plan: &ListenerPlan, snapshot: &Snapshot) -> ListenerDescription {
    let name = |slot: usize| {
        snapshot
            .clusters
            .get(slot)
            .map_or(String::new(), |cluster| format!("{}:{}", cluster.service, cluster.port))
    };
    let (protocol, mut routes): (_, Vec<RouteDescription>) = match &plan.serve {
        Serve::Stream(_) => ("tcp", Vec::new()),
        Serve::Http(routes) => {
            let describe = |route: &Arc<crate::snapshot::plan::RoutePlan>| RouteDescription {
                name: route.name.clone(),
                backends: route.backends.iter().map(|backend| name(backend.slot)).collect(),
            };
            ("http", routes.declared().into_iter().map(describe).collect())
        }
        Serve::Tcp(target) => {
            let backends = vec![name(target.slot)];
            ("tcp", vec![RouteDescription { name: plan.name.to_string(), backends }])
        }
    };
    let streams = plan.passthrough.iter().chain(match &plan.serve {
        Serve::Stream(Some(route)) => Some(&**route),
        _ => None,
    });
    let passed = streams.map(|stream| RouteDescription {
        name: stream.route.name.clone(),
        backends: stream.route.backends.iter().map(|backend| name(backend.slot)).collect(),
    });
    routes.extend(passed);
    let side = match plan.side {
        Side::Edge => "edge",
        Side::Door => "door",
    };
    let tls = plan.transport.as_ref().is_some_and(|transport| transport.tls.is_some());
    ListenerDescription { name: plan.name.to_string(), address: plan.address, side, protocol, tls, routes }
}

fn service(cluster: &Arc<Cluster>, now: Duration) -> ServiceDescription {
    let describe = |level: usize, endpoint: &Arc<Endpoint>| EndpointDescription {
        instance: endpoint.instance.to_string(),
        address: endpoint.addr.to_string(),
        level,
        in_flight: endpoint.load.get(),
        cooling: endpoint.is_cold(now),
        ejected: endpoint.passive.ejected(now).map(|ejected| EjectedDescription {
            reason: ejected.reason.as_str(),
            remaining_ms: u64::try_from(ejected.remaining.as_millis()).unwrap_or(u64::MAX),
            times: ejected.times,
        }),
    };
    let breaker = cluster.policy.breaker.as_ref().map(|_| match cluster.guard.state() {
        State::Closed => "closed",
        State::HalfOpen { .. } => "half-open",
        State::Open { .. } => "open",
    });
    let levels = cluster.levels.iter().enumerate();
    let endpoints =
        levels.flat_map(|(at, level)| level.members(&cluster.ready).iter().map(move |one| describe(at, one)));
    ServiceDescription {
        service: cluster.service.to_string(),
        port: cluster.port,
        subset: cluster.subset.as_ref().map(words),
        balance: cluster.algorithm.as_str(),
        panic: cluster.panic,
        breaker,
        endpoints: endpoints.collect(),
        why: cluster.why.clone(),
    }
}
