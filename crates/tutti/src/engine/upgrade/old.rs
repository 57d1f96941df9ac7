//! The side that is upgraded away. Nothing that it does before it says "yours" cannot be undone.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tutti_core::error::chain;
use tutti_core::limits::UPGRADES_DRAINING;
use tutti_host::{Shutdown, Trigger};
use tutti_net::Link;
use tutti_net::listen::FileHold;
use tutti_proxy::Patience;
use tutti_store::{DataDir, SqliteStore};
use tutti_supervisor::{Handed, Handle, SupervisorError};

use super::super::reload::{Reloader, Unchanged};
use super::candidate::{Candidate, readable};
use super::{
    FORM, FrontGiven, Heir, Hello, Offer, Predecessors, ServicesGiven, UpgradeError, Word, hear, say,
};
use crate::control::wire::{Upgrade, Upgraded};

/// How long services may take to be at rest.
const REST: Duration = Duration::from_secs(60);
/// How long the new process may take to say who it is, for which it reads the files of the project.
const HELLO: Duration = Duration::from_secs(30);
/// How long it may take to be ready. The state is not written meanwhile.
const READY: Duration = Duration::from_secs(25);
/// How long it may take to take over the services. Nothing is read, started or stopped meanwhile.
const TAKEN: Duration = Duration::from_secs(5);
/// Between two looks whether services are at rest.
const LOOK: Duration = Duration::from_millis(50);
/// How long connections that carry something may go on, if the operator does not say.
const DRAIN: Duration = Duration::from_secs(600);
/// How long an idle connection waits for one more request.
const IDLE: Duration = Duration::from_secs(10);
/// How long connections of HTTP/3 may go on: as long as the old process has the socket, the new one has none.
const HTTP3: Duration = Duration::from_secs(5);
/// How many may wait for their upgrade.
const ASKED: usize = 16;
/// Between two attempts to open the state again.
const REOPEN: Duration = Duration::from_secs(2);

/// What is handed over, and what is known of it.
pub(in crate::engine) struct Parts {
    pub(in crate::engine) supervisor: Handle,
    pub(in crate::engine) registry: Arc<tutti_registry::Handle>,
    pub(in crate::engine) proxy: tutti_proxy::Handle,
    pub(in crate::engine) store: Arc<SqliteStore>,
    pub(in crate::engine) data: DataDir,
    pub(in crate::engine) reloader: Arc<Reloader>,
    /// The control socket once more, and its file.
    pub(in crate::engine) control: (OwnedFd, Option<FileHold>),
    pub(in crate::engine) predecessors: Arc<Predecessors>,
    pub(in crate::engine) settings: super::super::Settings,
    pub(in crate::engine) soft_files: Option<u64>,
    pub(in crate::engine) trigger: Trigger,
    /// Filled when another process has taken over.
    pub(in crate::engine) heir: watch::Sender<Option<Arc<Heir>>>,
    /// How long connections have then.
    pub(in crate::engine) patience: watch::Sender<Option<Patience>>,
}

type Reply = oneshot::Sender<Result<Upgraded, UpgradeError>>;

/// By what an upgrade is asked for; one is done at a time.
pub(crate) type Ask = mpsc::Sender<(Upgrade, Reply)>;

/// Waits for somebody to ask for an upgrade, and does it.
pub(in crate::engine) struct Upgrader {
    parts: Parts,
    asked: mpsc::Receiver<(Upgrade, Reply)>,
}

impl Upgrader {
    /// An upgrader, and how it is asked.
    pub(in crate::engine) fn new(parts: Parts) -> (Self, Ask) {
        let (ask, asked) = mpsc::channel(ASKED);
        (Self { parts, asked }, ask)
    }

    /// Runs until the end is asked for; asks for it itself when another process has taken over.
    pub(in crate::engine) async fn run(mut self, shutdown: Shutdown) {
        let (parts, asked) = (&self.parts, &mut self.asked);
        let trigger = &parts.trigger;
        let mut work = Box::pin(async {
            while let Some((upgrade, reply)) = parts.asked(asked).await {
                let upgraded = parts.upgrade(&upgrade).await;
                let done = upgraded.is_ok();
                if reply.send(upgraded).is_err() {
                    tracing::info!("whoever asked for the upgrade has not waited for its end");
                }
                if done {
                    asked.close();
                    while let Ok((_, reply)) = asked.try_recv() {
                        let _ = reply.send(Err(UpgradeError::late()));
                    }
                    return trigger.drain();
                }
            }
        });
        tokio::select! {
            () = &mut work => {}
            () = parts.predecessors.watch(trigger) => {}
            () = shutdown.drain() => {
                // Beyond the point of no return it is finished in any case; before, the end of everything is the end of the upgrade.
                if parts.heir.borrow().is_some() {
                    work.await;
                } else {
                    drop(work);
                    parts.take_back().await;
                }
            }
        }
        shutdown.drain().await;
    }
}

