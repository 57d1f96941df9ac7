//! Services that go from one process of Tutti to the next while they run. The keeper stays, and with it every process; its socket, the pipes of
//! what instances print, and all that the loop knows go over.
//!
//! The old one keeps still from [`Handle::hand_over`] on: nothing is started, stopped or read. If what it gave is dropped, it goes on as if nothing
//! had been; with [`Handed::let_go`] it ends and leaves everything as it is. The next one ([`Supervisor::take_over`]) touches nothing either
//! before its gate opens.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tutti_core::{InstanceId, ServiceName};
use tutti_model::app::Application;
use tutti_ports::catalog::{Endpoint, Standing};

use super::instance::{Adopted, Instance};
use super::shared::Live;
use super::{Command, Parts, Supervisor, key_of};
use crate::driver::Surroundings;
use crate::error::SupervisorError;
use crate::handle::Handle;
use crate::keeper::{Frozen, Keeper, Legacy, sweep};
use crate::logs::{Captured, LastLines, Splitter, Tap};
use crate::metrics::Metrics;
use crate::model::{Affairs, At, InstanceKey};
use crate::options::{Deps, Options};
use crate::rewrite::Rewrite;

/// Descriptors of an instance: its standard output and error.
const PIPES: usize = 2;

/// Everything that is known of the services. Written with `serde` for another process; it holds the environments of services, so it is secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Estate {
    /// What the clock of the old process shows: times below are its times.
    clock: Duration,
    keeper: Legacy,
    services: Vec<Affairs>,
    instances: Vec<Heir>,
    rewrites: Vec<(ServiceName, Vec<Rewrite>)>,
    /// How those stand that run elsewhere.
    elsewhere: Vec<(InstanceId, Standing)>,
}

/// An instance that runs.
#[derive(Clone, Serialize, Deserialize)]
struct Heir {
    service: ServiceName,
    ordinal: u32,
    pid: i32,
    tag: u64,
    started_at_ms: u64,
    around: Surroundings,
    endpoints: Vec<Endpoint>,
    standing: Standing,
    splitters: [Splitter; PIPES],
    last_lines: LastLines,
}

impl Estate {
    /// What the clock has shown that the new process has to go on with.
    pub fn clock(&self) -> Duration {
        self.clock
    }

    /// The instances that the catalog is to know before anybody is served.
    pub fn instances(&self) -> Vec<InstanceId> {
        let ours = self.instances.iter().map(|heir| InstanceId::of(&heir.service, heir.ordinal));
        ours.chain(self.elsewhere.iter().map(|(id, _)| id.clone())).collect()
    }
}

/// Services that are being handed over.
pub struct Handed {
    /// What is known of them.
    pub estate: Estate,
    /// The keeper's socket, then the pipes of each instance.
    pub descriptors: Vec<OwnedFd>,
    verdict: oneshot::Sender<()>,
    commands: mpsc::Sender<Command>,
}

impl Handed {
    /// The other process has them: the supervisor here ends.
    pub async fn let_go(self) {
        // An error means that it has ended already.
        let _ = self.verdict.send(());
        self.commands.closed().await;
    }
}

impl Handle {
    /// Keeps the services still and gives what another process needs to go on with them. Refused while something is being built, started
    /// or stopped.
    pub async fn hand_over(&self) -> Result<Handed, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::HandOver { reply }).await.map_err(|_| SupervisorError::Closed)?;
        let (estate, descriptors, verdict) = answer.await.map_err(|_| SupervisorError::Closed)??;
        Ok(Handed { estate, descriptors, verdict, commands: self.commands.clone() })
    }
}

/// What the loop answers: what is known, the descriptors, and how it hears that another process has all that.
pub(crate) type HandedOver = (Estate, Vec<OwnedFd>, oneshot::Sender<()>);

