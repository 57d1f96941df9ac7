//! The registry as a service: made with its handle, and run by whoever hosts it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tutti_core::limits::REGISTRY_CALLS;
use tutti_core::random::Rng;
use tutti_core::time::Clock;
use tutti_core::{Classify, Kind};
use tutti_ports::catalog::View;
use tutti_ports::state::Store;

use crate::config::Options;
use crate::error::RegistryError;
use crate::handle::{Call, Handle, Suspects};
use crate::metrics::Metrics;
use crate::probe::{Carriers, NetProber, Prober};
use crate::recover::{Recovered, recover};
use crate::run::Run;

/// How often the state of the former run is asked for before the registry gives up, and the first pause in between.
const RECOVER_ATTEMPTS: u32 = 5;
const RECOVER_PAUSE: Duration = Duration::from_millis(100);

/// The registry. It does nothing before [`Registry::run`].
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) prober: Arc<dyn Prober>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) suspects: Arc<Suspects>,
    pub(crate) publisher: watch::Sender<Arc<View>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Registry {
    /// A registry over a store, and the handle by which it is used.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Rng,
        options: Options,
    ) -> (Self, Arc<Handle>) {
        let carriers = Carriers::default();
        let prober = Arc::new(NetProber { carriers: Arc::clone(&carriers) });
        Self::with_prober(store, clock, rng, options, (prober, carriers))
    }

    pub(crate) fn with_prober(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Rng,
        options: Options,
        (prober, carriers): (Arc<dyn Prober>, Carriers),
    ) -> (Self, Arc<Handle>) {
        let (sender, calls) = mpsc::channel(REGISTRY_CALLS);
        let (publisher, view) = watch::channel(Arc::default());
        let (suspects, metrics) = (Arc::<Suspects>::default(), Arc::<Metrics>::default());
        let handle = Handle {
            calls: sender,
            suspects: Arc::clone(&suspects),
            view,
            store: Arc::clone(&store),
            metrics: Arc::clone(&metrics),
            patience: options.write_patience,
            carriers,
        };
        (Self { store, clock, rng, options, prober, calls, suspects, publisher, metrics }, Arc::new(handle))
    }

    /// Runs until `shutdown` ends: first reads what the former run has left, then takes calls and checks instances. When it
    /// returns, no probe is under way any more, and what could be written in time is written.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RegistryError> {
        let mut shutdown = pin!(shutdown);
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let take_over = self.options.take_over;
        let recovered = tokio::select! {
            () = &mut shutdown => return Ok(()),
            recovered = recovering(store.as_ref(), clock.as_ref(), take_over) => recovered?,
        };
        let mut run = Run::new(self, recovered);
        run.until(shutdown).await;
        run.finish().await;
        Ok(())
    }
}

/// Reads the former run's state, with patience for a state engine that is only just starting.
async fn recovering(
    store: &dyn Store,
    clock: &dyn Clock,
    take_over: bool,
) -> Result<Recovered, RegistryError> {
    let mut attempt = 0;
    loop {
        match recover(store, clock.wall(), take_over).await {
            Err(error) if error.kind() == Kind::Unavailable && attempt < RECOVER_ATTEMPTS => {
                tokio::time::sleep(RECOVER_PAUSE * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}
