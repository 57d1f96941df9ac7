//! What the registry writes, and in which order: only transitions, a few in each transaction, one transaction at a time.
//!
//! Keys:
//! - `registry/epoch`: how many runs there were. Compared in every write, so that a process that was thought dead cannot
//!   write beside its successor.
//! - `registry/instances/<id>`: what a living instance is and how it was at its last transition.
//! - `registry/transitions/<service>/<number>/<id>`: one transition. Numbers are 16 hexadecimal digits, the epoch in the
//!   upper 24 bits, and only rise.
//!
//! A write that fails is tried again unchanged (it is idempotent); what comes in between waits, up to a bound.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tutti_core::limits::{REGISTRY_WRITES_PENDING, TRANSITIONS_KEPT, TRANSITIONS_KEPT_OF_SERVICE};
use tutti_core::{InstanceId, ServiceName};
use tutti_ports::catalog::{Health, Spec, Transition};
use tutti_ports::state::{Compare, Op, Txn};

use crate::model::history::Kept;

pub(crate) const EPOCH_KEY: &str = "registry/epoch";
pub(crate) const INSTANCES: &str = "registry/instances/";
pub(crate) const TRANSITIONS: &str = "registry/transitions/";

/// Bits of a number that count within a run.
const COUNT_BITS: u32 = 40;

/// Most operations of one transaction, with room for those of one more change.
const OPERATIONS: usize = 120;

/// Largest stored instance. A larger one is stored without its tags and metadata, which only living instances need.
const RECORD_BYTES: usize = 256 << 10;

/// An instance as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub spec: Arc<Spec>,
    pub health: Health,
    pub reason: String,
    pub since: SystemTime,
}

/// One transition, and what is stored of the instance after it: `None` when it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub id: InstanceId,
    pub service: ServiceName,
    pub transition: Transition,
    pub record: Option<Record>,
}

/// The bytes of a record. The types have no maps with other keys than text, so this does not fail.
fn encode(record: &Record) -> Option<Vec<u8>> {
    let bytes = serde_json::to_vec(record).ok()?;
    if bytes.len() <= RECORD_BYTES {
        return Some(bytes);
    }
    let spec = Spec { tags: Vec::new(), meta: BTreeMap::new(), ..(*record.spec).clone() };
    serde_json::to_vec(&Record { spec: Arc::new(spec), ..record.clone() }).ok()
}

/// The first number of a run; views and transitions are numbered from here.
pub(crate) fn first_number(epoch: u64) -> u64 {
    epoch << COUNT_BITS
}

/// The key of a transition.
pub(crate) fn transition_key(service: &ServiceName, number: u64, id: &InstanceId) -> String {
    format!("{TRANSITIONS}{service}/{number:016x}/{id}")
}

/// The service, number and instance in the key of a transition.
pub(crate) fn parse_transition_key(key: &str) -> Option<(ServiceName, u64, InstanceId)> {
    let mut parts = key.strip_prefix(TRANSITIONS)?.split('/');
    let service = parts.next()?.parse().ok()?;
    let number = u64::from_str_radix(parts.next()?, 16).ok()?;
    let id = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((service, number, id))
}

/// What becomes of a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is tried again.
    Again,
    /// It is given up; so many changes are lost.
    GivenUp(usize),
}

/// Changes that are not durable yet.
pub(crate) struct Journal {
    epoch: u64,
    number: u64,
    waiting: VecDeque<(u64, Change)>,
    /// The changes of the transaction under way, and the transaction.
    flying: Vec<(u64, Change)>,
    txn: Option<Txn>,
    kept: HashMap<ServiceName, Kept>,
    /// Who waits for the change with this number to be durable.
    waiters: VecDeque<(u64, oneshot::Sender<()>)>,
    failing: bool,
    fenced: bool,
    /// The number of the run that is stored, as long as this one's is not.
    before: Option<u64>,
}

impl Journal {
    /// A journal of a run, with the transitions that former runs have kept.
    pub(crate) fn new(epoch: u64, kept: HashMap<ServiceName, Kept>, before: Option<u64>) -> Self {
        Self {
            epoch,
            number: first_number(epoch),
            waiting: VecDeque::new(),
            flying: Vec::new(),
            txn: None,
            kept,
            waiters: VecDeque::new(),
            failing: false,
            fenced: false,
            before,
        }
    }

