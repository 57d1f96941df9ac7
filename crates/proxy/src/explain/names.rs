//! The names of endpoints that were, for explanations of requests that went there.

use std::collections::VecDeque;

use tutti_core::{InstanceId, limits};
use tutti_net::Addr;

/// An endpoint that was.
#[derive(Clone, Debug)]
pub struct Named {
    uid: u64,
    /// The instance.
    pub instance: InstanceId,
    /// Where it listened.
    pub address: String,
}

/// The endpoints that were made last.
#[derive(Debug, Default)]
pub struct Names(VecDeque<Named>);

impl Names {
    /// One more.
    pub fn add(&mut self, uid: u64, instance: &InstanceId, address: &Addr) {
        if self.0.len() >= limits::EXPLAIN_NAMES {
            self.0.pop_front();
        }
        self.0.push_back(Named { uid, instance: instance.clone(), address: address.to_string() });
    }

    /// The endpoint of a number. They are made in the order of their numbers.
    pub fn get(&self, uid: u64) -> Option<&Named> {
        let at = self.0.binary_search_by_key(&uid, |named| named.uid).ok()?;
        self.0.get(at)
    }
}
