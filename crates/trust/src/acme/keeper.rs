//! Keeps the certificates of one authority: orders what is missing, renews what is due, waits after failures. One task owns it.
//!
//! Whether something is due is decided anew at least every minute against the wall clock, because a certificate's dates are of that
//! clock: when it jumps, what became due is ordered within the minute, and what is no longer due is not. Waits after failures are
//! monotonic times, which jumps do not touch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tutti_core::random::Rng;
use tutti_core::time::Clock;
use tutti_core::{error, limits};
use tutti_ports::certificates::{Acme, Challenge};

use super::order::{Authority, Wanted};
use super::vault::{Record, Setbacks, Vault};
use crate::error::TrustError;
use crate::metrics::Metrics;
use crate::model::renewal::{self, Lifetime, Setback, Window};
use crate::shelf::Shelf;
use crate::x509;

/// How often the wall clock is looked at.
const TICK: Duration = Duration::from_secs(60);

/// When a certificate has this share of its life left, failures are tried again at least so often.
const URGENT: Duration = Duration::from_secs(3_600);

/// What the keeper needs.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<Rng>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The certificates of one authority.
pub(crate) struct Keeper {
    tools: Tools,
    challenges: Vec<Challenge>,
    works: HashMap<String, Work>,
    jobs: JoinSet<Ended>,
    orders: usize,
}

/// A certificate that is wanted.
struct Work {
    names: Vec<String>,
    on_demand: bool,
    held: Option<Held>,
    /// Failures in a row.
    failures: u32,
    /// Not ordered before; monotonic.
    not_before: Duration,
    /// When the authority's suggestion is asked for; monotonic.
    ask_at: Duration,
    busy: bool,
    waiters: Vec<oneshot::Sender<()>>,
    trouble: Option<String>,
}

/// A certificate that is there.
struct Held {
    record: Record,
    lifetime: Lifetime,
    ari_id: Option<String>,
}

/// How a certificate is, for people.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// The names.
    pub names: Vec<String>,
    /// Who issues it: `acme` or `development`.
    pub issuer: String,
    /// When it ends, in seconds since 1970; `None`: there is none yet.
    pub ends: Option<u64>,
    /// When it is to be renewed, in seconds since 1970.
    pub renews: Option<u64>,
    /// Whether a client brought it up.
    pub on_demand: bool,
    /// Why the last order failed, if it did.
    pub trouble: Option<String>,
}

struct Ended {
    id: String,
    how: How,
}

enum How {
    Ordered(Result<Box<Record>, TrustError>),
    Asked(Result<(Window, Duration), TrustError>),
}

impl Keeper {
    /// Takes up what is stored, and what is wanted.
    pub(crate) async fn load(tools: Tools, acme: &Acme) -> Result<Self, TrustError> {
        let mut keeper = Self {
            tools,
            challenges: acme.challenges.clone(),
            works: HashMap::new(),
            jobs: JoinSet::new(),
            orders: 0,
        };
        let wanted: HashMap<String, &Vec<String>> =
            acme.certificates.iter().map(|names| (Vault::id(names), names)).collect();
        for (id, record) in keeper.tools.vault.records().await? {
            let listed = wanted.contains_key(&id);
            let brought = record.on_demand && acme.on_demand.is_some();
            if !(listed || brought) {
                continue;
            }
            let mut work = keeper.work(record.names.clone(), !listed);
            match keeper.tools.take_up(&id, &record) {
                Ok(held) => work.held = Some(held),
                // Another key sealed it, or it is damaged: a new one is ordered.
                Err(why) => tracing::warn!(error = error::chain(&why), "a stored certificate is of no use"),
            }
            keeper.works.insert(id, work);
        }
        for (id, names) in wanted {
            if !keeper.works.contains_key(&id) {
                let work = keeper.work(names.clone(), false);
                keeper.works.insert(id, work);
            }
        }
        keeper.recall().await?;
        Ok(keeper)
    }

