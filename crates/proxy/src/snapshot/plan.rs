//! Listeners and routes, compiled: everything that can be decided before a request comes has been.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tutti_core::limits;
use tutti_net::{MinRate, Transport};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{
    self, Backend, ClientLimits, DoorRules, Filter, PathMatch, PathRewrite, Resilience, Route, TrustedProxies,
};

use super::book::Book;
use super::cluster::{Clusters, Slot};
pub use super::routes::Routes;
pub use super::streams::StreamPlan;
use crate::config::{Balance, Options};
use crate::content::ContentPlan;
use crate::error::ApplyError;
use crate::guard::GuardPlan;
use crate::guard::auth::keyring::Keyrings;
use crate::guard::external::ExternalPlan;
use crate::guard::identity::Fields;
use crate::metrics::{Metrics, RouteMetrics};
use crate::model::balance::Picker;
use crate::model::headers::Edit;
use crate::model::retry::Policy;
use crate::model::router::{Made, RouteError, host_key};
use crate::openapi::OpenApiPlan;
use crate::openapi::document::Documents;
use crate::resilience;

/// A listener.
#[derive(Clone)]
pub struct ListenerPlan {
    /// Which socket it is: as long as the key stays, so do the socket and its connections.
    pub key: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Where it was asked to listen; with port 0 for a door.
    pub bind: SocketAddr,
    /// Where it listens.
    pub address: SocketAddr,
    /// What carries it; `None` is plain TCP.
    pub transport: Option<Arc<Transport>>,
    /// Whether HTTP/3 is served beside it.
    pub http3: bool,
    /// Where clients find HTTP/3, or that there is none any more (RFC 7838 section 3).
    pub alt_svc: Option<HeaderValue>,
    /// Whether its clients are strangers.
    pub side: Side,
    /// What each client may take; the defaults for a door, where nobody looks at them.
    pub limits: ClientLimits,
    /// Which proxies in front are believed; none for a door.
    pub trusted: TrustedProxies,
    /// What it serves.
    pub serve: Serve,
    /// By which routes connections of TLS are passed on as they are.
    pub passthrough: Vec<StreamPlan>,
    /// Header fields that only we set; `None`: none, or nobody has to be kept from setting them.
    pub identity: Option<Arc<Fields>>,
    /// Counts requests that no route matched.
    pub unmatched: Arc<RouteMetrics>,
}

/// Whom a listener faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The world.
    Edge,
    /// Our own services.
    Door,
}

impl ListenerPlan {
    /// How fast a client must send and take bodies.
    pub fn min_rate(&self) -> Option<MinRate> {
        let ClientLimits { min_rate: bytes_per_second, min_rate_grace: grace, .. } = self.limits;
        let counts = self.side == Side::Edge && bytes_per_second > 0;
        counts.then_some(MinRate { bytes_per_second, grace })
    }
}

/// What a listener serves.
#[derive(Clone)]
pub enum Serve {
    /// HTTP by routes.
    Http(Box<Routes>),
    /// Bytes to one service.
    Tcp(Target),
    /// Bytes by a route; `None`: only what is passed on, see [`ListenerPlan::passthrough`].
    Stream(Option<Box<StreamPlan>>),
}

/// A backend.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The service and port.
    pub slot: Slot,
    /// What the route says is spoken there.
    pub protocol: AppProtocol,
    /// Its place among the route's backends.
    pub at: usize,
}

/// What is done to the requests that go to one backend of a route.
#[derive(Default)]
pub struct BackendEdits {
    /// To requests, in order.
    pub request: Vec<Step>,
    /// To responses, in order.
    pub response: Vec<Edit>,
}

/// Where copies of requests go.
pub struct MirrorPlan {
    /// To whom.
    pub target: Target,
    /// So many of `denominator` requests.
    pub numerator: usize,
    /// Not 0.
    pub denominator: usize,
    /// What is done to the copies.
    pub edits: BackendEdits,
}

impl MirrorPlan {
    /// Whether every request is copied.
    pub fn always(&self) -> bool {
        self.numerator >= self.denominator
    }
}

