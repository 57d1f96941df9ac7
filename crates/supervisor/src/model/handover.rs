//! What one machine tells the next one, in another process. Only when nothing is on its way: then a service is what is wanted of it and its
//! slots, and there is nothing that somebody would have to finish.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tutti_core::ServiceName;

use super::{At, Failure, Machine, Service, Setup, Slot};
use crate::status::Rollout;

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Affairs {
    pub(crate) name: ServiceName,
    wanted: bool,
    replicas: u32,
    generation: u64,
    setup: Built,
    released: bool,
    pub(crate) slots: Vec<Slot>,
    rollout: Option<Rollout>,
    was_ready: bool,
    stop_first: bool,
    grace: Option<Duration>,
}

/// How far its setup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Built {
    Not,
    Done,
    Failed { reason: String, code: Option<String> },
}

impl Affairs {
    /// Whether the next process has to know how the service is run.
    pub(crate) fn is_built(&self) -> bool {
        self.setup == Built::Done || !self.slots.is_empty()
    }
}

impl Machine {
    /// How every service stands; an error says what is on its way.
    pub(crate) fn affairs(&self) -> Result<Vec<Affairs>, String> {
        self.services.values().map(Service::affairs).collect()
    }

    /// Goes on from how services stand. One that is not known here is an error.
    pub(crate) fn resume(&mut self, affairs: Vec<Affairs>) -> Result<(), String> {
        for one in affairs {
            let Some(service) = self.services.get_mut(&one.name) else {
                return Err(format!("there is no service {} any more", one.name));
            };
            service.resume(one);
        }
        Ok(())
    }
}

impl Service {
    fn affairs(&self) -> Result<Affairs, String> {
        let name = &self.spec.name;
        let setup = match &self.setup {
            Setup::Running | Setup::Cancelling => return Err(format!("{name} is being built")),
            Setup::Due if self.wanted && !self.released && !self.slots.is_empty() => {
                return Err(format!("{name} is being started"));
            }
            Setup::Due => Built::Not,
            Setup::Done => Built::Done,
            Setup::Failed(failure) => {
                let code = failure.code.map(|code| code.to_string());
                Built::Failed { reason: failure.reason.clone(), code }
            }
        };
        if self.rollout == Some(Rollout::Running) {
            return Err(format!("{name} is being restarted"));
        }
        if let Some(slot) = self.slots.iter().find(|slot| !slot.rests()) {
            let what = if slot.at == At::Starting { "started" } else { "stopped" };
            return Err(format!("{} is being {what}", self.key(slot).id()));
        }
        Ok(Affairs {
            name: name.clone(),
            wanted: self.wanted,
            replicas: self.replicas,
            generation: self.generation,
            setup,
            released: self.released,
            slots: self.slots.clone(),
            rollout: self.rollout.clone(),
            was_ready: self.was_ready,
            stop_first: self.spec.stop_first,
            grace: self.grace,
        })
    }

    fn resume(&mut self, affairs: Affairs) {
        self.setup = match affairs.setup {
            Built::Not => Setup::Due,
            Built::Done => Setup::Done,
            Built::Failed { reason, code } => {
                Setup::Failed(Failure { reason, code: code.and_then(|code| code.parse().ok()) })
            }
        };
        // What was found out while it ran counts beside what the files say.
        self.spec.stop_first |= affairs.stop_first;
        (self.wanted, self.replicas, self.generation) =
            (affairs.wanted, affairs.replicas, affairs.generation);
        (self.released, self.was_ready, self.grace) = (affairs.released, affairs.was_ready, affairs.grace);
        (self.rollout, self.slots) = (affairs.rollout, affairs.slots);
    }
}

impl Slot {
    /// Whether it stays as it is until something happens to it.
    fn rests(&self) -> bool {
        matches!(self.at, At::Backoff { .. } | At::Running | At::Exited)
    }
}
