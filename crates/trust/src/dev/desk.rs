//! Issues certificates of the development authority: for the machine's own names and the hosts of routes, kept in memory alone and
//! renewed when two thirds of their life are over.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tutti_core::limits;
use tutti_core::time::Clock;
use tutti_ports::certificates::{Identity, Policy};

use super::authority::{self, Authority};
use crate::acme::keeper::Standing;
use crate::error::TrustError;
use crate::metrics::Metrics;
use crate::model::names;
use crate::x509;

/// The names of the certificate for clients that name none, and of this machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How often it is looked whether one is to be renewed.
const LOOK: Duration = Duration::from_secs(600);

/// What is in force. Handshakes read it without a lock.
#[derive(Default)]
struct Open {
    /// For this machine.
    here: Option<Arc<Identity>>,
    /// For other names, each its own.
    others: HashMap<String, Arc<Identity>>,
    /// For which other names there may be one, beside those below `localhost`.
    hosts: Vec<String>,
}

/// The desk.
pub(crate) struct Desk {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    authority: Mutex<Option<Arc<Authority>>>,
    open: ArcSwap<Open>,
}

impl Desk {
    pub(crate) fn new(folder: PathBuf, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { folder, clock, metrics, authority: Mutex::default(), open: ArcSwap::default() }
    }

    /// Issues for these hosts from now on, or no more.
    pub(crate) fn apply(&self, policy: &Policy) -> Result<(), TrustError> {
        if !policy.development {
            self.open.store(Arc::default());
            return Ok(());
        }
        let authority = self.authority()?;
        let before = self.open.load_full();
        let here = match &before.here {
            Some(here) => Arc::clone(here),
            None => self.issue(&authority, &HERE.map(str::to_owned))?,
        };
        // With an authority of the world's for the rest, only names that are nobody's are for this one.
        let ours = |host: &&String| policy.acme.is_none() || authority::may_speak_for(bare(host));
        let hosts: Vec<String> = policy.hosts.iter().filter(ours).cloned().collect();
        for host in
            hosts.iter().filter(|host| !authority::may_speak_for(bare(host)) && !before.hosts.contains(host))
        {
            tracing::warn!(
                host,
                "clients that check will not accept a development certificate for this name"
            );
        }
        let mut others = before.others.clone();
        others.retain(|name, _| is_local(name) || hosts.iter().any(|host| names::routed(host, name)));
        self.open.store(Arc::new(Open { here: Some(here), others, hosts }));
        Ok(())
    }

    /// What is in force for a name.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        let open = self.open.load();
        match name {
            None => open.here.clone(),
            Some(name) if HERE.contains(&name) => open.here.clone(),
            Some(name) => open.others.get(name).cloned(),
        }
    }

    /// A certificate for a name, made now; `None` if the name is not for this desk.
    pub(crate) fn make(&self, name: &str) -> Option<Arc<Identity>> {
        let open = self.open.load();
        let wanted = is_local(name) || open.hosts.iter().any(|host| names::routed(host, name));
        if open.here.is_none() || !wanted || open.others.len() >= limits::DEVELOPMENT_CERTIFICATES {
            return None;
        }
        let authority = self.authority().inspect_err(told).ok()?;
        let made = self.issue(&authority, &[name.to_owned()]).inspect_err(told).ok()?;
        self.open.rcu(|open| {
            let mut others = open.others.clone();
            others.insert(name.to_owned(), Arc::clone(&made));
            Open { here: open.here.clone(), others, hosts: open.hosts.clone() }
        });
        Some(made)
    }

    /// Renews what is due; look again after so long.
    pub(crate) fn renew(&self) -> Duration {
        let now = self.clock.wall();
        let due = |identity: &Identity| identity.not_after < now + authority::LEAF_LIFE / 3;
        let open = self.open.load_full();
        if open.here.as_deref().is_some_and(due) {
            let renewed =
                self.authority().and_then(|authority| self.issue(&authority, &HERE.map(str::to_owned)));
            match renewed {
                Ok(here) => {
                    self.metrics.renewals.inc();
                    self.open.rcu(|open| Open {
                        here: open.here.as_ref().map(|_| Arc::clone(&here)),
                        others: open.others.clone(),
                        hosts: open.hosts.clone(),
                    });
                }
                Err(error) => told(&error),
            }
        }
        if open.others.values().any(|identity| due(identity)) {
            // The next client that names one gets a new one.
            self.open.rcu(|open| {
                let mut others = open.others.clone();
                others.retain(|_, identity| !due(identity));
                Open { here: open.here.clone(), others, hosts: open.hosts.clone() }
            });
        }
        LOOK
    }

    /// How the certificates are.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let open = self.open.load();
        let mut all: Vec<&Arc<Identity>> = open.here.iter().chain(open.others.values()).collect();
        all.sort_by(|a, b| a.names.cmp(&b.names));
        let standing = |identity: &Arc<Identity>| {
            let ends = x509::unix(identity.not_after);
            Standing {
                names: identity.names.clone(),
                issuer: "development".to_owned(),
                ends: Some(ends),
                renews: Some(ends.saturating_sub(authority::LEAF_LIFE.as_secs() / 3)),
                on_demand: false,
                trouble: None,
            }
        };
        all.into_iter().map(standing).collect()
    }

    fn authority(&self) -> Result<Arc<Authority>, TrustError> {
        let mut known = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = known.as_ref().filter(|authority| authority.not_after() > self.clock.wall())
        {
            return Ok(Arc::clone(authority));
        }
        let opened = Arc::new(Authority::open(&self.folder, self.clock.wall())?);
        *known = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn issue(&self, authority: &Authority, names: &[String]) -> Result<Arc<Identity>, TrustError> {
        let identity = authority.issue(names, self.clock.wall())?;
        self.metrics.issued.with(&[("issuer", "development")]).inc();
        for name in names {
            let ends = i64::try_from(x509::unix(identity.not_after)).unwrap_or(i64::MAX);
            self.metrics.ends.with(&[("name", name)]).set(ends);
        }
        Ok(Arc::new(identity))
    }
}

fn is_local(name: &str) -> bool {
    name.ends_with(".localhost")
}

fn bare(host: &str) -> &str {
    host.trim_start_matches("*.")
}

fn told(error: &TrustError) {
    tracing::warn!(error = tutti_core::error::chain(error), "no development certificate could be made");
}

#[cfg(test)]
mod tests;