    /// Takes in a change. Gives the number of changes that were given up to make room.
    pub(crate) fn add(&mut self, change: Change) -> usize {
        if self.fenced {
            return 1;
        }
        self.number += 1;
        self.waiting.push_back((self.number, change));
        if self.waiting.len() > REGISTRY_WRITES_PENDING {
            self.waiting.pop_front();
            return 1;
        }
        0
    }

    /// Is told when everything that was taken in so far is durable; at once if the state fails anyway.
    pub(crate) fn when_durable(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if self.failing || self.fenced || self.pending() == 0 {
            let _ = sender.send(());
        } else {
            self.waiters.push_back((self.number, sender));
        }
        receiver
    }

    /// Changes that are not durable.
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// Changes of a service that are not durable, oldest first.
    pub(crate) fn pending_of(&self, service: &ServiceName) -> Vec<(u64, InstanceId, Transition)> {
        let all = self.flying.iter().chain(&self.waiting);
        all.filter(|(_, change)| change.service == *service)
            .map(|(number, change)| (*number, change.id.clone(), change.transition.clone()))
            .collect()
    }

    /// The transaction to carry out next: the one that failed, or a new one. `None` if there is nothing to do.
    pub(crate) fn next(&mut self) -> Option<Txn> {
        if self.txn.is_none() && !self.waiting.is_empty() {
            self.txn = Some(self.gather());
        }
        self.txn.clone()
    }

    fn gather(&mut self) -> Txn {
        let mut ops = BTreeMap::new();
        while ops.len() < OPERATIONS {
            let Some((number, change)) = self.waiting.pop_front() else { break };
            self.write(number, &change, &mut ops);
            self.flying.push((number, change));
        }
        let epoch = Bytes::from(self.epoch.to_string());
        let key = || EPOCH_KEY.to_owned();
        // The first write of a run that has taken over is that it has.
        let compare = match self.before {
            None => Compare::ValueIs(key(), epoch.clone()),
            Some(0) => Compare::Absent(key()),
            Some(before) => Compare::ValueIs(key(), Bytes::from(before.to_string())),
        };
        let begin = self.before.map(|_| Op::Put { key: key(), value: epoch, lease: None });
        Txn {
            compares: vec![compare],
            then: begin.into_iter().chain(ops.into_values()).collect(),
            otherwise: Vec::new(),
        }
    }

    /// The operations of one change; a later one of the same key replaces an earlier one.
    fn write(&mut self, number: u64, change: &Change, ops: &mut BTreeMap<String, Op>) {
        let mut set = |key: String, value: Option<Vec<u8>>| {
            let op = match value {
                Some(value) => Op::Put { key: key.clone(), value: value.into(), lease: None },
                None => Op::Delete { key: key.clone() },
            };
            ops.insert(key, op);
        };
        let (id, service) = (&change.id, &change.service);
        set(format!("{INSTANCES}{id}"), change.record.as_ref().and_then(encode));
        set(transition_key(service, number, id), serde_json::to_vec(&change.transition).ok());
        let kept = self.kept.entry(service.clone()).or_default();
        for (number, id) in kept.add(number, id, TRANSITIONS_KEPT, TRANSITIONS_KEPT_OF_SERVICE) {
            set(transition_key(service, number, &id), None);
        }
    }

    /// The transaction was carried out. `held`: its comparison held. Gives the number of changes that were lost.
    pub(crate) fn written(&mut self, held: bool) -> usize {
        self.failing = false;
        self.txn = None;
        let done = self.flying.last().map_or(0, |(number, _)| *number);
        let mut lost = 0;
        if held {
            self.before = None;
        } else {
            self.fenced = true;
            lost = self.pending();
            self.waiting.clear();
        }
        self.flying.clear();
        self.wake(if held { done } else { u64::MAX });
        lost
    }

    /// The transaction failed, or whether it was carried out is not known.
    pub(crate) fn failed(&mut self, pointless: bool) -> Failed {
        self.wake(u64::MAX);
        if pointless {
            self.txn = None;
            let lost = self.flying.len();
            self.flying.clear();
            return Failed::GivenUp(lost);
        }
        self.failing = true;
        Failed::Again
    }

    fn wake(&mut self, through: u64) {
        while self.waiters.front().is_some_and(|(number, _)| *number <= through) {
            if let Some((_, waiter)) = self.waiters.pop_front() {
                let _ = waiter.send(());
            }
        }
    }
}
