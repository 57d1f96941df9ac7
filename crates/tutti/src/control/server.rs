//! The answering side.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Request, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tutti_core::metrics::Page;
use tutti_core::{Classify, Code, Kind, ServiceName, code};
use tutti_model::LoadOptions;
use tutti_net::{Body, ConnectionInfo, DrainSignal, Handler, ListenOptions, Listener, server};
use tutti_ports::catalog::Catalog;
use tutti_supervisor::logs::LogQuery;
use tutti_supervisor::status::Rollout;
use tutti_supervisor::{Handle, SupervisorError};

use super::wire::{
    Down, Listening, Outcome, Overview, Plan, Problem, ProblemBody, Reload, Scale, Services, Transition,
    UpRequest, Upgrade,
};
use super::{requests, streams};
use crate::engine::last_good::Keeper;
use crate::engine::upgrade::UpgradeError;
use crate::query::Query;

/// Largest body of a command.
const COMMAND_BYTES: usize = 1 << 20;

/// What the control API can see and command.
pub(crate) struct Api {
    /// The facts that do not change while Tutti runs; status and listeners are filled in at each call.
    pub(crate) overview: Overview,
    /// The services.
    pub(crate) supervisor: Handle,
    /// The catalog.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// Writes the metrics of every room.
    pub(crate) metrics: Box<dyn Fn(&mut Page) + Send + Sync>,
    /// Where it listens for the outside.
    pub(crate) listeners: Box<dyn Fn() -> Vec<Listening> + Send + Sync>,
    /// Takes changed files into force.
    pub(crate) reload: Box<dyn Fn(LoadOptions) -> Doing<Reload> + Send + Sync>,
    /// What taking them into force would change.
    pub(crate) diff: Box<dyn Fn(LoadOptions) -> Doing<Plan> + Send + Sync>,
    /// Certificates.
    pub(crate) trust: Arc<tutti_trust::Handle>,
    /// The data plane, for what it remembers of requests.
    pub(crate) proxy: tutti_proxy::Handle,
    /// Whether the files are in force, and are kept.
    pub(crate) keeper: Arc<Keeper>,
    /// Describes the data plane.
    pub(crate) routes: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Has another process take over.
    pub(crate) upgrade: crate::engine::upgrade::Ask,
    /// Whether another process has taken over.
    pub(crate) taken_over: Box<dyn Fn() -> bool + Send + Sync>,
    /// Asks the process to end.
    pub(crate) shutdown: Box<dyn Fn() + Send + Sync>,
}

/// A look at the files, or a reload, under way.
pub(crate) type Doing<T> = Pin<Box<dyn Future<Output = Result<T, SupervisorError>> + Send>>;

/// Serves the API at a Unix socket until drained.
pub(crate) async fn serve(listener: Listener, api: Arc<Api>, drain: DrainSignal) {
    server::serve(listener, api, server::Settings::named("control"), drain).await;
}

/// Binds the control socket.
pub(crate) fn bind(socket: &std::path::Path) -> std::io::Result<Listener> {
    Listener::bind(&tutti_net::Addr::unix(socket), &ListenOptions::default())
}

/// An answer, or what went wrong.
type Answer = Result<Response<Body>, Failure>;

/// A problem with its status.
struct Failure {
    status: StatusCode,
    problem: ProblemBody,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            problem: ProblemBody { kind: kind.as_str().to_owned(), message: message.into(), code: None },
        }
    }
}

impl Failure {
    fn is(&self, code: Code) -> bool {
        self.problem.code.as_ref().is_some_and(|said| *said == code.to_string())
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Failure::new(error.kind(), tutti_core::error::chain(&error));
        failure.problem.code = error.code().map(|code| code.to_string());
        failure
    }
}

