//! The machine's state as people see it.

use std::sync::Arc;

use super::Supervisor;
use crate::model::{At, Place, Service, Slot};
use crate::status::{InstanceStatus, Phase, ServiceStatus, Status};

impl Supervisor {
    /// Shows the state to whoever watches, if it has changed.
    pub(super) fn publish(&mut self) {
        let services: Vec<ServiceStatus> =
            self.machine.services.values().map(|service| self.service_status(service)).collect();
        self.shared.metrics.services(&services);
        self.status.send_if_modified(|status| {
            let changed = status.services != services;
            if changed {
                *status = Arc::new(Status { generation: status.generation + 1, services });
            }
            changed
        });
    }

    fn service_status(&self, service: &Service) -> ServiceStatus {
        let verdict = self.machine.verdict(service);
        let here = service.wanted && service.spec.place == Place::Here;
        ServiceStatus {
            name: service.spec.name.clone(),
            state: verdict.state,
            reason: verdict.reason,
            code: verdict.code,
            desired: if here { service.replicas } else { 0 },
            ready: u32::try_from(service.slots.iter().filter(|slot| slot.is_ready()).count())
                .unwrap_or(u32::MAX),
            instances: service.slots.iter().map(|slot| self.instance_status(service, slot)).collect(),
            rollout: service.rollout.clone(),
            hints: self
                .shared
                .plans
                .get(&service.spec.name)
                .map(|plan| plan.notes.clone())
                .unwrap_or_default(),
        }
    }

    fn instance_status(&self, service: &Service, slot: &Slot) -> InstanceStatus {
        let id = service.key(slot).id();
        let live = self.shared.live().get(&id).cloned();
        InstanceStatus {
            phase: match slot.at {
                At::Backoff { .. } => Phase::Backoff,
                At::Starting => Phase::Starting,
                At::Running => Phase::Running,
                At::Draining => Phase::Draining,
                At::Stopping { .. } => Phase::Stopping,
                At::Exited => Phase::Exited,
            },
            health: slot.health,
            reason: slot.reason.clone(),
            pid: slot.pid,
            started_at_ms: live.as_ref().map(|live| live.started_at_ms),
            restarts: slot.restarts,
            last_exit: slot.last_exit.clone(),
            endpoints: live.map(|live| live.endpoints).unwrap_or_default(),
            stats: self.shared.stats.last(&id),
            id,
        }
    }
}