/// A compiled route.
pub struct RoutePlan {
    /// Its name.
    pub name: String,
    /// What is done to requests, in order.
    pub filters: Vec<Step>,
    /// What is done to responses, in order.
    pub response: Vec<Edit>,
    /// Where it goes.
    pub backends: Vec<Target>,
    /// Chooses among the backends.
    pub picker: Picker,
    /// What is done for single backends, in their order; empty when nothing is for any.
    pub edits: Vec<BackendEdits>,
    /// Where copies go.
    pub mirrors: Vec<MirrorPlan>,
    /// All tries together; `None`: no limit.
    pub timeout: Option<Duration>,
    /// One try; `None`: no limit of its own.
    pub per_try: Option<Duration>,
    /// Silence in a body; `None`: no limit.
    pub idle: Option<Duration>,
    /// Who may ask, and how often; `None`: everybody.
    pub guard: Option<Box<GuardPlan>>,
    /// What it does when things go wrong, if it says anything of it.
    pub resilience: Option<Box<resilience::plan::Plan>>,
    /// Whether requests of gRPC-Web become requests of gRPC.
    pub web: bool,
    /// What requests and responses may hold; `None`: anything.
    pub content: Option<Box<ContentPlan>>,
    /// Whether its requests are recorded.
    pub logged: bool,
    /// Its counters.
    pub metrics: RouteMetrics,
}

impl RoutePlan {
    /// Its rules of retrying, if it has any of its own.
    pub fn retries(&self) -> Option<&Policy> {
        self.resilience.as_ref()?.retries.as_ref()
    }

    /// When another instance is asked as well, if ever.
    pub fn hedge(&self) -> Option<&routing::Hedge> {
        self.resilience.as_ref()?.hedge.as_ref()
    }
}

/// One thing done to a request.
pub enum Step {
    /// Edits its header.
    Headers(Edit),
    /// Changes what is asked for.
    Rewrite {
        /// The new host.
        host: Option<HeaderValue>,
        /// The new path.
        path: Option<PathRewrite>,
    },
    /// Answers.
    Redirect {
        /// The scheme.
        scheme: Option<String>,
        /// The host.
        host: Option<String>,
        /// The port.
        port: Option<u16>,
        /// The path.
        path: Option<PathRewrite>,
        /// The status.
        status: StatusCode,
    },
}

/// What compiling needs.
pub struct Compiler<'a> {
    /// Gives slots to backends.
    pub clusters: &'a mut Clusters,
    /// Makes counters.
    pub metrics: &'a Metrics,
    /// The defaults.
    pub options: &'a Options,
    /// The keys of issuers of tokens.
    pub keyrings: &'a mut Keyrings,
    /// Descriptions of services.
    pub documents: &'a mut Documents,
    /// The regular expressions and conditions of routes.
    pub made: &'a mut Made,
    /// Header fields that only we set.
    pub identity: Option<Arc<Fields>>,
}

