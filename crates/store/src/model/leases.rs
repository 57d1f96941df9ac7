//! When each lease runs out. Deadlines are monotonic times in memory; only identity and length are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tutti_ports::state::LeaseId;

/// The deadlines of all leases that are alive.
#[derive(Debug, Default)]
pub struct Leases {
    alive: BTreeMap<LeaseId, Alive>,
    by_deadline: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Debug)]
struct Alive {
    ttl: Duration,
    deadline: Duration,
}

impl Leases {
    /// Begins a lease, or gives one its full time again under a new length.
    pub fn begin(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        self.end(id);
        let deadline = now.saturating_add(ttl);
        self.alive.insert(id, Alive { ttl, deadline });
        self.by_deadline.insert((deadline, id));
    }

    /// Begins a lease's time anew; nothing if it is not alive.
    pub fn keep_alive(&mut self, id: LeaseId, now: Duration) {
        let Some(ttl) = self.alive.get(&id).map(|alive| alive.ttl) else { return };
        self.begin(id, ttl, now);
    }

    /// Forgets a lease.
    pub fn end(&mut self, id: LeaseId) {
        if let Some(alive) = self.alive.remove(&id) {
            self.by_deadline.remove(&(alive.deadline, id));
        }
    }

    /// The leases that have run out, in the order of their deadlines. A lease's last moment is the one before
    /// its deadline.
    pub fn due(&self, now: Duration) -> Vec<LeaseId> {
        self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// How many are alive.
    pub fn len(&self) -> usize {
        self.alive.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_due_at_its_deadline_and_not_before() {
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 10 * S, 5 * S);
        assert_eq!(leases.due(15 * S - Duration::from_nanos(1)), []);
        assert_eq!(leases.due(15 * S), [LeaseId(1)]);
    }

    #[test]
    fn keeping_alive_moves_the_deadline_and_leaves_no_trace_of_the_old_one() {
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 10 * S, S);
        leases.begin(LeaseId(2), 5 * S, S);
        leases.keep_alive(LeaseId(2), 20 * S);
        leases.keep_alive(LeaseId(3), 20 * S);
        assert_eq!(leases.next_deadline(), Some(11 * S));
        assert_eq!(leases.due(100 * S), [LeaseId(1), LeaseId(2)]);
        leases.end(LeaseId(1));
        assert_eq!((leases.next_deadline(), leases.len()), (Some(25 * S), 1));
    }
}
