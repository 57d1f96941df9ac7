//! The choice of an endpoint of a cluster: the cookie's, else one of the right level by the cluster's algorithm; healthy
//! ones first, and whoever is left when there are none.

use std::sync::Arc;
use std::time::Duration;

use tutti_core::random::Rng;
use tutti_core::{ServiceName, limits};
use tutti_ports::routing::SlowStart;

use super::endpoint::Endpoint;
use crate::model::balance::{Candidates, Draw};
use crate::snapshot::cluster::Cluster;

/// What a request brings to its choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The service's turn at this worker.
    pub turn: u64,
    /// What it is placed by.
    pub hash: Option<u64>,
    /// The endpoint that its cookie names.
    pub pinned: Option<u64>,
    /// The service itself is left in peace: only who stands in for it is asked.
    pub spares: bool,
}

impl Asked {
    /// A request that brings nothing but its turn.
    pub fn turn(turn: u64) -> Self {
        Self { turn, ..Self::default() }
    }

    /// The same request after so many tries: somewhere else.
    #[must_use]
    pub fn after(self, tries: u32) -> Self {
        Self { turn: self.turn.wrapping_add(u64::from(tries)), ..self }
    }
}

/// The endpoints that a request has tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    uids: [u64; limits::TRIES_MAX as usize],
    count: usize,
}

impl Tried {
    /// Remembers one.
    pub fn add(&mut self, uid: u64) {
        if let Some(place) = self.uids.get_mut(self.count) {
            *place = uid;
            self.count += 1;
        }
    }

    fn has(&self, uid: u64) -> bool {
        self.uids.iter().take(self.count).any(|tried| *tried == uid)
    }
}

/// An endpoint that was not tried; `None` if there is none.
pub fn select<'a>(
    cluster: &'a Cluster,
    asked: &Asked,
    tried: &Tried,
    rng: &Rng,
    now: Duration,
) -> Option<&'a Arc<Endpoint>> {
    if let Some(pinned) = asked.pinned
        && let Some(endpoint) = cluster.ready.iter().find(|endpoint| endpoint.uid == pinned)
        && !tried.has(pinned)
        && !endpoint.is_passed_over(now)
        && !(asked.spares && endpoint.service == cluster.service)
    {
        return Some(endpoint);
    }
    let first = cluster.level(asked.hash, rng, now);
    let slow = cluster.policy.balance.slow_start.as_ref().filter(|_| !cluster.hashes);
    let passes = [slow.map(Pass::Ramped), Some(Pass::Well), Some(Pass::Any)];
    for pass in passes.into_iter().flatten() {
        let others = (0..cluster.levels.len()).filter(|at| *at != first);
        for level in std::iter::once(first).chain(others).filter_map(|at| cluster.levels.get(at)) {
            let members = level.members(&cluster.ready);
            let spared = asked.spares.then_some(&cluster.service);
            let sight = Sight { members, tried, rng, now, pass, spared };
            let draw = Draw { rng, turn: asked.turn, hash: asked.hash };
            if let Some(chosen) = level.picker.pick(&draw, &sight).and_then(|at| members.get(at)) {
                return Some(chosen);
            }
        }
    }
    None
}

/// Who is looked at.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// Those that are well; new ones as often as their ramp allows.
    Ramped(&'a SlowStart),
    /// Those that are well.
    Well,
    /// All: better an instance that is not well than none.
    Any,
}

struct Sight<'a> {
    members: &'a [Arc<Endpoint>],
    tried: &'a Tried,
    rng: &'a Rng,
    now: Duration,
    pass: Pass<'a>,
    spared: Option<&'a ServiceName>,
}

impl Candidates for Sight<'_> {
    fn avoid(&self, at: usize) -> bool {
        let Some(endpoint) = self.members.get(at) else { return true };
        self.tried.has(endpoint.uid)
            || self.spared.is_some_and(|service| endpoint.service == *service)
            || match self.pass {
                Pass::Any => false,
                Pass::Well => endpoint.is_passed_over(self.now),
                Pass::Ramped(slow) => {
                    endpoint.is_passed_over(self.now) || {
                        let share = endpoint.ramp(self.now, slow);
                        share < 1.0 && self.rng.unit() >= share
                    }
                }
            }
    }

    fn load(&self, at: usize) -> u64 {
        self.members.get(at).map_or(0, |endpoint| endpoint.load.get())
    }

    fn cost(&self, at: usize) -> f64 {
        self.members.get(at).map_or(0.0, |endpoint| endpoint.cost.get().cost(endpoint.load.get(), self.now))
    }
}
