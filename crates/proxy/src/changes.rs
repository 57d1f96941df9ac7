//! Changes of listeners and routes. They come one after the other to the thread that makes snapshots: each is compiled by itself, so whoever
//! asked for it hears the truth about it, and all that wait at a moment become one snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tutti_core::{ServiceName, limits};
use tutti_ports::routing::{self, Backend, DoorRules, Route, Routing};

use crate::control::{Control, Edge, check, log, policies};
use crate::engine::Shared;
use crate::error::ApplyError;
use crate::guard::identity::Fields;
use crate::snapshot::book::{Book, Delta};
use crate::snapshot::plan::{Compiler, ListenerPlan, Serve};
use crate::worker::Command;

/// What is left behind by changes is cleared away so long after the first of them.
const CLEAR_AFTER: Duration = Duration::from_millis(250);

/// A change of one route.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteEdit {
    /// The route of this name is this one from now on. It keeps its place; one that is new comes last.
    Put(Box<Route>),
    /// There is no route of this name any more.
    Remove(String),
}

impl RouteEdit {
    /// The route's name.
    pub fn name(&self) -> &str {
        match self {
            RouteEdit::Put(route) => &route.name,
            RouteEdit::Remove(name) => name,
        }
    }
}

/// What is to change.
pub(crate) enum Work {
    /// Everything is to be this.
    All(Box<Routing>),
    /// Single routes of a listener.
    Edits {
        /// The listener's name.
        listener: String,
        /// Which.
        edits: Vec<RouteEdit>,
    },
}

/// A change, and who waits for it.
pub(crate) struct Change {
    work: Work,
    done: oneshot::Sender<Result<u64, ApplyError>>,
}

/// The side that makes changes, one bundle after the other.
pub(crate) struct Changing {
    inbox: mpsc::Receiver<Change>,
    next: Instant,
    /// When something is to be cleared away, and of which generation.
    clear: Option<(Instant, u64)>,
}

/// What has to be done with one listener, if nothing else is in the way.
struct Prepared {
    listener: routing::Listener,
    /// Which one it was.
    before: Option<usize>,
    /// `None`: nothing differs.
    plan: Option<ListenerPlan>,
    /// The routes begin anew, since their counters do.
    fresh: bool,
    delta: Delta,
}

impl Changing {
    pub(crate) fn new(inbox: mpsc::Receiver<Change>) -> Self {
        Self { inbox, next: Instant::now(), clear: None }
    }

    /// Does the next piece of work when there is one. May be given up while it waits, and not later.
    pub(crate) async fn next(&mut self) -> Step {
        let clear = async {
            match self.clear {
                Some((at, _)) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = clear => Step::Clear,
            Some(first) = async {
                tokio::time::sleep_until(self.next).await;
                self.inbox.recv().await
            } => Step::Change(first),
            else => std::future::pending().await,
        }
    }

    /// Takes a change into force, with all that wait behind it.
    pub(crate) async fn take(&mut self, shared: &Shared, first: Change) {
        let mut control = shared.control.lock().await;
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(change) = next {
            // Whoever gave up waiting does not want it any more.
            if !change.done.is_closed() {
                match shared.work(&mut control, change.work).await {
                    Ok(()) => done.push(change.done),
                    Err(error) => drop(change.done.send(Err(error))),
                }
            }
            next = if done.len() < limits::CHANGES_AT_ONCE { self.inbox.try_recv().ok() } else { None };
        }
        if done.is_empty() {
            return;
        }
        let generation = shared.publish(&mut control);
        for done in done {
            // As above.
            let _ = done.send(Ok(generation));
        }
        self.next = Instant::now() + limits::CHANGES_APART;
        self.clear = Some((self.clear.map_or(Instant::now() + CLEAR_AFTER, |(at, _)| at), generation));
    }

    /// Forgets what no worker needs any more.
    pub(crate) async fn clear(&mut self, shared: &Shared) {
        let Some((_, generation)) = self.clear else { return };
        if !shared.is_adopted(generation) {
            self.clear = Some((Instant::now() + CLEAR_AFTER, generation));
            return;
        }
        self.clear = None;
        let mut control = shared.control.lock().await;
        shared.rates.retain(&policies(control.edge.iter().map(|edge| &*edge.plan)));
        control.keyrings.retain_used();
    }
}

/// What is to be done next.
pub(crate) enum Step {
    Change(Change),
    Clear,
}

impl Shared {
    /// Takes a change into force; the generation in which it is, when every worker has it.
    pub(crate) async fn submit(&self, work: Work) -> Result<u64, ApplyError> {
        if let Work::All(routing) = &work {
            check(routing)?;
        }
        let (done, answer) = oneshot::channel();
        self.changes.send(Change { work, done }).await.map_err(|_| ApplyError::Closed)?;
        let generation = answer.await.map_err(|_| ApplyError::Closed)??;
        self.all_adopted(generation).await;
        Ok(generation)
    }

