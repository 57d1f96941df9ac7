//! What instances use: CPU, memory, files and threads, over the whole tree of their processes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tutti_core::InstanceId;

use crate::sys::proc;

/// Samples kept for each instance: ten minutes at one in five seconds.
const RING: usize = 120;

/// What an instance used when it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When: milliseconds since 1970.
    pub at_ms: u64,
    /// CPU time since the sample before, in percent of one CPU.
    pub cpu_percent: f64,
    /// CPU time since its start.
    pub cpu_ms: u64,
    /// Resident memory. Pages shared by several processes of the instance count for each.
    pub rss_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
}

/// What a tree of processes uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_ms: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) threads: u64,
    pub(crate) processes: u64,
}

impl Usage {
    pub(crate) fn of<'a>(tree: impl Iterator<Item = &'a proc::Process>) -> Self {
        let tick_ms = 1000 / rustix::param::clock_ticks_per_second().max(1);
        let page = rustix::param::page_size() as u64;
        let mut usage = Self::default();
        for process in tree.filter(|process| !process.zombie) {
            usage.cpu_ms += process.cpu_ticks * tick_ms;
            usage.rss_bytes += process.rss_pages * page;
            usage.threads += process.threads;
            usage.open_files += proc::open_files(process.pid);
            usage.processes += 1;
        }
        usage
    }
}

/// The last samples of every instance that runs.
#[derive(Default)]
pub(crate) struct Stats {
    rings: Mutex<HashMap<InstanceId, VecDeque<Sample>>>,
}

impl Stats {
    /// Adds a sample of an instance.
    pub(crate) fn add(&self, id: &InstanceId, at_ms: u64, usage: Usage) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = rings.entry(id.clone()).or_default();
        let cpu_percent = ring.back().map_or(0.0, |before| {
            let passed = at_ms.saturating_sub(before.at_ms).max(1);
            usage.cpu_ms.saturating_sub(before.cpu_ms) as f64 * 100.0 / passed as f64
        });
        ring.push_back(Sample {
            at_ms,
            cpu_percent,
            cpu_ms: usage.cpu_ms,
            rss_bytes: usage.rss_bytes,
            open_files: usage.open_files,
            threads: usage.threads,
            processes: usage.processes,
        });
        if ring.len() > RING {
            ring.pop_front();
        }
    }

    /// Forgets an instance that is gone.
    pub(crate) fn forget(&self, id: &InstanceId) {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn last(&self, id: &InstanceId) -> Option<Sample> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.back().copied()
    }

    pub(crate) fn ring(&self, id: &InstanceId) -> Vec<Sample> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.get(id).map_or_else(Vec::new, |ring| ring.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_the_share_of_the_time_that_passed() {
        let stats = Stats::default();
        let id: InstanceId = "a-1".parse().unwrap();
        stats.add(&id, 1_000, Usage { cpu_ms: 500, ..Usage::default() });
        stats.add(&id, 2_000, Usage { cpu_ms: 1_000, ..Usage::default() });
        assert_eq!(stats.last(&id).unwrap().cpu_percent, 50.0);
        // A child that ended takes its time with it.
        stats.add(&id, 3_000, Usage { cpu_ms: 100, ..Usage::default() });
        assert_eq!(stats.last(&id).unwrap().cpu_percent, 0.0);
        for at in 0..500 {
            stats.add(&id, at, Usage::default());
        }
        assert_eq!(stats.ring(&id).len(), RING);
        stats.forget(&id);
        assert!(stats.last(&id).is_none());
    }

    #[test]
    fn this_process_uses_something() {
        let me = proc::one(i32::try_from(std::process::id()).unwrap()).unwrap();
        let usage = Usage::of([me].iter());
        assert!(usage.rss_bytes > 0 && usage.threads > 0 && usage.open_files > 0, "{usage:?}");
    }
}
