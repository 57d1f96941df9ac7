//! Which transitions of a service are kept, by number: a bounded number for each instance, and one for the service.
//!
//! An instance that crashes in a loop only pushes out its own past. Only when many instances have come and gone does
//! the service's bound push out the oldest of all.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tutti_core::InstanceId;

/// The numbers of the kept transitions of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    all: BTreeMap<u64, InstanceId>,
    of: HashMap<InstanceId, VecDeque<u64>>,
}

impl Kept {
    /// Notes a transition, with a number greater than all before, and names those to be forgotten.
    pub(crate) fn add(
        &mut self,
        seq: u64,
        id: &InstanceId,
        per_instance: usize,
        in_all: usize,
    ) -> Vec<(u64, InstanceId)> {
        let mut forgotten = Vec::new();
        self.all.insert(seq, id.clone());
        let own = self.of.entry(id.clone()).or_default();
        own.push_back(seq);
        while own.len() > per_instance {
            let Some(oldest) = own.pop_front() else { break };
            self.all.remove(&oldest);
            forgotten.push((oldest, id.clone()));
        }
        while self.all.len() > in_all {
            let Some((oldest, id)) = self.all.pop_first() else { break };
            if let Some(own) = self.of.get_mut(&id) {
                own.pop_front();
                if own.is_empty() {
                    self.of.remove(&id);
                }
            }
            forgotten.push((oldest, id));
        }
        forgotten
    }

    #[cfg(test)]
    pub(crate) fn of(&self, id: &InstanceId) -> usize {
        self.of.get(id).map_or(0, VecDeque::len)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