    async fn work(&self, control: &mut Control, work: Work) -> Result<(), ApplyError> {
        if *self.closed.borrow() {
            return Err(ApplyError::Closed);
        }
        match work {
            Work::All(routing) => self.all(control, *routing).await,
            Work::Edits { listener, edits } => self.edit(control, &listener, edits),
        }
    }

    /// Takes new listeners and routes, or none of them.
    async fn all(&self, control: &mut Control, routing: Routing) -> Result<(), ApplyError> {
        let carriers = control
            .carriers
            .compile(&routing.upstreams)
            .map_err(|(service, source)| ApplyError::Upstream { service, source })?;
        let log = log(&routing, &self.options, control.log.as_ref())?;
        let routes = routing.listeners.iter().filter_map(|listener| match &listener.serve {
            routing::Serve::Http(routes) => Some(routes),
            routing::Serve::Tcp(_) | routing::Serve::Stream(_) => None,
        });
        let identity = Fields::of(routes.flatten().map(|route| &**route));
        let mut prepared = Vec::new();
        let mut opened = Vec::new();
        for listener in routing.listeners {
            match self.prepare(control, listener, identity.clone(), &mut opened).await {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    for key in opened {
                        self.tell(|| Command::Unbind { key }).await;
                    }
                    return Err(error);
                }
            }
        }
        let mut before: Vec<Option<Edge>> = control.edge.drain(..).map(Some).collect();
        for one in prepared {
            let old = one.before.and_then(|at| before.get_mut(at)?.take());
            let edge = self.settle(control, one, old);
            control.edge.extend(edge);
        }
        let Control { edge, transports, .. } = &mut *control;
        transports.keep(&edge.iter().map(|edge| edge.listener.name.as_str()).collect::<Vec<_>>());
        (control.log, control.explain) = (log, routing.observe.explain);
        control.routes += 1;
        self.in_force.set(carriers.by_service());
        let open = control.doors.keys().map(|(service, _)| service);
        let before: HashMap<ServiceName, Option<DoorRules>> =
            open.map(|service| (service.clone(), control.clusters.door(service).cloned())).collect();
        control.clusters.call(routing.upstreams, carriers.by_service());
        self.renew_doors(control, &before);
        control.carriers = carriers;
        control.clusters.regulate(&self.metrics);
        Ok(())
    }

    /// Doors of services that are called otherwise than `before` get other routes. Their sockets and connections stay.
    fn renew_doors(&self, control: &mut Control, before: &HashMap<ServiceName, Option<DoorRules>>) {
        let Control { clusters, doors, keyrings, documents, made, .. } = control;
        let (metrics, options) = (&self.metrics, &self.options);
        for ((service, port), plan) in doors {
            if before.get(service).is_some_and(|rules| rules.as_ref() == clusters.door(service)) {
                continue;
            }
            let Some(protocol) = self.inherited.carried(service, *port) else { continue };
            let backend = Backend::new(service.clone(), *port, protocol);
            let mut compiler =
                Compiler { clusters, metrics, options, keyrings, documents, made, identity: None };
            match compiler.door(&plan.name, &backend, plan.key, plan.address) {
                Ok(renewed) => *plan = Arc::new(renewed),
                // It compiled once, and nothing of this can be wrong; what was there goes on.
                Err(error) => {
                    tracing::error!(error = %tutti_core::error::chain(&error), "a door stays as it was");
                }
            }
        }
    }

