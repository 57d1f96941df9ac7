//! The side that takes over. It touches nothing before the old process has said that it does not come back: until then it may fail, and nobody notices.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tutti_core::InstanceId;
use tutti_core::time::SystemClock;
use tutti_model::LoadOptions;
use tutti_model::app::Application;
use tutti_net::Link;
use tutti_ports::catalog::Catalog;
use tutti_proxy::handover::Front;
use tutti_supervisor::{Deps, Handle, Supervisor};

use super::{FORM, Hello, Offer, Predecessors, ServicesGiven, Word, hear, say};
use crate::control::wire::LastGood;
use crate::engine::last_good::Definition;
use crate::engine::{Ended, Engine, Settings};
use crate::exit;

/// How long the instances may take to be known everywhere.
const KNOWN: Duration = Duration::from_secs(4);

/// What another process has given, and the way to it.
pub(crate) struct Inherited {
    link: Arc<Link>,
    pid: u32,
    stays: bool,
    /// The lock of the data directory; taken out when that is opened.
    lock: Option<OwnedFd>,
    /// The control socket; taken out when it is listened at.
    control: Option<OwnedFd>,
    /// The edge; taken out when it is made.
    pub(in crate::engine) front: Option<(Front, Vec<OwnedFd>)>,
    /// The soft limit of open files that services are to have.
    pub(in crate::engine) soft_files: Option<u64>,
    /// Opens when the old process has let go.
    gate: watch::Sender<bool>,
    /// What has to be known before that.
    instances: Vec<InstanceId>,
    predecessors: Vec<(u32, bool, Link)>,
}

/// Takes over from the process that has started this one, and runs until the end. The number is the exit code.
pub(crate) async fn take_over(socket: OwnedFd) -> anyhow::Result<i32> {
    let link = Link::of(socket)?;
    let link = Arc::new(link);
    let begun = async {
        let (definition, settings, inherited) = begin(&link).await?;
        Engine::start(definition, settings, Some(inherited)).await
    };
    let engine = match begun.await {
        Ok(engine) => engine,
        Err(error) => {
            // If it is gone it does not want to know.
            let _ = say(&link, &Word::Cannot(format!("{error:#}")), &[]).await;
            return Err(error);
        }
    };
    drop(link);
    engine.shutdown_asked().await;
    let predecessors = engine.predecessors();
    let ended = engine.end().await;
    let code = match &ended {
        Ok(Ended::HandedOver) => return Ok(0),
        Ok(Ended::Drained) => 0,
        Ok(Ended::Killed) => exit::INTERRUPTED,
        Err(_) => exit::FAILED,
    };
    predecessors.farewell(code).await;
    ended.map(|_| code)
}

/// The conversation, to the sockets of the edge.
async fn begin(link: &Arc<Link>) -> anyhow::Result<(Definition, Settings, Inherited)> {
    let Some((Word::Offer(offer), _)) = hear(link).await? else {
        anyhow::bail!("the old process does not say what this is about");
    };
    let Offer { form, pid, version, data_dir, options, command, rebuild, soft_files, stays, kept } = *offer;
    let ours = env!("CARGO_PKG_VERSION");
    anyhow::ensure!(
        form == FORM,
        "version {version} speaks of upgrades in form {form}, and version {ours} in form {FORM}"
    );
    let definition = definition(&data_dir, &options, kept)?;
    let (layout, state) = (tutti_store::dir::FORMAT, tutti_store::sqlite::FORMAT);
    let hello = Hello { form: FORM, version: ours.to_owned(), layout, state };
    say(link, &Word::Hello(hello), &[]).await?;
    let Some((Word::Front(given), descriptors)) = hear(link).await? else {
        anyhow::bail!("the old process has changed its mind");
    };
    let mut descriptors = descriptors.into_iter();
    let (lock, control) = (descriptors.next(), descriptors.next());
    let front = Some((given.front, descriptors.collect()));
    let settings =
        Settings { data_dir, command, rebuild, options, stays: false, keeps: None, one_off: false };
    let inherited = Inherited {
        link: Arc::clone(link),
        pid,
        stays,
        lock,
        control,
        front,
        soft_files,
        gate: watch::channel(false).0,
        instances: Vec::new(),
        predecessors: Vec::new(),
    };
    Ok((definition, settings, inherited))
}