impl Supervisor {
    /// Keeps still until it is known whether another process has everything. Whether it has.
    pub(super) async fn hand_over(
        &mut self,
        reply: oneshot::Sender<Result<HandedOver, SupervisorError>>,
    ) -> bool {
        self.drain_facts();
        let actions = self.machine.step(self.now());
        self.act(actions);
        let affairs = match self.machine.affairs() {
            Ok(affairs) if !self.closing => affairs,
            busy => {
                let why = busy.err().unwrap_or_else(|| "everything is being stopped".to_owned());
                let _ = reply.send(Err(SupervisorError::Busy(why)));
                return false;
            }
        };
        let keeper = self.shared.keeper.clone();
        let Some((frozen, release)) = keeper.freeze().await else { return false };
        let quiet = self.shared.logs.quiet().await;
        let (verdict, decided) = oneshot::channel();
        let estate = self.estate(affairs, frozen);
        let given = estate.map(|(estate, descriptors)| (estate, descriptors, verdict));
        let asked = reply.send(given).is_ok();
        let taken = asked && decided.await.is_ok();
        if taken {
            // Whatever still reads pipes here must not do so any more.
            self.tasks.shutdown().await;
            let _ = release.send(());
        }
        drop(quiet);
        taken
    }

    fn estate(
        &self,
        services: Vec<Affairs>,
        frozen: Frozen,
    ) -> Result<(Estate, Vec<OwnedFd>), SupervisorError> {
        let busy = |what: String| SupervisorError::Busy(what);
        if !self.facts.is_empty() {
            return Err(busy("something has just happened to an instance".to_owned()));
        }
        let mut descriptors = vec![frozen.socket];
        let mut instances = Vec::new();
        for service in &services {
            for slot in service.slots.iter().filter(|slot| slot.at == At::Running) {
                let key = InstanceKey { service: service.name.clone(), ordinal: slot.ordinal };
                let heir = self.heir(&key, &mut descriptors).map_err(SupervisorError::Keeper)?;
                instances.push(heir.ok_or_else(|| busy(format!("{} has just ended", key.id())))?);
            }
        }
        let (rewrites, elsewhere) = (self.shared.rewrites_by_service(), self.elsewhere());
        let (clock, keeper) = (self.now(), frozen.legacy);
        Ok((Estate { clock, keeper, services, instances, rewrites, elsewhere }, descriptors))
    }

    /// How those stand that run elsewhere.
    fn elsewhere(&self) -> Vec<(InstanceId, Standing)> {
        let view = self.shared.deps.catalog.watch().borrow().clone();
        let application = self.shared.current.get();
        let external = application.services.values().filter(|s| !s.skip && !s.external.is_empty());
        let known = external.filter_map(|service| {
            let id = InstanceId::of(&service.name, 1);
            let standing = standing(view.instance(&id)?);
            Some((id, standing))
        });
        known.collect()
    }

    /// An instance with its pipes; `None` if it has ended, which nobody has told yet.
    fn heir(&self, key: &InstanceKey, descriptors: &mut Vec<OwnedFd>) -> io::Result<Option<Heir>> {
        let id = key.id();
        let Some(live) = self.shared.live().get(&id).cloned() else { return Ok(None) };
        let known = self.shared.deps.catalog.watch().borrow().instance(&id).map(standing);
        let Some(standing) = known.filter(|_| self.shared.keeper.knows(live.tag)) else { return Ok(None) };
        let [out, err] = &live.taps;
        let ((out, first), (err, second)) = (out.duplicate()?, err.duplicate()?);
        descriptors.extend([out, err]);
        Ok(Some(Heir {
            service: key.service.clone(),
            ordinal: key.ordinal,
            pid: live.pid,
            tag: live.tag,
            started_at_ms: live.started_at_ms,
            around: (*live.around).clone(),
            endpoints: live.endpoints,
            standing,
            splitters: [first, second],
            last_lines: live.captured.seen(),
        }))
    }

    /// Ends without ending anything else.
    pub(super) async fn leave(self) -> Result<(), SupervisorError> {
        let kept = self.keeper.await.map_err(io::Error::other).and_then(|result| result);
        self.shared.logs.close().await;
        let writer = self.writer;
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        kept.map_err(SupervisorError::Keeper)
    }

