//! Taking changed files into force while the application runs.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, MutexGuard};
use tutti_model::app::Application;
use tutti_model::{LoadOptions, Origin};
use tutti_ports::routing::Routing;
use tutti_supervisor::{Handle, Reloaded, SupervisorError};

use super::last_good::Keeper;
use super::{certificates, listeners, plan};
use crate::control::wire::{LastGood, Listening, Plan, Reload};

/// What is needed to take changed files into force.
pub(super) struct Reloader {
    rooms: Rooms,
    keeper: Arc<Keeper>,
    /// Where the edge listens, for people.
    listeners: RwLock<Vec<Listening>>,
    /// One reload at a time.
    now: Mutex<Now>,
}

/// The rooms that changed files concern.
pub(super) struct Rooms {
    pub(super) supervisor: Handle,
    pub(super) proxy: tutti_proxy::Handle,
    pub(super) trust: Arc<tutti_trust::Handle>,
}

impl Rooms {
    /// Takes certificates and routes into force, in this order: a listener shows what is there.
    async fn route(&self, routing: &Routing) -> Result<(), SupervisorError> {
        let wanted = self.trust.apply(certificates::policy(routing)).await;
        wanted.map_err(|error| refused(tutti_core::error::chain(&error)))?;
        let applied = self.proxy.apply(routing.clone()).await;
        tutti_host::memory::give_back();
        applied.map(drop).map_err(|error| refused(tutti_core::error::chain(&error)))
    }

    /// The same for what was in force before `error`; tells both if that fails, too.
    async fn restore(&self, routing: &Routing, error: SupervisorError) -> SupervisorError {
        match self.route(routing).await {
            Ok(()) => error,
            Err(worse) => {
                let chain = tutti_core::error::chain;
                refused(format!(
                    "{}; and what was in force cannot be restored: {}",
                    chain(&error),
                    chain(&worse)
                ))
            }
        }
    }
}

/// What is in force.
struct Now {
    /// How the files were read.
    options: LoadOptions,
    application: Arc<Application>,
}

/// The files say what is in force, and nothing else is taken into force as long as this is there.
pub(super) struct Unchanged<'a> {
    now: MutexGuard<'a, Now>,
    kept: Option<LastGood>,
}

impl Unchanged<'_> {
    /// How the files were read.
    pub(super) fn options(&self) -> &LoadOptions {
        &self.now.options
    }

    /// What was kept is in force, and not what the files say.
    pub(super) fn kept(&self) -> Option<&LastGood> {
        self.kept.as_ref()
    }
}

/// What the files say.
struct Read {
    now: Now,
    plan: Plan,
    origin: Origin,
}

impl Reloader {
    /// `options` is how the running application was loaded.
    pub(super) fn new(
        rooms: Rooms,
        options: &LoadOptions,
        application: Arc<Application>,
        keeper: Arc<Keeper>,
    ) -> Arc<Self> {
        let shown = listeners::listening(&application.routing, &rooms.proxy.describe().listeners);
        let options = LoadOptions { profiles: profiles(options), ..options.clone() };
        let now = Now { options, application };
        Arc::new(Self { rooms, keeper, listeners: RwLock::new(shown), now: Mutex::new(now) })
    }

    /// Where the edge listens, for people.
    pub(super) fn listeners(&self) -> Vec<Listening> {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the files say what is in force; else why that is not known, or that they do not.
    pub(super) async fn unchanged(&self) -> Result<Unchanged<'_>, String> {
        let now = self.now.lock().await;
        let kept = self.keeper.resumed();
        if kept.is_some() {
            // It is what was kept, whatever the files say.
            return Ok(Unchanged { now, kept });
        }
        let read = read(&now, now.options.clone()).await;
        let read = read.map_err(|error| {
            format!("the files cannot be read as they are: {}", tutti_core::error::chain(&error))
        })?;
        if !read.plan.is_empty() {
            return Err("the files have changed since they were taken into force; `tutti up` does that, \
                        and then the upgrade is possible"
                .to_owned());
        }
        Ok(Unchanged { now, kept })
    }

    /// What [`Reloader::reload`] would change.
    pub(super) async fn diff(&self, options: LoadOptions) -> Result<Plan, SupervisorError> {
        let now = self.now.lock().await;
        Ok(read(&now, options).await?.plan)
    }

    /// Reads the files and takes them into force: routes first, because only they can fail for reasons of the machine, then
    /// services. What was enabled by a profile or by its name stays enabled. On an error nothing has changed.
    pub(super) async fn reload(&self, options: LoadOptions) -> Result<Reload, SupervisorError> {
        let mut now = self.now.lock().await;
        let read = read(&now, options).await?;
        let (old, new) = (&now.application.routing, &read.now.application.routing);
        if old != new
            && let Err(error) = self.rooms.route(new).await
        {
            return Err(self.rooms.restore(old, error).await);
        }
        let reloaded = match self.rooms.supervisor.reload(Arc::clone(&read.now.application)).await {
            Err(error) if old != new => return Err(self.rooms.restore(old, error).await),
            reloaded => reloaded?,
        };
        let shown = listeners::listening(new, &self.rooms.proxy.describe().listeners);
        *self.listeners.write().unwrap_or_else(PoisonError::into_inner) = shown;
        *now = read.now;
        self.keeper.keep(read.origin, Arc::clone(&now.application)).await;
        let edge_generation = self.rooms.proxy.settled().await;
        Ok(Reload { services: reloaded, plan: read.plan, edge_generation })
    }
}

/// Reads the files, and compares them with what is in force.
async fn read(now: &Now, mut options: LoadOptions) -> Result<Read, SupervisorError> {
    options.profiles = union(&now.options.profiles, profiles(&options));
    options.services = union(&now.options.services, std::mem::take(&mut options.services));
    let used = options.clone();
    let loaded = tokio::task::spawn_blocking(move || tutti_model::load(&options)).await;
    let loaded = loaded.map_err(|_| SupervisorError::Closed)?;
    let loaded = loaded.map_err(|problems| refused(problems.render(false)))?;
    let (application, origin) = (Arc::new(loaded.application), loaded.origin);
    if application.folder != now.application.folder {
        return Err(refused(format!(
            "what runs here belongs to {}; give the other project a --data-dir of its own",
            now.application.folder.display()
        )));
    }
    let reloaded = Reloaded::between(&now.application, &application);
    let plan = plan::plan(&now.application, &application, &reloaded);
    Ok(Read { now: Now { options: used, application }, plan, origin })
}

fn refused(why: String) -> SupervisorError {
    SupervisorError::BadDefinition(why)
}

/// The profiles that are active: as said, else by `COMPOSE_PROFILES`.
fn profiles(options: &LoadOptions) -> Vec<String> {
    if !options.profiles.is_empty() {
        return options.profiles.clone();
    }
    let variable = options.env.get("COMPOSE_PROFILES").map_or("", String::as_str);
    variable.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn union(first: &[String], second: Vec<String>) -> Vec<String> {
    let mut all = first.to_vec();
    all.extend(second.into_iter().filter(|name| !first.contains(name)));
    all
}