impl Compiler<'_> {
    /// Compiles a listener of the edge, without its routes.
    pub fn edge(
        &mut self,
        listener: &routing::Listener,
        key: u64,
        address: SocketAddr,
    ) -> Result<ListenerPlan, ApplyError> {
        let failed = |source| ApplyError::Route { listener: listener.name.clone(), source };
        let serve = match &listener.serve {
            routing::Serve::Tcp(backend) => Serve::Tcp(self.target(&listener.name, backend).map_err(failed)?),
            routing::Serve::Http(_) => Serve::Http(Box::default()),
            routing::Serve::Stream(None) => Serve::Stream(None),
            routing::Serve::Stream(Some(route)) => {
                Serve::Stream(Some(Box::new(self.stream(&listener.name, route).map_err(failed)?)))
            }
        };
        let passthrough = listener.transport.passthrough.iter();
        let passthrough = passthrough
            .map(|route| self.stream(&listener.name, route))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let plan = self.plan(&listener.name, key, (listener.bind, address), Side::Edge, serve);
        let (limits, trusted) = (&listener.transport.limits, &listener.transport.trusted_proxies);
        Ok(ListenerPlan { limits: limits.clone(), trusted: trusted.clone(), passthrough, ..plan })
    }

    /// Compiles a door.
    pub fn door(
        &mut self,
        name: &str,
        backend: &Backend,
        key: u64,
        address: SocketAddr,
    ) -> Result<ListenerPlan, ApplyError> {
        let failed = |source| ApplyError::Route { listener: name.to_owned(), source };
        let target = self.target(name, backend).map_err(failed)?;
        let serve = if backend.protocol == AppProtocol::Tcp {
            Serve::Tcp(target)
        } else {
            let mut route = Route::to("door", backend.clone());
            if let Some(rules) = self.clusters.door(&backend.service) {
                let DoorRules { timeouts, retries, hedge } = rules.clone();
                route.timeouts = timeouts;
                route.resilience = Resilience { retries, hedge, ..Resilience::default() }.into();
            }
            let mut routes = Routes::default();
            routes.otherwise = Some(target);
            let delta = Book::default().all(name, vec![Arc::new(route)], self).map_err(failed)?;
            Book::default().commit(delta, &mut routes, self.made);
            Serve::Http(Box::new(routes))
        };
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(self.plan(name, key, (bind, address), Side::Door, serve))
    }

    fn plan(
        &self,
        name: &str,
        key: u64,
        (bind, address): (SocketAddr, SocketAddr),
        side: Side,
        serve: Serve,
    ) -> ListenerPlan {
        let unmatched = Arc::new(self.metrics.route(name, ""));
        let identity = self.identity.clone().filter(|_| side == Side::Edge);
        ListenerPlan {
            key,
            name: Arc::from(name),
            bind,
            address,
            transport: None,
            http3: false,
            alt_svc: None,
            side,
            limits: ClientLimits::default(),
            trusted: TrustedProxies::default(),
            serve,
            passthrough: Vec::new(),
            identity,
            unmatched,
        }
    }

    /// Where a backend is.
    pub(crate) fn target(&mut self, route: &str, backend: &Backend) -> Result<Target, RouteError> {
        let slot = self.clusters.slot(&backend.service, backend.port, backend.subset.as_ref(), self.metrics);
        let slot = slot.ok_or_else(|| invalid(route, "too many services and ports are routed to"))?;
        Ok(Target { slot, protocol: backend.protocol, at: 0 })
    }

    fn mirror(&mut self, route: &Route, filter: &Filter) -> Result<Option<MirrorPlan>, RouteError> {
        let Filter::Mirror { backend, numerator, denominator } = filter else { return Ok(None) };
        if *denominator == 0 || numerator > denominator {
            return Err(invalid(&route.name, format!("{numerator}/{denominator} is no share of requests")));
        }
        let target = self.target(&route.name, backend)?;
        let (numerator, denominator) = (*numerator as usize, *denominator as usize);
        Ok(Some(MirrorPlan { target, numerator, denominator, edits: edits(route, &backend.filters)? }))
    }

    fn guard(&mut self, route: &Route) -> Result<Option<Box<GuardPlan>>, RouteError> {
        let external = match &route.guard.external {
            None => None,
            Some(external) => {
                let target = self.target(&route.name, &external.to)?;
                let plan = ExternalPlan::compile(external, target, self.metrics);
                Some(plan.map_err(|problem| invalid(&route.name, format!("external_auth: {problem}")))?)
            }
        };
        let plan = GuardPlan::compile(&route.name, &route.guard, external, self.keyrings);
        plan.map_err(|problem| invalid(&route.name, problem))
    }

    fn content(&mut self, route: &Route) -> Result<Option<Box<ContentPlan>>, RouteError> {
        let described = route.content.openapi.as_ref();
        let openapi = described.map(|rules| {
            let plan = OpenApiPlan::compile(&route.name, rules, self.documents, self.metrics);
            plan.map_err(|problem| RouteError::Description { route: route.name.clone(), problem })
        });
        let plan = ContentPlan::compile(&route.content, speaks_grpc(route), openapi.transpose()?);
        plan.map_err(|problem| invalid(&route.name, problem))
    }

    /// Compiles what is done with the requests of a route.
    pub(super) fn route(&mut self, listener: &str, route: &Route) -> Result<RoutePlan, RouteError> {
        let resilience = resilience::plan::Plan::compile(self, listener, route)?;
        let mut filters = Vec::new();
        let mut response = Vec::new();
        let mut mirrors = Vec::new();
        for filter in &route.filters {
            match filter {
                Filter::Mirror { .. } => mirrors.extend(self.mirror(route, filter)?),
                Filter::ResponseHeaders(edit) => {
                    response.push(Edit::compile(edit).map_err(|problem| invalid(&route.name, problem))?);
                }
                other => filters.push(step(route, other)?),
            }
        }
        let backends: Vec<Target> = route
            .backends
            .iter()
            .enumerate()
            .map(|(at, backend)| Ok(Target { at, ..self.target(&route.name, backend)? }))
            .collect::<Result<_, _>>()?;
        if mirrors.len() > limits::ROUTE_MIRRORS {
            return Err(invalid(&route.name, format!("more than {} mirrors", limits::ROUTE_MIRRORS)));
        }
        let edited = route.backends.iter().any(|backend| !backend.filters.is_empty());
        let edits: Vec<BackendEdits> = if edited {
            route.backends.iter().map(|backend| edits(route, &backend.filters)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let weights: Vec<u32> = route.backends.iter().map(|backend| backend.weight).collect();
        let limit =
            |own: Option<Duration>, default: Duration| Some(own.unwrap_or(default)).filter(|d| !d.is_zero());
        Ok(RoutePlan {
            name: route.name.clone(),
            filters,
            response,
            backends,
            picker: Picker::new(Balance::Random, &weights),
            edits,
            mirrors,
            timeout: limit(route.timeouts.request, self.options.request_timeout),
            per_try: limit(route.timeouts.per_try, self.options.per_try_timeout),
            idle: limit(route.timeouts.idle, self.options.idle_timeout),
            guard: self.guard(route)?,
            resilience,
            web: speaks_grpc(route),
            content: self.content(route)?,
            logged: !route.unlogged,
            metrics: self.metrics.route(listener, &route.name),
        })
    }
}

/// Whether what is behind a route speaks gRPC, so that gRPC-Web has to be translated: as the route says, or as its services and matches do.
fn speaks_grpc(route: &Route) -> bool {
    let grpc = |one: &routing::Match| matches!(one.path, Some(PathMatch::Grpc { .. }));
    let h2c = |backend: &Backend| backend.protocol == AppProtocol::H2c;
    route.content.grpc_web.unwrap_or_else(|| {
        !route.backends.is_empty() && route.backends.iter().all(h2c)
            || !route.matches.is_empty() && route.matches.iter().all(grpc)
    })
}

fn invalid(route: &str, problem: impl Into<String>) -> RouteError {
    RouteError::Invalid { route: route.to_owned(), problem: problem.into() }
}

/// What is done for one backend.
fn edits(route: &Route, filters: &[Filter]) -> Result<BackendEdits, RouteError> {
    let mut out = BackendEdits::default();
    for filter in filters {
        match filter {
            Filter::ResponseHeaders(edit) => {
                out.response.push(Edit::compile(edit).map_err(|problem| invalid(&route.name, problem))?);
            }
            Filter::Rewrite { path: Some(PathRewrite::Prefix(_)), .. } => {
                return Err(invalid(&route.name, "a backend cannot replace the matched prefix, a route can"));
            }
            Filter::Redirect { .. } | Filter::Mirror { .. } => {
                return Err(invalid(&route.name, "a backend's filters can edit and rewrite, nothing else"));
            }
            other => out.request.push(step(route, other)?),
        }
    }
    Ok(out)
}

fn step(route: &Route, filter: &Filter) -> Result<Step, RouteError> {
    let bad = |problem: String| invalid(&route.name, problem);
    Ok(match filter {
        Filter::Mirror { .. } => return Err(bad("a mirror is no step".to_owned())),
        Filter::RequestHeaders(edit) | Filter::ResponseHeaders(edit) => {
            Step::Headers(Edit::compile(edit).map_err(bad)?)
        }
        Filter::Rewrite { host, path } => {
            let host = host.as_deref().map(|host| checked_host(route, host)).transpose()?;
            Step::Rewrite { host, path: checked_path(route, path.as_ref())? }
        }
        Filter::Redirect { scheme, host, port, path, status } => {
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(bad(format!("a redirect cannot have the status {status}")));
            }
            if scheme.as_deref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
                return Err(bad(format!("a redirect cannot lead to the scheme {scheme:?}")));
            }
            if let Some(host) = host {
                checked_host(route, host)?;
            }
            let status = StatusCode::from_u16(*status).map_err(|_| bad(format!("{status} is no status")))?;
            let path = checked_path(route, path.as_ref())?;
            Step::Redirect { scheme: scheme.clone(), host: host.clone(), port: *port, path, status }
        }
    })
}