    fn work(&self, names: Vec<String>, on_demand: bool) -> Work {
        let now = self.tools.clock.monotonic();
        Work {
            names,
            on_demand,
            held: None,
            failures: 0,
            not_before: now,
            ask_at: now,
            busy: false,
            waiters: Vec::new(),
            trouble: None,
        }
    }

    /// Goes on waiting where an earlier process was waiting after failures.
    async fn recall(&mut self) -> Result<(), TrustError> {
        let (wall, now) = (x509::unix(self.tools.clock.wall()), self.tools.clock.monotonic());
        for (id, work) in &mut self.works {
            if let Some(setbacks) = self.tools.vault.setbacks(id).await? {
                work.failures = setbacks.count;
                let left = Duration::from_secs(setbacks.until.saturating_sub(wall));
                work.not_before = now + left.min(renewal::IMPOSED);
            }
        }
        Ok(())
    }

    /// Starts what is due. `Some`: look again after so long, unless something happens before.
    pub(crate) fn start_due(&mut self) -> Duration {
        let (wall, now) = (x509::unix(self.tools.clock.wall()), self.tools.clock.monotonic());
        let mut next = TICK;
        let mut due: Vec<(u64, String)> = Vec::new();
        let mut ask: Vec<(String, String)> = Vec::new();
        for (id, work) in self.works.iter().filter(|(_, work)| !work.busy) {
            let wait = work.order_in(wall, now);
            next = next.min(wait);
            if wait.is_zero() {
                due.push((work.held.as_ref().map_or(0, |held| held.lifetime.not_after), id.clone()));
            } else if let Some(ari_id) = work.held.as_ref().and_then(|held| held.ari_id.clone()) {
                let wait = work.ask_at.saturating_sub(now);
                next = next.min(wait);
                if wait.is_zero() {
                    ask.push((id.clone(), ari_id));
                }
            }
        }
        // What has no certificate first, then what ends first.
        due.sort();
        for (_, id) in due.into_iter().take(limits::ACME_ORDERS.saturating_sub(self.orders)) {
            self.order(&id);
        }
        for (id, ari_id) in ask.into_iter().take(limits::ACME_ORDERS) {
            self.ask(id, ari_id);
        }
        // Never zero: what is due and has no room waits for the end of another.
        next.max(Duration::from_millis(100))
    }

    fn order(&mut self, id: &str) {
        let Some(work) = self.works.get_mut(id) else { return };
        work.busy = true;
        let mut challenges = self.challenges.clone();
        // Each failure begins with the next kind of proof.
        let turn = work.failures as usize % challenges.len().max(1);
        challenges.rotate_left(turn);
        let held = work.held.as_ref();
        let replaces = held.and_then(|held| held.ari_id.clone());
        let wanted = Wanted { names: work.names.clone(), challenges, replaces };
        let (tools, on_demand) = (self.tools.clone(), work.on_demand);
        let had = held.map(|held| held.record.chain.clone());
        let id = id.to_owned();
        self.orders += 1;
        tools.metrics.orders.set(self.orders as i64);
        self.jobs.spawn(async move {
            let ordered = tools.order(&id, wanted, on_demand, had).await;
            Ended { id, how: How::Ordered(ordered.map(Box::new)) }
        });
    }

    fn ask(&mut self, id: String, ari_id: String) {
        if let Some(work) = self.works.get_mut(&id) {
            work.ask_at = self.tools.clock.monotonic() + renewal::ask_again(None);
        }
        let tools = self.tools.clone();
        self.jobs.spawn(async move {
            let asked = tools.authority.window(&ari_id).await;
            Ended { id, how: How::Asked(asked) }
        });
    }

