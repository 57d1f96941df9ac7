//! The living instances, by id and by registration, and the view that everybody reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tutti_core::InstanceId;
use tutti_ports::catalog::{Check, Health, Instance, Spec, View};
use tutti_ports::exec::Exec;

use crate::model::instance;

/// A living instance.
pub(crate) struct Slot {
    pub spec: Arc<Spec>,
    pub checks: Vec<Check>,
    pub exec: Arc<dyn Exec>,
    pub state: instance::Instance,
    pub since: SystemTime,
}

/// The living instances. Instances are told apart by the number of their registration, which is never used again, so that
/// what was begun for one is never taken for its successor of the same name.
#[derive(Default)]
pub(crate) struct Roster {
    slots: HashMap<u64, Slot>,
    ids: HashMap<InstanceId, u64>,
    serial: u64,
    view: Arc<View>,
    dirty: bool,
}

impl Roster {
    pub(crate) fn serial(&self, id: &InstanceId) -> Option<u64> {
        self.ids.get(id).copied()
    }

    pub(crate) fn slot(&self, serial: u64) -> Option<&Slot> {
        self.slots.get(&serial)
    }

    pub(crate) fn slot_mut(&mut self, serial: u64) -> Option<&mut Slot> {
        self.slots.get_mut(&serial)
    }

    /// Takes in an instance whose id is not taken.
    pub(crate) fn insert(&mut self, slot: Slot) -> u64 {
        self.serial += 1;
        self.ids.insert(slot.spec.id.clone(), self.serial);
        let shown = shown(&slot);
        let list = Arc::make_mut(&mut self.view).services.entry(slot.spec.service.clone()).or_default();
        let at = list.partition_point(|other| other.spec.id < slot.spec.id);
        list.insert(at, shown);
        self.slots.insert(self.serial, slot);
        self.dirty = true;
        self.serial
    }

    /// Lets an instance go. Its service stays in the view, if need be with an empty list: that it has none is something
    /// else than never to have heard of it.
    pub(crate) fn remove(&mut self, serial: u64) -> Option<Slot> {
        let slot = self.slots.remove(&serial)?;
        self.ids.remove(&slot.spec.id);
        if let Some(list) = Arc::make_mut(&mut self.view).services.get_mut(&slot.spec.service) {
            list.retain(|instance| instance.spec.id != slot.spec.id);
        }
        self.dirty = true;
        Some(slot)
    }

    /// Shows an instance as it is now.
    pub(crate) fn refresh(&mut self, serial: u64) {
        let Some(slot) = self.slots.get(&serial) else { return };
        let Some(list) = Arc::make_mut(&mut self.view).services.get_mut(&slot.spec.service) else { return };
        let found = list.binary_search_by(|other| other.spec.id.cmp(&slot.spec.id));
        if let Some(place) = found.ok().and_then(|at| list.get_mut(at)) {
            *place = shown(slot);
            self.dirty = true;
        }
    }

    /// Sets the number from which views are counted.
    pub(crate) fn begin(&mut self, generation: u64) {
        Arc::make_mut(&mut self.view).generation = generation;
        self.dirty = true;
    }

    /// The new view, if anything has changed since the last one.
    pub(crate) fn publish(&mut self) -> Option<Arc<View>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        Arc::make_mut(&mut self.view).generation += 1;
        Some(Arc::clone(&self.view))
    }
}

fn shown(slot: &Slot) -> Instance {
    let health: Health = slot.state.health();
    Instance {
        spec: Arc::clone(&slot.spec),
        health,
        reason: slot.state.reason().to_owned(),
        since: slot.since,
    }
}
