//! The room: made with its [`Handle`], run by the host.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tutti_core::limits;
use tutti_core::random::Rng;
use tutti_core::time::Clock;
use tutti_ports::certificates::{Acme, Policy};
use tutti_ports::state::Store;

use crate::acme::board::Board;
use crate::acme::keeper::{Keeper, Standing, Tools};
use crate::acme::order::AcmeAuthority;
use crate::acme::vault::Vault;
use crate::dev::desk::Desk;
use crate::error::TrustError;
use crate::handle::{Handle, Shared};
use crate::metrics::Metrics;
use crate::model::gate::Gate;
use crate::seal::Seal;
use crate::shelf::Shelf;

/// Where things lie.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder in the data directory for the key that seals.
    pub folder: PathBuf,
    /// The folder of the development authority of this user.
    pub authority: PathBuf,
}

/// What the room is made of.
pub struct Deps {
    /// The state.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Chance, for times only.
    pub rng: Rng,
}

/// What can be asked of the running room.
pub(crate) enum Call {
    /// Want this from now on.
    Apply(Box<Policy>, oneshot::Sender<Result<(), TrustError>>),
    /// A client brought up a name.
    Bring(String, oneshot::Sender<()>),
    /// How the certificates are.
    Standings(oneshot::Sender<Vec<Standing>>),
}

/// The room.
pub struct Trust {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    options: Options,
    rng: Arc<Rng>,
    calls: mpsc::Receiver<Call>,
    keeper: Option<Keeper>,
}

impl Trust {
    /// Makes the room and takes up what is stored: what was issued earlier is in force when this returns.
    pub async fn new(
        deps: Deps,
        options: Options,
        policy: Policy,
    ) -> Result<(Self, Arc<Handle>), TrustError> {
        let (send, calls) = mpsc::channel(limits::ON_DEMAND_WAITERS);
        let metrics = Arc::new(Metrics::default());
        let shared = Arc::new(Shared {
            policy: ArcSwap::from_pointee(Policy::default()),
            shelf: Arc::new(Shelf::default()),
            board: Board::default(),
            desk: Desk::new(options.authority.clone(), Arc::clone(&deps.clock), Arc::clone(&metrics)),
            gate: std::sync::Mutex::new(Gate::new(deps.clock.monotonic())),
            pending: std::sync::Mutex::default(),
            waiting: Semaphore::new(limits::ON_DEMAND_WAITERS),
            clock: deps.clock,
            calls: send,
            metrics,
        });
        let handle = Arc::new(Handle::new(Arc::clone(&shared)));
        let rng = Arc::new(deps.rng);
        let mut trust = Self { shared, store: deps.store, options, rng, calls, keeper: None };
        trust.apply(policy).await?;
        Ok((trust, handle))
    }

    /// Runs until the end is asked for. Orders under way are given up: they are begun anew by the next process.
    pub async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            let again = self.keeper.as_mut().map(Keeper::start_due);
            let renewed = self.shared.desk.renew();
            let again = again.map_or(renewed, |again| again.min(renewed));
            let progress = async {
                match &mut self.keeper {
                    Some(keeper) => keeper.progress().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut end => break,
                () = progress => {}
                Some(call) = self.calls.recv() => self.call(call).await,
                () = tokio::time::sleep(again) => {}
            }
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.end().await;
        }
    }

    async fn call(&mut self, call: Call) {
        match call {
            Call::Apply(policy, reply) => {
                let applied = self.apply(*policy).await;
                // Whoever asked may have gone.
                let _ = reply.send(applied);
            }
            Call::Bring(name, reply) => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.bring(&name, reply);
                }
            }
            Call::Standings(reply) => {
                let mut all = self.shared.desk.standings();
                all.extend(self.keeper.iter().flat_map(Keeper::standings));
                let _ = reply.send(all);
            }
        }
    }

    /// Wants this from now on. On an error nothing has changed.
    async fn apply(&mut self, policy: Policy) -> Result<(), TrustError> {
        let before = self.shared.policy.load_full();
        if policy == *before {
            return Ok(());
        }
        if policy.acme != before.acme {
            let shelf = Arc::new(Shelf::default());
            let next = match &policy.acme {
                Some(acme) => Some(self.keeper_of(acme, Arc::clone(&shelf)).await?),
                None => None,
            };
            self.shared.desk.apply(&policy)?;
            let former = std::mem::replace(&mut self.keeper, next);
            // What is in force stays so until its successor is read: the shelf is filled from the same store.
            self.shared.shelf.replace(&shelf);
            if let Some(keeper) = &mut self.keeper {
                keeper.move_to(&self.shared.shelf);
            }
            if let Some(former) = former {
                former.end().await;
            }
        } else {
            self.shared.desk.apply(&policy)?;
        }
        self.shared.policy.store(Arc::new(policy));
        Ok(())
    }

    async fn keeper_of(&self, acme: &Acme, shelf: Arc<Shelf>) -> Result<Keeper, TrustError> {
        let seal = Arc::new(Seal::open(&self.options.folder)?);
        let vault = Vault::new(Arc::clone(&self.store), seal, acme);
        let clock = Arc::clone(&self.shared.clock);
        let authority =
            AcmeAuthority::new(acme, vault.clone(), self.shared.board.clone(), Arc::clone(&clock))?;
        let tools = Tools {
            authority: Arc::new(authority),
            vault,
            clock,
            rng: Arc::clone(&self.rng),
            shelf,
            metrics: Arc::clone(&self.shared.metrics),
        };
        Keeper::load(tools, acme).await
    }
}