    /// Waits for the end of something that was started; for ever if there is nothing.
    pub(crate) async fn progress(&mut self) {
        match self.jobs.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ended { id, how: How::Ordered(ordered) })) => self.ordered(&id, ordered).await,
            Some(Ok(Ended { id, how: How::Asked(asked) })) => self.asked(&id, asked).await,
            Some(Err(error)) => {
                // It panicked: which one it was is not known, so all are free again, with a wait.
                tracing::error!(%error, "an order ended unexpectedly");
                let now = self.tools.clock.monotonic();
                self.orders = 0;
                for work in self.works.values_mut().filter(|work| work.busy) {
                    (work.busy, work.not_before) = (false, now + URGENT);
                }
            }
        }
    }

    async fn ordered(&mut self, id: &str, ordered: Result<Box<Record>, TrustError>) {
        self.orders = self.orders.saturating_sub(1);
        self.tools.metrics.orders.set(self.orders as i64);
        let tools = self.tools.clone();
        let Some(work) = self.works.get_mut(id) else { return };
        work.busy = false;
        let taken = ordered.and_then(|record| tools.take_up(id, &record));
        match taken {
            Ok(held) => {
                tools.metrics.issued.with(&[("issuer", "acme")]).inc();
                if work.held.is_some() {
                    tools.metrics.renewals.inc();
                }
                tracing::info!(
                    names = work.names.join(" "),
                    ends = held.lifetime.not_after,
                    "a certificate was issued"
                );
                let now = tools.clock.monotonic();
                (work.not_before, work.ask_at) = (now + held.lifetime.rest(), now);
                (work.held, work.failures, work.trouble) = (Some(held), 0, None);
            }
            Err(error) => work.failed(id, error, &tools).await,
        }
        // Dropping a waiter wakes it too.
        work.waiters.clear();
    }

    async fn asked(&mut self, id: &str, asked: Result<(Window, Duration), TrustError>) {
        let now = self.tools.clock.monotonic();
        let Some(work) = self.works.get_mut(id) else { return };
        match asked {
            Ok((window, again)) => {
                work.ask_at = now + renewal::ask_again(Some(again));
                let Some(held) = work.held.as_mut().filter(|held| held.record.window != Some(window)) else {
                    return;
                };
                (held.record.window, held.lifetime.window) = (Some(window), Some(window));
                if let Err(error) = self.tools.vault.put_record(id, &held.record).await {
                    tracing::warn!(error = error::chain(&error), "a suggestion could not be stored");
                }
            }
            Err(error) => {
                tracing::debug!(error = error::chain(&error), "the authority suggests no time of renewal")
            }
        }
    }

    /// Has a certificate ordered for a name that a client brought up; the receiver ends when there is news of it.
    pub(crate) fn bring(&mut self, name: &str, reply: oneshot::Sender<()>) {
        let known = self.works.iter().find(|(_, work)| work.names.iter().any(|one| one == name));
        let id = known.map_or_else(|| Vault::id(&[name.to_owned()]), |(id, _)| id.clone());
        if !self.works.contains_key(&id) {
            self.make_room();
            let work = self.work(vec![name.to_owned()], true);
            self.works.insert(id.clone(), work);
        }
        let now = self.tools.clock.monotonic();
        let Some(work) = self.works.get_mut(&id) else { return };
        if work.held.is_none() && (work.busy || work.not_before <= now) {
            work.waiters.push(reply);
        }
    }

    /// Forgets a name that was brought up in vain, when there are too many.
    fn make_room(&mut self) {
        if self.works.values().filter(|work| work.on_demand).count() < limits::ON_DEMAND_NAMES {
            return;
        }
        let idle = |work: &Work| work.on_demand && work.held.is_none() && !work.busy;
        let vain = self.works.iter().find(|(_, work)| idle(work)).map(|(id, _)| id.clone());
        if let Some(id) = vain {
            self.works.remove(&id);
        }
    }

    /// How each certificate is.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let standing = |work: &Work| Standing {
            names: work.names.clone(),
            issuer: "acme".to_owned(),
            ends: work.held.as_ref().map(|held| held.lifetime.not_after),
            renews: work.held.as_ref().map(|held| held.lifetime.due()),
            on_demand: work.on_demand,
            trouble: work.trouble.clone(),
        };
        let mut all: Vec<Standing> = self.works.values().map(standing).collect();
        all.sort_by(|a, b| a.names.cmp(&b.names));
        all
    }

    /// Puts what is issued from now on onto another shelf.
    pub(crate) fn move_to(&mut self, shelf: &Arc<Shelf>) {
        self.tools.shelf = Arc::clone(shelf);
    }

    /// Ends what is under way.
    pub(crate) async fn end(mut self) {
        self.jobs.shutdown().await;
    }
}