    /// Takes over the services of another process. The catalog hears of the instances at once; everything else waits for the gate, and if that
    /// never opens, nothing has happened. `deps.clock` must go on from [`Estate::clock`]. Must be called inside a runtime.
    pub async fn take_over(
        deps: Deps,
        application: Arc<Application>,
        options: Options,
        (estate, descriptors): (Estate, Vec<OwnedFd>),
        gate: watch::Receiver<bool>,
    ) -> Result<(Self, Handle), SupervisorError> {
        let Estate { keeper, services, instances, rewrites, elsewhere, .. } = estate;
        let mut descriptors = descriptors.into_iter();
        let short = || SupervisorError::Keeper(io::Error::from(io::ErrorKind::InvalidData));
        if descriptors.len() != 1 + PIPES * instances.len() {
            return Err(short());
        }
        let socket = descriptors.next().ok_or_else(short)?;
        let metrics = Arc::new(Metrics::default());
        let run = sweep::run_name(&options.data_dir);
        let tags = instances.iter().map(|heir| heir.tag);
        let taken = Keeper::take_over(
            options.keeper.clone(),
            &run,
            Arc::clone(&metrics),
            (socket, keeper),
            tags,
            gate.clone(),
        );
        let (keeper, keeper_loop) = taken.map_err(SupervisorError::Keeper)?;
        let parts = Parts { deps, application: Arc::clone(&application), options, metrics };
        let (mut this, handle) = Self::build(parts, keeper, keeper_loop)?;
        let quiet = this.shared.logs.quiet().await;
        this.plan_again(&services).await?;
        this.machine.resume(services).map_err(SupervisorError::BadDefinition)?;
        this.shared.stand(elsewhere);
        for (service, rewrites) in rewrites {
            this.shared.know_rewrites(service, rewrites);
        }
        for heir in instances {
            let pipes = (descriptors.next().ok_or_else(short)?, descriptors.next().ok_or_else(short)?);
            this.adopt(heir, pipes)?;
        }
        this.publish();
        this.tasks.spawn(async move {
            let mut gate = gate;
            if gate.wait_for(|open| *open).await.is_err() {
                // Somebody else still reads.
                std::future::pending::<()>().await;
            }
            drop(quiet);
        });
        Ok((this, handle))
    }

    /// Finds out anew how services are run, as the next start of an instance needs it.
    async fn plan_again(&self, services: &[Affairs]) -> Result<(), SupervisorError> {
        for affairs in services.iter().filter(|affairs| affairs.is_built()) {
            let shared = Arc::clone(&self.shared);
            let Some(service) = shared.current.get().services.get(&affairs.name).cloned() else { continue };
            let work = move || shared.plans.make(&service, &shared.current.get().folder, &shared.options);
            let made = tokio::task::spawn_blocking(work).await.map_err(|_| SupervisorError::Closed)?;
            made.map_err(|failure| {
                let why = format!("{} runs and could not be started again: {}", affairs.name, failure.reason);
                SupervisorError::Start(why, failure.code)
            })?;
        }
        Ok(())
    }

    fn adopt(&mut self, heir: Heir, (out, err): (OwnedFd, OwnedFd)) -> Result<(), SupervisorError> {
        let id = InstanceId::of(&heir.service, heir.ordinal);
        let application = self.shared.current.get();
        let unknown = || SupervisorError::NotRunning(heir.service.to_string());
        let key = key_of(&application, &id).ok_or_else(unknown)?;
        let service = application.services.get(&key.service).cloned().ok_or_else(unknown)?;
        let plan = self.shared.plans.get(&key.service).ok_or_else(unknown)?;
        let [first, second] = heir.splitters;
        let tap = |pipe, splitter| Tap::adopt(pipe, splitter).map_err(SupervisorError::Keeper);
        let live = Live {
            pid: heir.pid,
            started_at_ms: heir.started_at_ms,
            around: Arc::new(heir.around),
            endpoints: heir.endpoints,
            tag: heir.tag,
            taps: [tap(out, first)?, tap(err, second)?],
            captured: Captured::of(heir.last_lines),
        };
        let adopted = Some(Box::new(Adopted { live, standing: heir.standing }));
        // As for one that is started here.
        let (sender, orders) = mpsc::unbounded_channel();
        self.instances.insert(key.clone(), sender);
        let (shared, facts) = (Arc::clone(&self.shared), self.tell.clone());
        self.tasks.spawn(Instance { shared, service, plan, key, orders, facts, adopted }.run());
        Ok(())
    }
}

fn standing(known: &tutti_ports::catalog::Instance) -> Standing {
    Standing { health: known.health, reason: known.reason.clone(), since: known.since }
}
