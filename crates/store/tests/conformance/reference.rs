//! The state as a few maps in memory: slow, obvious, and right by inspection.

use std::collections::BTreeMap;
use std::time::Duration;

use tutti_ports::state::{
    Change, Changes, Compare, Entries, Entry, LeaseId, Op, Outcome, Range, Revision, Txn,
};

/// The reference.
#[derive(Debug, Default)]
pub struct Reference {
    pub revision: Revision,
    pub entries: BTreeMap<String, Entry>,
    pub feed: Vec<Change>,
    pub compacted: Revision,
    pub keep: usize,
    pub leases: BTreeMap<LeaseId, (Duration, Duration)>,
    pub now: Duration,
}

impl Reference {
    pub fn txn(&mut self, txn: &Txn) -> Result<Outcome, LeaseId> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        for op in ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(*lease);
            }
        }
        let next = Revision(self.revision.0 + 1);
        let mut changes = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let old = self.entries.get(key);
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        created: old.map_or(next, |old| old.created),
                        modified: next,
                        version: old.map_or(1, |old| old.version + 1),
                        lease: *lease,
                    };
                    self.entries.insert(key.clone(), entry.clone());
                    changes.push(Change { revision: next, key: key.clone(), entry: Some(entry) });
                }
                Op::Delete { key } => self.remove(next, &mut changes, |entry| entry.key == *key),
                Op::DeletePrefix { prefix } => {
                    self.remove(next, &mut changes, |entry| entry.key.starts_with(prefix));
                }
            }
        }
        self.commit(changes);
        Ok(Outcome { succeeded, revision: self.revision })
    }

    pub fn range(&self, range: &Range) -> Entries {
        let mut entries: Vec<Entry> = self
            .entries
            .values()
            .filter(|entry| entry.key.starts_with(&range.prefix))
            .filter(|entry| range.after.as_ref().is_none_or(|after| entry.key > *after))
            .cloned()
            .collect();
        let more = range.limit > 0 && entries.len() > range.limit;
        if more {
            entries.truncate(range.limit);
        }
        Entries { entries, more, revision: self.revision }
    }

    pub fn changes(&self, after: Revision, prefix: &str, limit: usize) -> Result<Changes, Revision> {
        if after < self.compacted || after > self.revision {
            return Err(self.compacted);
        }
        let mut changes: Vec<Change> = Vec::new();
        for change in &self.feed {
            if change.revision <= after || !change.key.starts_with(prefix) {
                continue;
            }
            let last = changes.last().map(|last| last.revision);
            if limit > 0 && changes.len() >= limit && last != Some(change.revision) {
                return Ok(Changes { through: last.unwrap(), changes });
            }
            changes.push(change.clone());
        }
        Ok(Changes { changes, through: self.revision })
    }

    pub fn grant(&mut self, id: LeaseId, ttl: Duration) {
        self.leases.insert(id, (ttl, self.now + ttl));
    }

    pub fn keep_alive(&mut self, id: LeaseId) -> Result<(), LeaseId> {
        let lease = self.leases.get_mut(&id).ok_or(id)?;
        lease.1 = self.now + lease.0;
        Ok(())
    }

    pub fn revoke(&mut self, id: LeaseId) -> Result<(), LeaseId> {
        self.leases.remove(&id).ok_or(id)?;
        let mut changes = Vec::new();
        self.remove(Revision(self.revision.0 + 1), &mut changes, |entry| entry.lease == Some(id));
        self.commit(changes);
        Ok(())
    }

    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        let mut due: Vec<(Duration, LeaseId)> =
            self.leases.iter().map(|(id, (_, deadline))| (*deadline, *id)).collect();
        due.retain(|(deadline, _)| *deadline <= self.now);
        due.sort();
        for (_, id) in due {
            self.revoke(id).unwrap();
        }
    }

    pub fn restart(&mut self) {
        for (ttl, deadline) in self.leases.values_mut() {
            *deadline = self.now + *ttl;
        }
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

    fn remove(&mut self, at: Revision, changes: &mut Vec<Change>, which: impl Fn(&Entry) -> bool) {
        let keys: Vec<String> =
            self.entries.values().filter(|entry| which(entry)).map(|e| e.key.clone()).collect();
        for key in keys {
            self.entries.remove(&key);
            changes.push(Change { revision: at, key, entry: None });
        }
    }

    fn commit(&mut self, mut changes: Vec<Change>) {
        let Some(first) = changes.first() else { return };
        self.revision = first.revision;
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        self.feed.append(&mut changes);
        while self.feed.len() > self.keep && self.feed[0].revision < self.revision {
            self.compacted = self.feed[0].revision;
            self.feed.retain(|change| change.revision > self.compacted);
        }
    }
}