impl Handler for Api {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        match self.route(request).await {
            Ok(response) => response,
            // Whatever the reason seems to be.
            Err(failure) if (self.taken_over)() && !failure.is(code::UPGRADE_REFUSED) => {
                let mut failure =
                    Failure::new(Kind::Unavailable, "another version has taken over meanwhile; ask again");
                failure.problem.code = Some(code::UPGRADED_AWAY.to_string());
                json(failure.status, &Problem { error: failure.problem })
            }
            Err(failure) => json(failure.status, &Problem { error: failure.problem }),
        }
    }
}

impl Api {
    async fn route(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/v1/status") => Ok(ok(&self.overview())),
            (&Method::GET, "/v1/top") => self.top().await,
            (&Method::GET, "/v1/history") => self.history(&query).await,
            (&Method::GET, "/v1/rewrites") => Ok(ok(&self.supervisor.rewrites())),
            (&Method::GET, "/v1/routes") => Ok(ok(&(self.routes)())),
            (&Method::GET, "/v1/requests") => self.requests(&query).await,
            (&Method::GET, "/v1/requests/one") => self.request(query.first("id").unwrap_or_default()).await,
            (&Method::GET, "/v1/certificates") => Ok(ok(&self.trust.standings().await)),
            (&Method::GET, "/v1/events") => Ok(streams::events(self.supervisor.events())),
            (&Method::GET, "/v1/logs") => self.logs(&query).await,
            (&Method::GET, "/v1/surroundings") => self.surroundings(&query).await,
            (&Method::GET, "/metrics") => Ok(self.metrics()),
            (&Method::POST, "/v1/up") => self.up(read(body).await?).await,
            (&Method::POST, "/v1/start") => self.start(read(body).await?).await,
            (&Method::POST, "/v1/stop") => self.stop(read(body).await?).await,
            (&Method::POST, "/v1/restart") => self.restart(read(body).await?).await,
            (&Method::POST, "/v1/scale") => self.scale(read(body).await?).await,
            (&Method::POST, "/v1/reload") => Ok(ok(&(self.reload)(read(body).await?).await?)),
            (&Method::POST, "/v1/diff") => Ok(ok(&(self.diff)(read(body).await?).await?)),
            (&Method::POST, "/v1/upgrade") => self.upgrade(read(body).await?).await,
            (&Method::POST, "/v1/down") => self.down(read(body).await?).await,
            (method, path) => Err(Failure::new(Kind::NotFound, format!("there is no {method} {path}"))),
        }
    }

    fn overview(&self) -> Overview {
        let status = (*self.supervisor.status()).clone();
        let edge_generation = self.proxy.generation();
        let (last_good, not_kept) = (self.keeper.resumed(), self.keeper.not_kept());
        let listeners = (self.listeners)();
        Overview { status, edge_generation, last_good, not_kept, listeners, ..self.overview.clone() }
    }

    async fn top(&self) -> Answer {
        self.supervisor.top().await?;
        Ok(ok(&self.overview()))
    }

    async fn history(&self, query: &Query) -> Answer {
        let service = self.service(query.first("service").unwrap_or_default())?;
        let history = self.catalog.history(&service).await;
        let history =
            history.map_err(|error| Failure::new(error.kind(), tutti_core::error::chain(&error)))?;
        let changes: Vec<Transition> = history
            .into_iter()
            .map(|(instance, transition)| Transition {
                instance: instance.to_string(),
                at_ms: millis(transition.at),
                from: transition.from.map(|health| health.as_str().to_owned()),
                to: transition.to.map(|health| health.as_str().to_owned()),
                reason: transition.reason,
            })
            .collect();
        Ok(ok(&changes))
    }

    /// `of=` a service or instance: beside it; `once=` a service: as one more instance of it.
    async fn surroundings(&self, query: &Query) -> Answer {
        if let Some(name) = query.first("once") {
            return Ok(ok(&self.supervisor.once(&self.service(name)?).await?));
        }
        let name = query.first("of").unwrap_or_default();
        let status = self.supervisor.status();
        let instance = status.instance(name).or_else(|| {
            status
                .service(name)
                .and_then(|service| service.instances.iter().find(|instance| instance.pid.is_some()))
        });
        match instance {
            Some(instance) => Ok(ok(&self.supervisor.beside(&instance.id)?)),
            None => {
                let service = self.service(name)?;
                Err(Failure::new(
                    Kind::NotFound,
                    format!(
                        "no instance of {service} runs; `tutti start {service}` starts it, `tutti run {service}` runs a command without it"
                    ),
                ))
            }
        }
    }

    async fn logs(&self, query: &Query) -> Answer {
        let number = |name: &str| query.first(name).map(str::parse::<u64>).transpose();
        let bad = |_| Failure::new(Kind::Invalid, "since_us, until_us and tail are numbers");
        let services = self.services(&query.all("service").map(str::to_owned).collect::<Vec<_>>())?;
        let wanted = LogQuery {
            services: services.iter().map(ToString::to_string).collect(),
            instance: query.first("instance").map(str::to_owned),
            since_us: number("since_us").map_err(bad)?,
            until_us: number("until_us").map_err(bad)?,
            tail: number("tail").map_err(bad)?.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        };
        match query.first("follow") {
            Some(_) => Ok(streams::followed(self.supervisor.follow(wanted).await)),
            None => Ok(streams::printed(self.supervisor.logs(wanted).await)),
        }
    }

    async fn up(&self, request: UpRequest) -> Answer {
        let services = self.services(&request.services)?;
        for (name, replicas) in &request.scale {
            self.supervisor.scale(&self.service(name)?, *replicas).await?;
        }
        if request.recreate {
            let running = self.running(&services);
            if !running.is_empty() {
                self.supervisor.restart(&running).await?;
            }
        }
        if request.no_deps {
            self.supervisor.start(&services).await?;
            self.keeper.tried().await;
            return self.outcome(&services, request.wait_s).await;
        }
        self.supervisor.up(&services).await?;
        self.keeper.tried().await;
        self.outcome(&self.supervisor.with_dependencies(&services), request.wait_s).await
    }

    async fn start(&self, request: Services) -> Answer {
        let services = self.services(&request.services)?;
        self.supervisor.start(&services).await?;
        self.outcome(&services, 0).await
    }

    async fn stop(&self, request: Services) -> Answer {
        let services = self.services(&request.services)?;
        self.supervisor.stop_within(&services, seconds(request.timeout_s)).await?;
        self.supervisor.stopped(&services).await;
        let named =
            |name: &str| services.is_empty() || services.iter().any(|service| service.as_str() == name);
        let status = self.supervisor.status();
        let all = status.services.iter().map(|service| service.name.to_string());
        let good = all.filter(|name| named(name)).collect();
        Ok(ok(&Outcome { good, bad: BTreeMap::new() }))
    }

    async fn restart(&self, request: Services) -> Answer {
        let services = self.services(&request.services)?;
        self.supervisor.restart_within(&services, seconds(request.timeout_s)).await?;
        let settled = self.supervisor.settled(&services).await;
        let mut outcome = Outcome { good: settled.good, bad: settled.bad };
        // Its old instances may serve as before; it is not restarted.
        for service in &self.supervisor.status().services {
            let at = outcome.good.iter().position(|name| name == service.name.as_str());
            if let (Some(at), Some(Rollout::Aborted(reason))) = (at, &service.rollout) {
                outcome.bad.insert(outcome.good.remove(at), format!("the restart was given up: {reason}"));
            }
        }
        Ok(ok(&outcome))
    }

    async fn scale(&self, request: Scale) -> Answer {
        let mut services = Vec::new();
        for (name, replicas) in &request.services {
            let service = self.service(name)?;
            self.supervisor.scale(&service, *replicas).await?;
            services.push(service);
        }
        self.outcome(&services, 0).await
    }

    /// Answers when every service has stopped; the process itself ends after that.
    async fn down(&self, request: Down) -> Answer {
        let status = self.supervisor.status();
        let running = status.services.iter().filter(|service| !service.instances.is_empty());
        let good = running.map(|service| service.name.to_string()).collect();
        self.supervisor.shutdown_within(seconds(request.timeout_s)).await;
        (self.shutdown)();
        Ok(ok(&Outcome { good, bad: BTreeMap::new() }))
    }

    /// Answers when another process has taken over, or nothing has changed.
    async fn upgrade(&self, request: Upgrade) -> Answer {
        let (reply, answer) = oneshot::channel();
        let ending = || match (self.taken_over)() {
            true => UpgradeError::late().into(),
            false => Failure::new(Kind::Unavailable, "everything is being stopped"),
        };
        self.upgrade.send((request, reply)).await.map_err(|_| ending())?;
        Ok(ok(&answer.await.map_err(|_| ending())??))
    }

    async fn outcome(&self, services: &[ServiceName], wait_s: u64) -> Answer {
        let settled = self.supervisor.settled(services);
        let settled = match wait_s {
            0 => settled.await,
            seconds => match tokio::time::timeout(Duration::from_secs(seconds), settled).await {
                Ok(settled) => settled,
                Err(_) => {
                    return Err(Failure::new(
                        Kind::Timeout,
                        format!("not everything was ready within {seconds} s"),
                    ));
                }
            },
        };
        if !settled.bad.is_empty() && (self.taken_over)() {
            return Err(SupervisorError::Closed.into());
        }
        // The catalog knows a moment before the workers do, and whoever is told "ready" may ask at once.
        self.proxy.settled().await;
        Ok(ok(&Outcome { good: settled.good, bad: settled.bad }))
    }

    async fn requests(&self, query: &Query) -> Answer {
        let wanted = requests::wanted(query).map_err(|why| Failure::new(Kind::Invalid, why))?;
        Ok(ok(&self.proxy.requests(&wanted).await))
    }

    async fn request(&self, id: &str) -> Answer {
        match self.proxy.explain(id).await {
            Some(told) => Ok(ok(&told)),
            None => {
                let mut failure =
                    Failure::new(Kind::NotFound, format!("no request of the id {id:?} is remembered"));
                failure.problem.code = Some(tutti_core::code::REQUEST_FORGOTTEN.to_string());
                Err(failure)
            }
        }
    }

    fn metrics(&self) -> Response<Body> {
        let mut page = Page::default();
        (self.metrics)(&mut page);
        let mut response = Response::new(Body::from(page.finish()));
        let text = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }

    /// Those of the services of which something runs; none named: of all.
    fn running(&self, services: &[ServiceName]) -> Vec<ServiceName> {
        let status = self.supervisor.status();
        let all =
            status.services.iter().filter(|service| service.instances.iter().any(|one| one.pid.is_some()));
        let named = |name: &ServiceName| services.is_empty() || services.contains(name);
        all.map(|service| service.name.clone()).filter(named).collect()
    }

    fn services(&self, names: &[String]) -> Result<Vec<ServiceName>, Failure> {
        names.iter().map(|name| self.service(name)).collect()
    }

    fn service(&self, name: &str) -> Result<ServiceName, Failure> {
        let status = self.supervisor.status();
        if let Some(service) = status.service(name) {
            return Ok(service.name.clone());
        }
        let known: Vec<&str> = status.services.iter().map(|service| service.name.as_str()).collect();
        let message = format!("there is no service {name:?}; the application has {}", known.join(", "));
        Err(Failure::new(Kind::NotFound, message))
    }
}

fn seconds(count: Option<u64>) -> Option<Duration> {
    count.map(Duration::from_secs)
}

fn ok(value: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // The wire types hold nothing that JSON cannot say.
    let mut response = Response::new(Body::full(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let (bytes, _) =
        body.collect(COMMAND_BYTES).await.map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
    // No body means nothing special.
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