impl Parts {
    /// The next to ask. Meanwhile the state is opened again, should that have failed.
    async fn asked(&self, asked: &mut mpsc::Receiver<(Upgrade, Reply)>) -> Option<(Upgrade, Reply)> {
        loop {
            tokio::select! {
                ask = asked.recv() => return ask,
                () = sleep(REOPEN), if self.store.is_suspended() => self.reopen().await,
            }
        }
    }

    /// Has another process take over, or leaves everything as it was.
    async fn upgrade(&self, upgrade: &Upgrade) -> Result<Upgraded, UpgradeError> {
        if let Some(why) = self.settings.keeps {
            return Err(UpgradeError::Refused(why.to_owned()));
        }
        if self.predecessors.count() >= UPGRADES_DRAINING {
            let many = format!("{UPGRADES_DRAINING} old processes still finish their connections");
            return Err(UpgradeError::Refused(many));
        }
        // Held to the end: what is handed over is what the files say.
        let files = self.reloader.unchanged().await.map_err(UpgradeError::Refused)?;
        let within =
            |usual: Duration| upgrade.timeout_s.map_or(usual, |most| usual.min(Duration::from_secs(most)));
        drop(self.at_rest(within(REST)).await.map_err(|why| UpgradeError::Refused(chain(&why)))?);
        let binary = upgrade.binary.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        tracing::info!(?binary, "an upgrade begins");
        let (mut candidate, link) = Candidate::start(&binary).map_err(UpgradeError::Failed)?;
        let taken = self.hand_over(&link, &files, within).await;
        match taken {
            Ok((version, handed)) => {
                let heir = Heir::new(candidate.let_go(), version, link);
                Ok(self.let_go(upgrade, heir, handed).await)
            }
            Err(why) => {
                drop(link);
                let said = candidate.last_words().await;
                drop(candidate);
                self.take_back().await;
                let why = why.told(&binary, said);
                tracing::warn!(error = ?why.to_string(), "there was no upgrade; everything goes on as before");
                Err(why)
            }
        }
    }

    /// Services that are kept still, as soon as nothing is on its way.
    async fn at_rest(&self, patience: Duration) -> Result<Handed, SupervisorError> {
        let until = Instant::now() + patience;
        loop {
            match self.supervisor.hand_over().await {
                Err(SupervisorError::Busy(_)) if Instant::now() < until => sleep(LOOK).await,
                handed => return handed,
            }
        }
    }

    /// The conversation, to "taken". Gives the new version and the services, which are kept still.
    async fn hand_over(
        &self,
        link: &Link,
        files: &Unchanged<'_>,
        within: impl Fn(Duration) -> Duration,
    ) -> Result<(String, Handed), Why> {
        let offer = Offer {
            form: FORM,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.data.path().to_owned(),
            options: files.options().clone(),
            kept: files.kept().cloned(),
            command: self.settings.command.to_owned(),
            rebuild: self.settings.rebuild,
            soft_files: self.soft_files,
            stays: self.settings.stays,
        };
        let answer = self.ask(link, &Word::Offer(Box::new(offer)), &[], within(HELLO)).await?;
        let Word::Hello(hello) = answer else {
            return Err(Why::Its("it answered with something else".to_owned()));
        };
        check(&hello)?;
        self.store.suspend().await.map_err(|error| chain(&error))?;
        let (front, sockets) = self.proxy.front().await.map_err(|error| error.to_string())?;
        let lock = self.data.lock().map_err(|error| chain(&error))?;
        let control = self.control.0.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let given: Vec<OwnedFd> = [lock, control].into_iter().chain(sockets).collect();
        let front = Word::Front(Box::new(FrontGiven { front }));
        let Word::Ready = self.ask(link, &front, &given, within(READY)).await? else {
            return Err("it was not ready".to_owned().into());
        };
        let mut handed = self.at_rest(within(TAKEN)).await.map_err(|error| Why::Ours(chain(&error)))?;
        let (doors, mut given) = self.proxy.doors().await.map_err(|error| error.to_string())?;
        let door_sockets = given.len();
        let (predecessors, links) = self.predecessors.duplicate().map_err(|error| error.to_string())?;
        given.extend(links);
        given.append(&mut handed.descriptors);
        let estate = handed.estate.clone();
        let services = Word::Services(Box::new(ServicesGiven { doors, door_sockets, predecessors, estate }));
        let Word::Taken = self.ask(link, &services, &given, within(TAKEN)).await? else {
            return Err("it did not take the services".to_owned().into());
        };
        say(link, &Word::Yours, &[]).await.map_err(|_| ENDED.to_owned())?;
        Ok((hello.version, handed))
    }

