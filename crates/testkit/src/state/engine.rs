//! The rules of the state port over two maps and a list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tutti_ports::state::{
    Change, Changes, Compare, Entries, Entry, LeaseId, Op, Outcome, Range, Revision, StateError, Txn,
};

const KEY_BYTES: usize = 1 << 10;
const VALUE_BYTES: usize = 1 << 20;
const OPERATIONS: usize = 128;
/// Small, so that tests meet the end of a page.
const PAGE: usize = 100;

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

/// The state itself.
#[derive(Debug, Default)]
pub(super) struct Engine {
    entries: BTreeMap<String, Entry>,
    changes: Vec<Change>,
    revision: Revision,
    compacted: Revision,
    leases: BTreeMap<LeaseId, Lease>,
    granted: u64,
}

impl Engine {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn txn(&mut self, txn: Txn) -> Result<Outcome, StateError> {
        check(&txn)?;
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { txn.then } else { txn.otherwise };
        let missing = ops.iter().find_map(|op| match op {
            Op::Put { lease: Some(lease), .. } if !self.leases.contains_key(lease) => Some(*lease),
            _ => None,
        });
        if let Some(lease) = missing {
            return Err(StateError::NoLease(lease));
        }
        let prefixes: Vec<String> = ops
            .iter()
            .filter_map(|op| match op {
                Op::DeletePrefix { prefix } => Some(prefix.clone()),
                _ => None,
            })
            .collect();
        for op in &ops {
            if let Op::Put { key, .. } | Op::Delete { key } = op
                && prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
            {
                return Err(StateError::Invalid(format!("{key:?} is changed twice")));
            }
        }
        self.apply(ops);
        Ok(Outcome { succeeded, revision: self.revision })
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::Present(key) => self.entries.contains_key(key),
            Compare::ModifiedAt(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.modified == *revision)
            }
            Compare::ValueIs(key, value) => self.entries.get(key).is_some_and(|entry| entry.value == *value),
        }
    }

    /// Carries out operations that were checked. One revision for all of them, none if nothing changes.
    fn apply(&mut self, ops: Vec<Op>) {
        let revision = Revision(self.revision.0 + 1);
        let before = self.changes.len();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => self.put(key, value, lease, revision),
                Op::Delete { key } => self.delete(&key, revision),
                Op::DeletePrefix { prefix } => {
                    let keys: Vec<String> =
                        self.with_prefix(&prefix).map(|entry| entry.key.clone()).collect();
                    keys.iter().for_each(|key| self.delete(key, revision));
                }
            }
        }
        if self.changes.len() > before {
            self.revision = revision;
        }
    }

    fn put(&mut self, key: String, value: Bytes, lease: Option<LeaseId>, revision: Revision) {
        let old = self.entries.get(&key);
        let entry = Entry {
            key: key.clone(),
            value,
            created: old.map_or(revision, |old| old.created),
            modified: revision,
            version: old.map_or(0, |old| old.version) + 1,
            lease,
        };
        self.changes.push(Change { revision, key: key.clone(), entry: Some(entry.clone()) });
        self.entries.insert(key, entry);
    }

    fn delete(&mut self, key: &str, revision: Revision) {
        if self.entries.remove(key).is_some() {
            self.changes.push(Change { revision, key: key.to_owned(), entry: None });
        }
    }

    fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range(prefix.to_owned()..)
            .map(|(_, entry)| entry)
            .take_while(move |e| e.key.starts_with(prefix))
    }

    pub(super) fn range(&self, range: &Range) -> Entries {
        let limit = if range.limit == 0 { PAGE } else { range.limit };
        let mut found = self
            .with_prefix(&range.prefix)
            .filter(|entry| range.after.as_ref().is_none_or(|after| entry.key > *after));
        let entries = found.by_ref().take(limit).cloned().collect();
        Entries { entries, more: found.next().is_some(), revision: self.revision }
    }

    pub(super) fn changes(&self, after: Revision, prefix: &str, limit: usize) -> Result<Changes, StateError> {
        if after < self.compacted {
            return Err(StateError::Compacted { oldest: self.compacted });
        }
        let limit = if limit == 0 { PAGE } else { limit };
        let mut changes: Vec<Change> = Vec::new();
        for change in
            self.changes.iter().filter(|change| change.revision > after && change.key.starts_with(prefix))
        {
            if let Some(last) = changes.last()
                && changes.len() >= limit
                && last.revision != change.revision
            {
                let through = last.revision;
                return Ok(Changes { changes, through });
            }
            changes.push(change.clone());
        }
        Ok(Changes { changes, through: self.revision.max(after) })
    }

    pub(super) fn compact(&mut self, through: Revision) {
        self.compacted = through.min(self.revision).max(self.compacted);
        let compacted = self.compacted;
        self.changes.retain(|change| change.revision > compacted);
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> Result<LeaseId, StateError> {
        if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&ttl) {
            return Err(StateError::Invalid("a lease lasts between 1 s and 1 day".to_owned()));
        }
        self.granted += 1;
        let lease = LeaseId(self.granted);
        self.leases.insert(lease, Lease { ttl, ends: now + ttl });
        Ok(lease)
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Result<(), StateError> {
        let held = self.leases.get_mut(&lease).ok_or(StateError::NoLease(lease))?;
        held.ends = now + held.ttl;
        Ok(())
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), StateError> {
        self.leases.remove(&lease).ok_or(StateError::NoLease(lease))?;
        let held = self.entries.values().filter(|entry| entry.lease == Some(lease));
        let ops = held.map(|entry| Op::Delete { key: entry.key.clone() }).collect();
        self.apply(ops);
        Ok(())
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        for lease in over {
            let _ = self.revoke(lease);
        }
    }
}

/// The documented sizes.
fn check(txn: &Txn) -> Result<(), StateError> {
    let invalid = |text: String| Err(StateError::Invalid(text));
    for ops in [&txn.then, &txn.otherwise] {
        if ops.len() > OPERATIONS {
            return invalid(format!("{} operations, at most {OPERATIONS}", ops.len()));
        }
        let mut seen = BTreeSet::new();
        for op in ops {
            let (Op::Put { key, .. } | Op::Delete { key } | Op::DeletePrefix { prefix: key }) = op;
            if key.is_empty() || key.len() > KEY_BYTES {
                return invalid(format!("a key of {} bytes", key.len()));
            }
            if !seen.insert(key) {
                return invalid(format!("{key:?} is changed twice"));
            }
            if let Op::Put { value, .. } = op
                && value.len() > VALUE_BYTES
            {
                return invalid(format!("a value of {} bytes", value.len()));
            }
        }
    }
    Ok(())
}
