//! How each role is made of what the roles before it give, and handed to the host.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::watch;
use tutti_core::metrics::Page;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_host::{Host, OnEnd};
use tutti_model::Origin;
use tutti_model::app::Application;
use tutti_net::listen::FileHold;
use tutti_net::{Drainer, Listener};
use tutti_ports::catalog::Catalog;
use tutti_proxy::Patience;
use tutti_proxy::Proxy;
use tutti_proxy::config::AccessLogOptions;
use tutti_proxy::error::ApplyError;
use tutti_proxy::handover::Front;
use tutti_registry::Registry;
use tutti_store::{DataDir, SqliteStore};
use tutti_supervisor::{Deps, Handle, Supervisor};
use tutti_trust::Trust;

use super::last_good::Keeper;
use super::reload::{Reloader, Rooms};
use super::upgrade::{self, Heir, Inherited, Predecessors, Upgrader};
use super::{Settings, certificates, overview};
use crate::control::{Api, bind, serve, socket_path};

/// What the roles are made of.
pub(super) struct Roles {
    pub(super) application: Arc<Application>,
    /// What it was read from, if it was read from the files.
    pub(super) origin: Option<Origin>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) data: DataDir,
    pub(super) store: Arc<SqliteStore>,
    pub(super) settings: Settings,
    pub(super) started_at: SystemTime,
    /// The soft limit of open files that services are to have, if ours was raised.
    pub(super) soft_files: Option<u64>,
    /// Filled when another process has taken over.
    pub(super) heir: watch::Sender<Option<Arc<Heir>>>,
    pub(super) predecessors: Arc<Predecessors>,
    /// How long connections have when another process has taken over.
    pub(super) patience: watch::Sender<Option<Patience>>,
}

/// The rooms, by their handles.
struct Made {
    registry: Arc<tutti_registry::Handle>,
    trust: Arc<tutti_trust::Handle>,
    proxy: tutti_proxy::Handle,
    supervisor: Handle,
    reloader: Arc<Reloader>,
}

/// Between two looks whether the address of HTTP/3 is free.
const HTTP3_LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// How long requests to the control socket may go on after everything else has ended.
const CONTROL_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