    async fn ask(
        &self,
        link: &Link,
        word: &Word,
        descriptors: &[OwnedFd],
        patience: Duration,
    ) -> Result<Word, String> {
        let conversation = async {
            say(link, word, descriptors).await?;
            hear(link).await
        };
        match timeout(patience, conversation).await {
            Err(_) => Err(format!("it did not answer within {} s", patience.as_secs())),
            Ok(Ok(None)) => Err(ENDED.to_owned()),
            Ok(Err(error)) if is_end(&error) => Err(ENDED.to_owned()),
            Ok(Err(error)) => {
                Err(format!("what it says is not what a Tutti says: {}", readable(&error.to_string())))
            }
            Ok(Ok(Some((Word::Cannot(why), _)))) => Err(readable(&why)),
            Ok(Ok(Some((word, _)))) => Ok(word),
        }
    }

    /// The point of no return: from here on this process only finishes its connections.
    async fn let_go(&self, upgrade: &Upgrade, heir: Heir, handed: Handed) -> Upgraded {
        let (pid, version) = (heir.pid, heir.version.clone());
        let busy = upgrade.drain_s.map_or(DRAIN, Duration::from_secs);
        self.patience.send_replace(Some(Patience { idle: IDLE.min(busy), busy, http3: HTTP3.min(busy) }));
        // First of all: whoever sees that something ends here looks whether there is an heir.
        self.heir.send_replace(Some(Arc::new(heir)));
        if let Some(file) = &self.control.1 {
            file.leave();
        }
        let _ = self.registry.let_go().await;
        handed.let_go().await;
        self.predecessors.let_go();
        // Whoever waits for it is told so, and asks the other process.
        self.store.shutdown().await;
        tracing::info!(pid, version, "another process has taken over; this one finishes its connections");
        Upgraded {
            from: env!("CARGO_PKG_VERSION").to_owned(),
            from_pid: std::process::id(),
            to: version,
            to_pid: pid,
        }
    }

    /// Goes on as if nothing had been.
    async fn take_back(&self) {
        for pause in [0, 100, 400, 1_600] {
            sleep(Duration::from_millis(pause)).await;
            self.reopen().await;
            if !self.store.is_suspended() {
                break;
            }
        }
        if let Err(error) = self.data.claim(&self.settings.command) {
            tracing::warn!(error = chain(&error), "the lock still names another process");
        }
    }

    async fn reopen(&self) {
        if let Err(error) = self.store.resume().await {
            tracing::error!(error = chain(&error), "the state cannot be opened again");
        }
    }
}

/// Why there is no upgrade.
enum Why {
    /// The new process's fault.
    Its(String),
    /// Something has come between.
    Ours(String),
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Why::Its(why)
    }
}

impl Why {
    /// For whoever has asked, with what the program said last.
    fn told(self, binary: &Path, said: String) -> UpgradeError {
        match self {
            Why::Its(why) => {
                let said = if said.is_empty() { said } else { format!(" ({said})") };
                let binary = readable(&binary.display().to_string());
                UpgradeError::Failed(format!("{binary} did not take over: {why}{said}"))
            }
            Why::Ours(why) => UpgradeError::Refused(why),
        }
    }
}

const ENDED: &str = "it ended";

/// Whether the other process is gone.
fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Whether the new process may have what it is given: it must be able to give it back.
fn check(hello: &Hello) -> Result<(), String> {
    if hello.form != FORM {
        return Err(format!("it speaks of upgrades in form {}, and this version in form {FORM}", hello.form));
    }
    let (layout, state) = (tutti_store::dir::FORMAT, tutti_store::sqlite::FORMAT);
    if (hello.layout, hello.state) != (layout, state) {
        return Err(format!(
            "version {} keeps its data in another format; `tutti down` with the old version, then `tutti up` with the new one",
            hello.version
        ));
    }
    Ok(())
}
