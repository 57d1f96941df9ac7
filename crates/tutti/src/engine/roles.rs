//! How each role is made of what the roles before it give, and handed to the host.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tutti_core::metrics::Page;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_host::{Host, OnEnd};
use tutti_model::LoadOptions;
use tutti_model::app::Application;
use tutti_net::Drainer;
use tutti_ports::catalog::Catalog;
use tutti_proxy::Proxy;
use tutti_proxy::config::AccessLogOptions;
use tutti_proxy::error::ApplyError;
use tutti_registry::Registry;
use tutti_store::{DataDir, SqliteStore};
use tutti_supervisor::{Deps, Handle, Supervisor};
use tutti_trust::Trust;

use super::certificates;
use super::overview;
use super::reload::{Reloader, Rooms};
use crate::control::{Api, bind, serve, socket_path};

/// What the roles are made of.
pub(super) struct Roles {
    pub(super) application: Arc<Application>,
    pub(super) data: DataDir,
    pub(super) store: Arc<SqliteStore>,
    pub(super) rebuild: bool,
    pub(super) options: LoadOptions,
    pub(super) started_at: SystemTime,
    /// The soft limit of open files that services are to have, if ours was raised.
    pub(super) soft_files: Option<u64>,
}

/// How long requests to the control socket may go on after everything else has ended.
const CONTROL_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

impl Roles {
    /// Starts every role in the order of need.
    pub(super) async fn start(self, host: &mut Host) -> anyhow::Result<(Handle, Arc<Reloader>)> {
        let registry = self.registry(host).await?;
        let trust = self.trust(host).await?;
        let proxy = self.edge(host, Arc::clone(&registry) as Arc<dyn Catalog>, Arc::clone(&trust)).await?;
        let deps = Deps::new(
            Arc::clone(&registry) as Arc<dyn Catalog>,
            Arc::new(proxy.clone()),
            Arc::new(proxy.clone()),
        );
        let (work, supervisor) = self.supervisor(deps)?;
        let application = &self.application;
        let rooms = Rooms { supervisor: supervisor.clone(), proxy: proxy.clone(), trust: Arc::clone(&trust) };
        let reloader = Reloader::new(rooms, &self.options, Arc::clone(application));
        let (shown, reloads, diffs) = (Arc::clone(&reloader), Arc::clone(&reloader), Arc::clone(&reloader));
        let (store, catalog) = (Arc::clone(&self.store), registry);
        let metrics_of = (proxy.clone(), Arc::clone(&catalog), supervisor.clone(), Arc::clone(&trust));
        let api = Api {
            overview: overview(application, self.started_at),
            supervisor: supervisor.clone(),
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            metrics: Box::new(move |page: &mut Page| {
                store.metrics().show(page);
                metrics_of.0.metrics(page);
                metrics_of.1.metrics().show(page);
                metrics_of.2.metrics().show(page);
                metrics_of.3.metrics().show(page);
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
            trust,
            proxy: proxy.clone(),
            routes: Box::new(move || serde_json::to_value(proxy.describe()).unwrap_or_default()),
            shutdown: {
                let trigger = host.trigger();
                Box::new(move || trigger.drain())
            },
        };
        self.control(host, api).await?;
        // Last, so that it ends first: whoever asks meanwhile is told how far the stopping is.
        supervise(host, work, supervisor.clone()).await?;
        Ok((supervisor, reloader))
    }

    async fn registry(&self, host: &mut Host) -> anyhow::Result<Arc<tutti_registry::Handle>> {
        let store = Arc::clone(&self.store) as Arc<dyn tutti_ports::state::Store>;
        let clock = Arc::new(SystemClock::new());
        let (registry, handle) =
            Registry::new(store, clock, Rng::from_entropy(), tutti_registry::Options::default());
        host.start("registry", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            registry.run(async move { shutdown.drain().await }).await.map_err(Into::into)
        })
        .await?;
        Ok(handle)
    }

    /// Certificates, before the listeners that show them.
    async fn trust(&self, host: &mut Host) -> anyhow::Result<Arc<tutti_trust::Handle>> {
        let deps = tutti_trust::Deps {
            store: Arc::clone(&self.store) as Arc<dyn tutti_ports::state::Store>,
            clock: Arc::new(SystemClock::new()),
            rng: Rng::from_entropy(),
        };
        let options = certificates::options(self.data.path());
        let policy = certificates::policy(&self.application.routing);
        let (trust, handle) = Trust::new(deps, options, policy).await?;
        host.start("trust", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            trust.run(async move { shutdown.drain().await }).await;
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
    ) -> anyhow::Result<tutti_proxy::Handle> {
        let options = tutti_proxy::Options {
            access_log: Some(AccessLogOptions::json(self.data.path().join("access.log"))),
            zone: std::env::var("TUTTI_ZONE").ok().filter(|zone| !zone.is_empty()),
            ..tutti_proxy::Options::default()
        };
        let started = Proxy::start(options, self.application.routing.clone(), catalog, Some(trust)).await;
        let (proxy, handle) = started.map_err(who_has_it)?;
        host.start("edge", OnEnd::Shutdown, |ready, shutdown| async move {
            ready.ready();
            shutdown.drain().await;
            proxy.shutdown().await;
            Ok(())
        })
        .await?;
        Ok(handle)
    }

    /// Makes the supervisor; commands wait until it runs.
    fn supervisor(&self, deps: Deps) -> anyhow::Result<(Supervisor, Handle)> {
        let mut options = tutti_supervisor::Options::new(self.data.path().to_owned());
        options.rebuild = self.rebuild;
        options.keeper.args.extend(self.soft_files.map(|soft| soft.to_string().into()));
        Ok(Supervisor::new(deps, Arc::clone(&self.application), options)?)
    }

    async fn control(&self, host: &mut Host, api: Api) -> anyhow::Result<()> {
        let socket = socket_path(self.data.path());
        let listener = bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let api = Arc::new(api);
        host.start("control", OnEnd::Shutdown, |ready, shutdown| async move {
            let (drainer, signal) = Drainer::new();
            ready.ready();
            let end = async {
                shutdown.drain().await;
                drainer.drain(CONTROL_PATIENCE);
            };
            tokio::join!(serve(listener, api, signal), end);
            Ok(())
        })
        .await?;
        Ok(())
    }
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
