//! Keeps what is in force, and knows whether that is the files or what was kept of them.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tutti_core::code;
use tutti_core::metrics::{Counter, Gauge, Page};
use tutti_model::Origin;
use tutti_model::app::Application;
use tutti_ports::routing::Routing;

use super::{described, file};
use crate::control::wire::LastGood;

/// Between two attempts to keep what could not be kept: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Between two looks whether a description has changed.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps what is in force.
pub(crate) struct Keeper {
    data: PathBuf,
    state: Mutex<State>,
    /// One writer at a time.
    writing: Mutex<()>,
    /// Something else is in force.
    changed: Notify,
    /// Nothing is in force that nobody has tried to keep.
    tried: watch::Sender<bool>,
    generation: Gauge,
    resumed: Gauge,
    failures: Counter,
}

#[derive(Default)]
struct State {
    /// What is in force is what was kept before, not what the files say.
    resumed: Option<LastGood>,
    /// What is in force, when the files said it.
    inforce: Option<Arc<InForce>>,
    /// Why it is not kept.
    why: Option<String>,
}

/// What the files said when they were taken into force.
struct InForce {
    origin: Origin,
    application: Arc<Application>,
}

impl Keeper {
    /// A keeper for what is in force from now on: what was kept, or something that is told to it by [`Keeper::keep`].
    pub(crate) fn new(data: &Path, resumed: Option<LastGood>) -> Arc<Self> {
        let (generation, metric) = (Gauge::new(), Gauge::new());
        if let Some(LastGood { generation: number, why, .. }) = &resumed {
            generation.set(i64::try_from(*number).unwrap_or(i64::MAX));
            metric.set(1);
            tracing::warn!(
                code = %code::LAST_GOOD_RUNS, generation = number, why,
                "the files cannot be used; the last good configuration is taken into force"
            );
        }
        Arc::new(Self {
            data: data.to_owned(),
            state: Mutex::new(State { resumed, ..State::default() }),
            writing: Mutex::default(),
            changed: Notify::new(),
            tried: watch::channel(true).0,
            generation,
            resumed: metric,
            failures: Counter::new(),
        })
    }

    /// What was kept is in force, and not what the files say.
    pub(crate) fn resumed(&self) -> Option<LastGood> {
        self.state().resumed.clone()
    }

    /// Why what is in force is not kept, if it is not.
    pub(crate) fn not_kept(&self) -> Option<String> {
        self.state().why.clone()
    }

    /// The files say what is in force from now on: keeps what they say. If that fails it is tried again later; nothing else fails for it.
    pub(crate) async fn keep(self: &Arc<Self>, origin: Origin, application: Arc<Application>) {
        self.begin(origin, application);
        self.attempt().await;
        self.changed.notify_one();
    }

    /// The same at the start: it is kept when [`Keeper::run`] runs, beside whatever else is started. [`Keeper::tried`] waits for it.
    pub(crate) fn begin(&self, origin: Origin, application: Arc<Application>) {
        let mut state = self.state();
        if state.resumed.take().is_some() {
            tracing::info!("the files are in force again, and not the last good configuration");
        }
        state.inforce = Some(Arc::new(InForce { origin, application }));
        self.resumed.set(0);
        self.tried.send_replace(false);
    }

    /// Waits until what is in force is kept, or could not be.
    pub(crate) async fn tried(&self) {
        // It is there as long as the keeper is.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Runs until it is dropped: tries again what could not be kept, and keeps descriptions that have changed while they were in force.
    pub(crate) async fn run(self: &Arc<Self>, proxy: &tutti_proxy::Handle) -> Infallible {
        let mut pause = AGAIN.0;
        let mut reread = proxy.descriptions_reread().await;
        self.attempt().await;
        loop {
            let failed = self.state().why.is_some();
            tokio::select! {
                () = self.changed.notified() => continue,
                () = sleep(pause), if failed => {
                    pause = if self.attempt().await { AGAIN.0 } else { (pause * 2).min(AGAIN.1) };
                }
                () = sleep(LOOK), if !failed && self.is_described() => {
                    let now = proxy.descriptions_reread().await;
                    if now != reread {
                        reread = now;
                        self.attempt().await;
                    }
                }
            }
        }
    }

    /// Writes the metrics.
    pub(crate) fn metrics(&self, page: &mut Page) {
        page.one(
            "tutti_config_generation",
            "Generation of the configuration that was kept last.",
            &self.generation,
        );
        page.one(
            "tutti_config_last_good",
            "1 while the last good configuration is in force, because the files could not be used.",
            &self.resumed,
        );
        page.one(
            "tutti_config_keep_failures_total",
            "Attempts to keep the configuration in force that failed.",
            &self.failures,
        );
    }

    fn is_described(&self) -> bool {
        self.state().inforce.as_ref().is_some_and(|now| described::any(&now.application.routing))
    }

    /// Keeps what is in force, unless that is kept. Whether it is.
    async fn attempt(self: &Arc<Self>) -> bool {
        let this = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || {
            let _alone = this.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let inforce = this.state().inforce.clone();
            let Some(inforce) = inforce else { return Ok(()) };
            let written = this.write(&inforce.origin, &inforce.application.routing);
            this.tell(written.as_ref().err());
            written
        });
        let kept = matches!(kept.await, Ok(Ok(())));
        self.tried.send_replace(true);
        kept
    }

    fn write(&self, origin: &Origin, routing: &Routing) -> anyhow::Result<()> {
        let before = file::read(&self.data).ok();
        let described = match described::read(routing) {
            Ok(described) => described,
            Err(error) => {
                // With the files as they were kept, an older description is better than no start at all.
                if before.is_none_or(|before| before.kept.origin != *origin) {
                    self.put_aside();
                }
                return Err(error);
            }
        };
        let kept = file::Kept { origin: origin.clone(), described };
        if let Some(before) = before.filter(|before| before.kept == kept) {
            self.generation.set(i64::try_from(before.head.generation).unwrap_or(i64::MAX));
            return Ok(());
        }
        let generation = file::generation(&self.data).saturating_add(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        match file::write(&self.data, generation, now_ms, &kept) {
            Ok(()) => {
                self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
                tracing::info!(generation, "the configuration in force is kept");
                Ok(())
            }
            Err(error) => {
                self.put_aside();
                Err(error)
            }
        }
    }

    /// What is kept is older than what is in force.
    fn put_aside(&self) {
        if let Err(error) = file::put_aside(&self.data) {
            tracing::warn!(
                code = %code::LAST_GOOD_NOT_KEPT, %error,
                "a start without the files would take an older configuration into force, and that cannot be prevented"
            );
        }
    }

    /// Says once that it fails, and once that it does not any more.
    fn tell(&self, error: Option<&anyhow::Error>) {
        let why = error.map(|error| format!("{error:#}"));
        if error.is_some() {
            self.failures.inc();
        }
        let before = std::mem::replace(&mut self.state().why, why.clone());
        match (before, why) {
            (None, Some(why)) => tracing::warn!(
                code = %code::LAST_GOOD_NOT_KEPT, why,
                "the configuration in force is not kept for a start without the files; it is tried again"
            ),
            (Some(_), None) => tracing::info!("the configuration in force is kept at last"),
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