    /// Everything that can go wrong with a listener goes wrong here; nothing is in force yet.
    async fn prepare(
        &self,
        control: &mut Control,
        mut listener: routing::Listener,
        identity: Option<Arc<Fields>>,
        opened: &mut Vec<u64>,
    ) -> Result<Prepared, ApplyError> {
        let routes = match &mut listener.serve {
            routing::Serve::Http(routes) => Some(std::mem::take(routes)),
            routing::Serve::Tcp(_) | routing::Serve::Stream(_) => None,
        };
        let before = control.edge.iter().position(|edge| edge.is(&listener));
        let known = before.and_then(|at| control.edge.get(at));
        let ours = known.is_some();
        let (empty, anew) = (Book::default(), known.is_none_or(|edge| edge.listener.name != listener.name));
        let known = known.filter(|edge| edge.serves_like(&listener));
        let fresh = anew || known.is_none();
        let kept = known.map(|edge| (edge.plan.key, edge.plan.address));
        let spoke_http3 = known.is_some_and(|edge| edge.plan.http3);
        let mut compiler = Compiler {
            clusters: &mut control.clusters,
            metrics: &self.metrics,
            options: &self.options,
            keyrings: &mut control.keyrings,
            documents: &mut control.documents,
            made: &mut control.made,
            identity: identity.clone(),
        };
        let book = known.filter(|_| !fresh).map_or(&empty, |edge| &edge.book);
        let failed = |source| ApplyError::Route { listener: listener.name.clone(), source };
        // Compiled before anything is bound: what does not compile must not even open a socket.
        let delta = match routes {
            Some(routes) => book.all(&listener.name, routes, &mut compiler).map_err(failed)?,
            None => Delta::default(),
        };
        if let Some(edge) = known
            && delta.is_empty()
            && edge.listener == listener
            && edge.plan.identity == identity
        {
            return Ok(Prepared { listener, before, plan: None, fresh, delta });
        }
        let (key, address) = kept.unwrap_or((0, listener.bind));
        let plan = compiler.edge(&listener, key, address)?;
        let transport = control.transports.compile(&listener).map_err(|source| {
            let (listener, source) = (listener.name.clone(), Box::new(source));
            ApplyError::Transport { listener, source }
        })?;
        let http3 = speaks_http3(&listener);
        let mut plan = ListenerPlan { transport, http3, ..plan };
        if kept.is_none() {
            control.keys += 1;
            opened.push(control.keys);
            plan.key = control.keys;
            plan.address = match self.inherited.take(&listener) {
                Some(sockets) => self.settle_at(control, plan.key, &listener, sockets, http3).await?,
                None => self.sockets(plan.key, &listener, (!ours, http3)).await?,
            };
        } else if http3 && !spoke_http3 {
            opened.push(plan.key);
            self.bind_http3(plan.key, plan.address, &listener.name).await?;
        }
        plan.alt_svc = control.transports.alt_svc(&listener, plan.address.port());
        let before = before.filter(|_| kept.is_some());
        Ok(Prepared { listener, before, plan: Some(plan), fresh, delta })
    }

    fn settle(&self, control: &mut Control, one: Prepared, old: Option<Edge>) -> Option<Edge> {
        let Prepared { listener, plan, fresh, delta, .. } = one;
        let Some(mut plan) = plan else { return old };
        let mut book = Book::default();
        let routes = match (&mut plan.serve, old) {
            (Serve::Http(routes), Some(mut edge)) if !fresh => {
                book = edge.book;
                // Copied only where a snapshot still has them.
                if let Serve::Http(known) = &mut Arc::make_mut(&mut edge.plan).serve {
                    std::mem::swap(routes, known);
                }
                Some(routes)
            }
            (Serve::Http(routes), _) => Some(routes),
            (Serve::Tcp(_) | Serve::Stream(_), _) => None,
        };
        if let Some(routes) = routes {
            book.commit(delta, routes, &mut control.made);
        }
        Some(Edge { listener, book, plan: Arc::new(plan) })
    }

    /// Changes single routes of a listener.
    fn edit(&self, control: &mut Control, name: &str, edits: Vec<RouteEdit>) -> Result<(), ApplyError> {
        let Control { clusters, keyrings, documents, made, edge: edges, .. } = &mut *control;
        let none = || ApplyError::NoListener(name.to_owned());
        let edge = edges.iter_mut().find(|edge| edge.listener.name == name).ok_or_else(none)?;
        if !matches!(edge.plan.serve, Serve::Http(_)) {
            return Err(none());
        }
        let (metrics, options) = (&self.metrics, &self.options);
        let mut compiler = Compiler { clusters, metrics, options, keyrings, documents, made, identity: None };
        let failed = |source| ApplyError::Route { listener: name.to_owned(), source };
        let delta = edge.book.edits(name, edits, &mut compiler).map_err(failed)?;
        let named =
            delta.touches(&edge.book, |route| route.guard.auth.is_some() || route.guard.external.is_some());
        if let Serve::Http(routes) = &mut Arc::make_mut(&mut edge.plan).serve {
            edge.book.commit(delta, routes, made);
        }
        if named {
            let identity = Fields::of(edges.iter().flat_map(|edge| edge.book.routes()));
            for edge in edges.iter_mut().filter(|edge| edge.plan.identity != identity) {
                Arc::make_mut(&mut edge.plan).identity.clone_from(&identity);
            }
        }
        control.routes += 1;
        Ok(())
    }
}

/// Whether HTTP/3 is spoken beside a listener.
fn speaks_http3(listener: &routing::Listener) -> bool {
    let carried = &listener.transport;
    let http = matches!(listener.serve, routing::Serve::Http(_));
    http && carried.tls.is_some() && carried.http3.is_some_and(|http3| http3.on)
}