impl Work {
    /// In how long it is to be ordered.
    fn order_in(&self, wall: u64, now: Duration) -> Duration {
        let due = match &self.held {
            Some(held) => Duration::from_secs(held.lifetime.due().saturating_sub(wall)),
            // Nobody waits for what nobody asks for.
            None if self.on_demand && self.waiters.is_empty() => Duration::MAX,
            None => Duration::ZERO,
        };
        due.max(self.not_before.saturating_sub(now))
    }

    async fn failed(&mut self, id: &str, why: TrustError, tools: &Tools) {
        let setback = match &why {
            TrustError::Elsewhere => Setback::Elsewhere,
            TrustError::Wait { after, .. } => Setback::TooOften(*after),
            _ => Setback::Failed,
        };
        let elsewhere = setback == Setback::Elsewhere;
        if !elsewhere {
            self.failures = self.failures.saturating_add(1);
            tools.metrics.failures.with(&[("reason", why.label())]).inc();
        }
        let wall = x509::unix(tools.clock.wall());
        let mut wait = renewal::wait(setback, self.failures, tools.rng.unit());
        let urgent = self.held.as_ref().is_some_and(|held| held.lifetime.last_call() <= wall);
        if urgent && setback == Setback::Failed {
            wait = wait.min(URGENT);
        }
        self.not_before = tools.clock.monotonic() + wait;
        if elsewhere {
            return;
        }
        let names = self.names.join(" ");
        let told = error::chain(&why);
        let code = tutti_core::Classify::code(&why).map(|code| code.to_string());
        tracing::warn!(names, code, error = told, again_in = ?wait, "no certificate could be had");
        self.trouble = Some(match code {
            Some(code) => format!("{told} [{code}]"),
            None => told,
        });
        let setbacks = Setbacks { count: self.failures, until: wall.saturating_add(wait.as_secs()) };
        if let Err(error) = tools.vault.put_setbacks(id, setbacks).await {
            tracing::warn!(error = error::chain(&error), "a failure could not be stored");
        }
    }
}

impl Tools {
    /// Orders a certificate, unless another process orders it or has just had it.
    async fn order(
        &self,
        id: &str,
        wanted: Wanted,
        on_demand: bool,
        had: Option<String>,
    ) -> Result<Record, TrustError> {
        let turn = self.vault.take_turn(id).await?;
        let work = async {
            if let Some(record) = self.vault.record(id).await?
                && Some(&record.chain) != had.as_ref()
                && self.vault.open(id, &record).is_ok()
            {
                return Ok(record);
            }
            let names = wanted.names.clone();
            let issued = self.authority.order(wanted).await?;
            let key = self.vault.seal(id, &issued.key)?;
            let jitter = self.rng.unit();
            let record = Record { names, chain: issued.chain, key, jitter, window: None, on_demand };
            self.vault.put_record(id, &record).await?;
            Ok(record)
        };
        self.vault.while_mine(turn, work).await
    }

    /// Puts a stored certificate into force.
    fn take_up(&self, id: &str, record: &Record) -> Result<Held, TrustError> {
        let chain = x509::chain_of(record.chain.as_bytes())?;
        let facts = x509::facts(chain.first().map(Vec::as_slice).unwrap_or_default())?;
        let identity = Arc::new(x509::identity(chain, self.vault.open(id, record)?)?);
        self.shelf.put(&identity);
        for name in &identity.names {
            self.metrics.ends.with(&[("name", name)]).set(i64::try_from(facts.not_after).unwrap_or(i64::MAX));
        }
        let lifetime = Lifetime {
            not_before: facts.not_before,
            not_after: facts.not_after,
            jitter: record.jitter,
            window: record.window,
        };
        Ok(Held { record: record.clone(), lifetime, ari_id: facts.ari_id })
    }
}

#[cfg(test)]
mod tests;