fn checked_host(route: &Route, host: &str) -> Result<HeaderValue, RouteError> {
    let good = host_key(host).is_some_and(|key| !key.is_empty());
    let value = HeaderValue::from_str(host).ok().filter(|_| good);
    value.ok_or_else(|| invalid(&route.name, format!("{host:?} is not a host")))
}

/// A rewrite must make a path that could be asked for, and replacing a prefix needs one that was matched.
fn checked_path(route: &Route, rewrite: Option<&PathRewrite>) -> Result<Option<PathRewrite>, RouteError> {
    let Some(rewrite) = rewrite else { return Ok(None) };
    let (PathRewrite::Full(text) | PathRewrite::Prefix(text)) = rewrite;
    let shown = if text.starts_with('/') { text.clone() } else { format!("/{text}") };
    let fine = shown.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
    if !fine || crate::model::path::normalize(&shown).is_err() {
        return Err(invalid(&route.name, format!("a path cannot be rewritten to {text:?}")));
    }
    let by_prefix = |path: Option<&PathMatch>| matches!(path, None | Some(PathMatch::Prefix(_)));
    if matches!(rewrite, PathRewrite::Prefix(_))
        && !route.matches.iter().all(|one| by_prefix(one.path.as_ref()))
    {
        return Err(invalid(&route.name, "a prefix can only be replaced where a prefix is matched"));
    }
    Ok(Some(rewrite.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_core::ServiceName;
    use tutti_ports::routing::{HeaderEdit, Match, Timeouts};

    fn route() -> Route {
        let service = ServiceName::new("a").unwrap();
        Route::to("r", Backend::new(service, 80, AppProtocol::Http))
    }

    fn compile(routes: Vec<Route>) -> Result<ListenerPlan, ApplyError> {
        let bind = SocketAddr::from(([127, 0, 0, 1], 1));
        let (serve, transport) = (routing::Serve::Http(Vec::new()), routing::Transport::default());
        let listener = routing::Listener { name: "l".to_owned(), bind, transport, serve };
        let (mut clusters, metrics, options) = (Clusters::default(), Metrics::default(), Options::default());
        let (keyrings, made, identity) = (&mut Keyrings::default(), &mut Made::default(), None);
        let (clusters, metrics, options) = (&mut clusters, &metrics, &options);
        let documents = &mut Documents::default();
        let mut compiler = Compiler { clusters, metrics, options, keyrings, documents, made, identity };
        let mut plan = compiler.edge(&listener, 1, bind)?;
        let failed = |source| ApplyError::Route { listener: "l".to_owned(), source };
        let delta = Book::default()
            .all("l", routes.into_iter().map(Arc::new).collect(), &mut compiler)
            .map_err(failed)?;
        if let Serve::Http(routes) = &mut plan.serve {
            Book::default().commit(delta, routes, compiler.made);
        }
        Ok(plan)
    }

    #[test]
    fn filters_that_cannot_work_are_refused_with_their_reason() {
        let redirect = |scheme: Option<&str>, host: Option<&str>, status| Filter::Redirect {
            scheme: scheme.map(str::to_owned),
            host: host.map(str::to_owned),
            port: None,
            path: None,
            status,
        };
        let rewrite = |path: PathRewrite| Filter::Rewrite { host: None, path: Some(path) };
        let set =
            |name: &str| HeaderEdit { set: vec![(name.to_owned(), "1".to_owned())], ..HeaderEdit::default() };
        for (filter, text) in [
            (redirect(None, None, 200), "status 200"),
            (redirect(Some("ftp"), None, 301), "\"ftp\""),
            (redirect(None, Some("a b"), 301), "is not a host"),
            (rewrite(PathRewrite::Full("/a?b".into())), "cannot be rewritten"),
            (rewrite(PathRewrite::Full("/a/../b c".into())), "cannot be rewritten"),
            (Filter::RequestHeaders(set("content-length")), "belongs to the connection"),
            (Filter::ResponseHeaders(set("a b")), "is not the name"),
        ] {
            let error = compile(vec![Route { filters: vec![filter], ..route() }]).err().unwrap();
            let text_of_it = tutti_core::error::chain(&error);
            assert!(text_of_it.contains(text) && text_of_it.contains("route \"r\""), "{text_of_it}");
        }
        let exact = Match { path: Some(PathMatch::Exact("/a".into())), ..Match::default() };
        let strip = rewrite(PathRewrite::Prefix("/".into()));
        let refused = compile(vec![Route { filters: vec![strip.clone()], matches: vec![exact], ..route() }]);
        assert!(tutti_core::error::chain(&refused.err().unwrap()).contains("where a prefix is matched"));
        assert!(compile(vec![Route { filters: vec![strip], ..route() }]).is_ok());
    }

    #[test]
    fn zero_means_no_limit_and_nothing_the_default() {
        let own =
            Timeouts { request: Some(Duration::ZERO), per_try: Some(Duration::from_secs(1)), idle: None };
        let plan = compile(vec![Route { timeouts: own, ..route() }]).unwrap();
        let Serve::Http(routes) = &plan.serve else { panic!("not HTTP") };
        let compiled = routes.declared()[0];
        assert_eq!(compiled.timeout, None);
        assert_eq!(compiled.per_try, Some(Duration::from_secs(1)));
        assert_eq!(compiled.idle, Some(Options::default().idle_timeout));
    }
}