/// What is in force in the old process: what the files say, or what was kept.
fn definition(data_dir: &Path, options: &LoadOptions, kept: Option<LastGood>) -> anyhow::Result<Definition> {
    let ours = env!("CARGO_PKG_VERSION");
    let Some(LastGood { generation, why, .. }) = kept else {
        let loaded = tutti_model::load(options).map_err(|problems| {
            anyhow::anyhow!("version {ours} has problems with the files:\n{}", problems.render(false))
        })?;
        return Ok(Definition::of(loaded));
    };
    let definition = Definition::resume(data_dir, None, why)?;
    let found = definition.kept.as_ref().map(|kept| kept.told.generation);
    anyhow::ensure!(
        found == Some(generation),
        "the last good configuration is not generation {generation}, which is in force"
    );
    Ok(definition)
}

impl Inherited {
    /// Opens when the old process has let go; never, if it does not.
    pub(in crate::engine) fn gate(&self) -> watch::Receiver<bool> {
        self.gate.subscribe()
    }

    /// The lock of the data directory.
    pub(in crate::engine) fn lock(&mut self) -> anyhow::Result<OwnedFd> {
        self.lock.take().context("there is no lock")
    }

    /// The control socket.
    pub(in crate::engine) fn control(&mut self) -> anyhow::Result<OwnedFd> {
        self.control.take().context("there is no control socket")
    }

    /// Everything but the services is there: takes those.
    pub(in crate::engine) async fn services(
        &mut self,
        deps: Deps,
        application: Arc<Application>,
        options: tutti_supervisor::Options,
        proxy: &tutti_proxy::Handle,
    ) -> anyhow::Result<(Supervisor, Handle)> {
        say(&self.link, &Word::Ready, &[]).await?;
        let Some((Word::Services(given), mut descriptors)) = hear(&self.link).await? else {
            anyhow::bail!("the old process has changed its mind");
        };
        let ServicesGiven { doors, door_sockets, predecessors, estate } = *given;
        let links = door_sockets + predecessors.len();
        anyhow::ensure!(descriptors.len() >= links, "descriptors are missing");
        let pipes = descriptors.split_off(links);
        for ((pid, stays), link) in predecessors.into_iter().zip(descriptors.split_off(door_sockets)) {
            self.predecessors.push((pid, stays, Link::of(link)?));
        }
        proxy.adopt_doors(doors, descriptors).await?;
        self.instances = estate.instances();
        let deps = Deps { clock: Arc::new(SystemClock::continuing(estate.clock())), ..deps };
        Ok(Supervisor::take_over(deps, application, options, (estate, pipes), self.gate()).await?)
    }

    /// Everything is there: tells so, and opens the gates. Keeps the way to the old process, and to those before it.
    pub(in crate::engine) async fn taken(
        self,
        proxy: &tutti_proxy::Handle,
        registry: &tutti_registry::Handle,
        predecessors: &Predecessors,
    ) -> anyhow::Result<()> {
        let known = async {
            let mut view = registry.watch();
            let all = view.wait_for(|view| self.instances.iter().all(|id| view.instance(id).is_some()));
            let generation = all.await.map(|view| view.generation)?;
            proxy.knows(generation).await;
            anyhow::Ok(())
        };
        tokio::time::timeout(KNOWN, known).await.context("the instances are not known in time")??;
        say(&self.link, &Word::Taken, &[]).await?;
        let Some((Word::Yours, _)) = hear(&self.link).await? else {
            anyhow::bail!("the old process has changed its mind");
        };
        self.gate.send_replace(true);
        proxy.open_gates();
        if let Err(error) = registry.settle().await {
            tracing::error!(error = tutti_core::error::chain(&error), "the registry does not go on");
        }
        predecessors.add(self.pid, self.stays, self.link);
        for (pid, stays, link) in self.predecessors {
            predecessors.add(pid, stays, Arc::new(link));
        }
        Ok(())
    }
}