impl Roles {
    /// Starts every role in the order of need. With an inheritance the services are taken over when everything else is there, and whoever
    /// gave it has let go when this returns.
    pub(super) async fn start(
        mut self,
        host: &mut Host,
        mut inherited: Option<Inherited>,
    ) -> anyhow::Result<(Handle, Arc<Reloader>)> {
        let registry = self.registry(host, inherited.is_some()).await?;
        let trust = self.trust(host, inherited.as_ref().map(Inherited::gate)).await?;
        let catalog = Arc::clone(&registry) as Arc<dyn Catalog>;
        let front = inherited.as_mut().and_then(|inherited| inherited.front.take());
        let proxy = self.edge(host, Arc::clone(&catalog), Arc::clone(&trust), front).await?;
        registry.carried_by(proxy.carriage());
        let deps = Deps::new(catalog, Arc::new(proxy.clone()), Arc::new(proxy.clone()));
        let (work, supervisor) = self.supervisor(deps, inherited.as_mut(), &proxy).await?;
        let rooms = Rooms { supervisor: supervisor.clone(), proxy: proxy.clone(), trust: Arc::clone(&trust) };
        let reloader = Reloader::new(
            rooms,
            &self.settings.options,
            Arc::clone(&self.application),
            Arc::clone(&self.keeper),
        );
        let made = Made { registry, trust, proxy, supervisor, reloader };
        let listener = self.control_socket(inherited.as_mut())?;
        let file = listener.file();
        let control = (listener.duplicate()?, file.clone());
        let (upgrader, ask) = Upgrader::new(self.parts(host, &made, control));
        let gate = inherited.as_ref().map(Inherited::gate);
        control_role(host, listener, self.api(host, &made, ask), gate).await?;
        // So that it ends early: whoever asks meanwhile is told how far the stopping is.
        supervise(host, work, made.supervisor.clone()).await?;
        if let Some(inherited) = inherited {
            inherited.taken(&made.proxy, &made.registry, &self.predecessors).await?;
            file.iter().for_each(FileHold::own);
        }
        self.keep(host, &made).await?;
        // After the other process has let go: what it may ask of us from then on is heard here.
        host.start("upgrade", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            upgrader.run(shutdown).await;
            Ok(())
        })
        .await?;
        Ok((made.supervisor, made.reloader))
    }

    /// Keeps what is in force now, and from now on.
    async fn keep(&mut self, host: &mut Host, made: &Made) -> anyhow::Result<()> {
        if let Some(origin) = self.origin.take() {
            self.keeper.begin(origin, Arc::clone(&self.application));
        }
        let (keeper, proxy) = (Arc::clone(&self.keeper), made.proxy.clone());
        host.start("last good", OnEnd::Continue, |ready, shutdown| async move {
            ready.ready();
            tokio::select! {
                () = shutdown.drain() => {}
                never = keeper.run(&proxy) => match never {},
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// What can be handed over to another process, and by what it is told.
    fn parts(&self, host: &Host, made: &Made, control: (OwnedFd, Option<FileHold>)) -> upgrade::Parts {
        upgrade::Parts {
            supervisor: made.supervisor.clone(),
            registry: Arc::clone(&made.registry),
            proxy: made.proxy.clone(),
            store: Arc::clone(&self.store),
            data: self.data.clone(),
            reloader: Arc::clone(&made.reloader),
            control,
            predecessors: Arc::clone(&self.predecessors),
            settings: self.settings.clone(),
            soft_files: self.soft_files,
            trigger: host.trigger(),
            heir: self.heir.clone(),
            patience: self.patience.clone(),
        }
    }

    fn api(&self, host: &Host, made: &Made, ask: upgrade::Ask) -> Api {
        let (shown, reloads, diffs) = {
            let reloader = || Arc::clone(&made.reloader);
            (reloader(), reloader(), reloader())
        };
        let (store, registry, trust) =
            (Arc::clone(&self.store), Arc::clone(&made.registry), Arc::clone(&made.trust));
        let (proxy, described) = (made.proxy.clone(), made.proxy.clone());
        let (supervisor, keeper) = (made.supervisor.clone(), Arc::clone(&self.keeper));
        Api {
            overview: overview(&self.application, self.started_at),
            supervisor: made.supervisor.clone(),
            catalog: Arc::clone(&made.registry) as Arc<dyn Catalog>,
            metrics: Box::new(move |page: &mut Page| {
                store.metrics().show(page);
                proxy.metrics(page);
                registry.metrics().show(page);
                supervisor.metrics().show(page);
                trust.metrics().show(page);
                keeper.metrics(page);
            }),
            listeners: Box::new(move || shown.listeners()),
            reload: Box::new(move |options| {
                let reloads = Arc::clone(&reloads);
                Box::pin(async move { reloads.reload(options).await })
            }),
            diff: Box::new(move |options| {
                let diffs = Arc::clone(&diffs);
                Box::pin(async move { diffs.diff(options).await })
            }),
            trust: Arc::clone(&made.trust),
            proxy: made.proxy.clone(),
            keeper: Arc::clone(&self.keeper),
            routes: Box::new(move || serde_json::to_value(described.describe()).unwrap_or_default()),
            upgrade: ask,
            taken_over: {
                let heir = self.heir.subscribe();
                Box::new(move || heir.borrow().is_some())
            },
            shutdown: {
                let trigger = host.trigger();
                Box::new(move || trigger.drain())
            },
        }
    }

    async fn registry(
        &self,
        host: &mut Host,
        take_over: bool,
    ) -> anyhow::Result<Arc<tutti_registry::Handle>> {
        let store = Arc::clone(&self.store) as Arc<dyn tutti_ports::state::Store>;
        let clock = Arc::new(SystemClock::new());
        let options = tutti_registry::Options { take_over, ..tutti_registry::Options::default() };
        let (registry, handle) = Registry::new(store, clock, Rng::from_entropy(), options);
        host.start("registry", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            registry.run(async move { shutdown.drain().await }).await.map_err(Into::into)
        })
        .await?;
        Ok(handle)
    }

    /// Certificates, before the listeners that show them. Those that are missing or due are ordered by the process that has the services: what
    /// two order counts twice against the limits of an authority.
    async fn trust(
        &self,
        host: &mut Host,
        gate: Option<watch::Receiver<bool>>,
    ) -> anyhow::Result<Arc<tutti_trust::Handle>> {
        let deps = tutti_trust::Deps {
            store: Arc::clone(&self.store) as Arc<dyn tutti_ports::state::Store>,
            clock: Arc::new(SystemClock::new()),
            rng: Rng::from_entropy(),
        };
        let options = certificates::options(self.data.path());
        let policy = certificates::policy(&self.application.routing);
        let (trust, handle) = Trust::new(deps, options, policy).await?;
        let mut heir = self.heir.subscribe();
        host.start("trust", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            if !opened(gate, shutdown.drain()).await {
                return Ok(());
            }
            let taken_over = async {
                if heir.wait_for(Option::is_some).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            trust
                .run(async {
                    tokio::select! {
                        () = shutdown.drain() => {}
                        () = taken_over => {}
                    }
                })
                .await;
            Ok(())
        })
        .await?;
        Ok(handle)
    }

    async fn edge(
        &self,
        host: &mut Host,
        catalog: Arc<dyn Catalog>,
        trust: Arc<tutti_trust::Handle>,
        front: Option<(Front, Vec<OwnedFd>)>,
    ) -> anyhow::Result<tutti_proxy::Handle> {
        let options = tutti_proxy::Options {
            access_log: Some(AccessLogOptions::json(self.data.path().join("access.log"))),
            zone: std::env::var("TUTTI_ZONE").ok().filter(|zone| !zone.is_empty()),
            ..tutti_proxy::Options::default()
        };
        let routing = self.application.routing.clone();
        let started = match front {
            Some(front) => Proxy::take_over(options, routing, catalog, Some(trust), front).await,
            None => Proxy::start(options, routing, catalog, Some(trust)).await,
        };
        let (proxy, handle) = started.map_err(who_has_it)?;
        let (missing, patience) = (handle.clone(), self.patience.subscribe());
        host.start("edge", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            tokio::select! {
                () = shutdown.drain() => {}
                never = bind_http3(missing) => match never {},
            }
            let patience = *patience.borrow();
            match patience {
                Some(patience) => proxy.shutdown_within(patience).await,
                None => proxy.shutdown().await,
            }
            Ok(())
        })
        .await?;
        Ok(handle)
    }

    /// Makes the supervisor, or takes its services over; commands wait until it runs.
    async fn supervisor(
        &self,
        deps: Deps,
        inherited: Option<&mut Inherited>,
        proxy: &tutti_proxy::Handle,
    ) -> anyhow::Result<(Supervisor, Handle)> {
        let mut options = tutti_supervisor::Options::new(self.data.path().to_owned());
        options.rebuild = self.settings.rebuild;
        options.keeper.args.extend(self.soft_files.map(|soft| soft.to_string().into()));
        let application = Arc::clone(&self.application);
        match inherited {
            Some(inherited) => inherited.services(deps, application, options, proxy).await,
            None => Ok(Supervisor::new(deps, application, options)?),
        }
    }

    fn control_socket(&self, inherited: Option<&mut Inherited>) -> anyhow::Result<Listener> {
        let socket = socket_path(self.data.path());
        Ok(match inherited {
            Some(inherited) => Listener::adopt_unix(inherited.control()?, &socket)?,
            None => bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?,
        })
    }
}

/// Tries until HTTP/3 has its sockets, which another process may have had.
async fn bind_http3(proxy: tutti_proxy::Handle) -> std::convert::Infallible {
    while !proxy.bind_http3().await {
        tokio::time::sleep(HTTP3_LOOK).await;
    }
    std::future::pending().await
}

/// Waits until the gate is open, if there is one; `false` if it never is, or the end comes before.
async fn opened(gate: Option<watch::Receiver<bool>>, end: impl Future<Output = ()>) -> bool {
    let Some(mut gate) = gate else { return true };
    tokio::select! {
        open = gate.wait_for(|open| *open) => open.is_ok(),
        () = end => false,
    }
}

/// Serves the control socket, as soon as the gate is open if there is one.
async fn control_role(
    host: &mut Host,
    listener: Listener,
    api: Api,
    gate: Option<watch::Receiver<bool>>,
) -> anyhow::Result<()> {
    let api = Arc::new(api);
    host.start("control", OnEnd::Shutdown, |ready, shutdown| async move {
        let (drainer, signal) = Drainer::new();
        ready.ready();
        let end = async {
            shutdown.drain().await;
            drainer.drain(CONTROL_PATIENCE);
        };
        let work = async {
            if opened(gate, signal.draining()).await {
                serve(listener, api, signal).await;
            }
        };
        tokio::join!(work, end);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Runs the supervisor until the end is asked for and every service has stopped.
async fn supervise(host: &mut Host, supervisor: Supervisor, commands: Handle) -> anyhow::Result<()> {
    host.start("supervisor", OnEnd::Shutdown, |ready, shutdown| async move {
        ready.ready();
        let end = async {
            shutdown.drain().await;
            tokio::select! {
                () = commands.shutdown() => {}
                () = shutdown.abort() => commands.kill().await,
            }
        };
        let (ended, ()) = tokio::join!(supervisor.run(), end);
        ended.map_err(Into::into)
    })
    .await?;
    Ok(())
}

/// An address that somebody else has: says who, and what to do.
fn who_has_it(error: ApplyError) -> anyhow::Error {
    let ApplyError::Bind { listener, address, source } = &error else { return error.into() };
    if source.kind() != std::io::ErrorKind::AddrInUse {
        return error.into();
    }
    let who = crate::doctor::owner_of(address.port());
    let who = who.map_or("somebody else".to_owned(), |who| format!("process {} ({})", who.pid, who.command));
    let elsewhere = crate::doctor::elsewhere(listener, address.port());
    let told = format!("{address} is taken by {who}; stop it, or {elsewhere}");
    // The error stays below it: it has the code.
    anyhow::Error::new(error).context(told)
}
