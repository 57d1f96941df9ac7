//! Taking changed files into force while the application runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;
use tutti_model::LoadOptions;
use tutti_ports::routing::Routing;
use tutti_supervisor::{Handle, Reloaded, SupervisorError};

use super::{certificates, listeners};
use crate::control::wire::Listening;

/// What is needed to take changed files into force.
pub(super) struct Reloader {
    rooms: Rooms,
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
        applied.map(drop).map_err(|error| refused(tutti_core::error::chain(&error)))
    }
}

/// What is in force.
struct Now {
    profiles: Vec<String>,
    services: Vec<String>,
    folder: PathBuf,
    routing: Routing,
}

impl Reloader {
    /// `options` is how the running application was loaded.
    pub(super) fn new(rooms: Rooms, options: &LoadOptions, folder: PathBuf, routing: Routing) -> Arc<Self> {
        let listeners = RwLock::new(listeners::listening(&routing, &rooms.proxy.describe().listeners));
        let now = Now { profiles: profiles(options), services: options.services.clone(), folder, routing };
        Arc::new(Self { rooms, listeners, now: Mutex::new(now) })
    }

    /// Where the edge listens, for people.
    pub(super) fn listeners(&self) -> Vec<Listening> {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files and takes them into force: routes first, because only they can fail for reasons of the machine, then
    /// services. What was enabled by a profile or by its name stays enabled. On an error nothing has changed.
    pub(super) async fn reload(&self, mut options: LoadOptions) -> Result<Reloaded, SupervisorError> {
        let mut now = self.now.lock().await;
        options.profiles = union(&now.profiles, profiles(&options));
        options.services = union(&now.services, std::mem::take(&mut options.services));
        let (active, named) = (options.profiles.clone(), options.services.clone());
        let loaded = tokio::task::spawn_blocking(move || tutti_model::load(&options)).await;
        let loaded = loaded.map_err(|_| SupervisorError::Closed)?;
        let application = loaded.map_err(|problems| refused(problems.render(false)))?.application;
        if application.folder != now.folder {
            return Err(refused(format!(
                "what runs here belongs to {}; give the other project a --data-dir of its own",
                now.folder.display()
            )));
        }
        let routing = application.routing.clone();
        if routing != now.routing
            && let Err(error) = self.rooms.route(&routing).await
        {
            // Certificates of routes that are not in force would be asked for in vain.
            let _ = self.rooms.trust.apply(certificates::policy(&now.routing)).await;
            return Err(error);
        }
        let reloaded = self.rooms.supervisor.reload(Arc::new(application)).await;
        if reloaded.is_err() && routing != now.routing {
            self.rooms.route(&now.routing).await?;
        }
        let reloaded = reloaded?;
        let mut shown = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        *shown = listeners::listening(&routing, &self.rooms.proxy.describe().listeners);
        *now = Now { profiles: active, services: named, folder: now.folder.clone(), routing };
        Ok(reloaded)
    }
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
