//! Listening sockets that go from one process to the next: of the edge when the next one begins, of the doors when it takes the
//! services.
//!
//! Both processes have a socket for a while, and the connections that wait at it go to whichever accepts first. The next one accepts
//! nothing before [`Handle::open_gates`]: until then it may be given up without anybody's having noticed.
//!
//! What HTTP/3 listens at is not shared: two who read from one socket of UDP would take each other's packets. The next process makes its own when
//! the old one's is closed, see [`Handle::bind_http3`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tutti_core::ServiceName;
use tutti_net::DrainSignal;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::Listener;

use crate::engine::Shared;
use crate::error::ApplyError;
use crate::handle::Handle;
use crate::snapshot::plan::ListenerPlan;
use crate::worker::Command;

/// What a data plane needs to go on where another one is. The sockets of the edge belong to it: for each listener one of each worker.
#[derive(Clone, Serialize, Deserialize)]
pub struct Front {
    /// The generation of the last snapshot: the next one's are higher.
    pub generation: u64,
    /// How many workers there are, each with its own sockets.
    pub workers: usize,
    /// What sticky cookies are made with.
    pub sticky_key: [u8; 32],
    /// The listeners of the edge.
    pub listeners: Vec<Place>,
}

/// Where a listener was declared to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    name: String,
    bind: SocketAddr,
}

/// A door. Its sockets are one of each worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDoor {
    service: ServiceName,
    port: u16,
    protocol: AppProtocol,
}

/// What a data plane begins with.
pub(crate) struct Inherited {
    /// Closed until the sockets are to be served.
    pub(crate) gate: watch::Sender<bool>,
    listeners: Mutex<Vec<(Place, Vec<OwnedFd>)>>,
    /// Doors by their service and port: what they carry.
    protocols: Mutex<HashMap<(ServiceName, u16), AppProtocol>>,
}

impl Inherited {
    /// Of nobody: the gate is open.
    pub(crate) fn nothing() -> Self {
        let (listeners, protocols) = (Mutex::default(), Mutex::default());
        Self { gate: watch::channel(true).0, listeners, protocols }
    }

    /// These listeners with their sockets, as [`Handle::front`] has given them.
    pub(crate) fn of(front: &Front, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let listeners = portions(front.listeners.iter().cloned(), sockets, front.workers)?;
        Ok(Self { gate: watch::channel(false).0, listeners: Mutex::new(listeners), ..Self::nothing() })
    }

    /// The sockets of a listener, if it is one of those.
    pub(crate) fn take(&self, listener: &Listener) -> Option<Vec<OwnedFd>> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let found = listeners
            .iter()
            .position(|(place, _)| place.bind == listener.bind && place.name == listener.name)
            .or_else(|| {
                listeners.iter().position(|(place, _)| place.bind == listener.bind && place.bind.port() != 0)
            })?;
        Some(listeners.swap_remove(found).1)
    }

    /// Closes the sockets of listeners that are not there any more: whoever connected would wait for ever.
    pub(crate) fn settle(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes what a door carries.
    pub(crate) fn carries(&self, service: &ServiceName, port: u16, protocol: AppProtocol) {
        let mut protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        protocols.insert((service.clone(), port), protocol);
    }

    /// What a door carries.
    pub(crate) fn carried(&self, service: &ServiceName, port: u16) -> Option<AppProtocol> {
        let protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        protocols.get(&(service.clone(), port)).copied()
    }

    /// Waits until sockets are to be served; `false` if a drain comes before.
    pub(crate) async fn opened(&self, drain: &DrainSignal) -> bool {
        let mut gate = self.gate.subscribe();
        tokio::select! {
            opened = gate.wait_for(|open| *open) => opened.is_ok(),
            () = drain.draining() => false,
        }
    }
}

/// Each thing with its own share of the sockets.
fn portions<T>(
    things: impl ExactSizeIterator<Item = T>,
    sockets: Vec<OwnedFd>,
    each: usize,
) -> io::Result<Vec<(T, Vec<OwnedFd>)>> {
    if things.len().checked_mul(each) != Some(sockets.len()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "sockets are missing, or too many"));
    }
    let mut sockets = sockets.into_iter();
    Ok(things.map(|thing| (thing, sockets.by_ref().take(each).collect())).collect())
}

impl Handle {
    /// What another process needs to go on with the edge. The sockets are open here as before.
    pub async fn front(&self) -> io::Result<(Front, Vec<OwnedFd>)> {
        let shared = self.shared();
        // Nobody changes listeners while this is held.
        let control = shared.control.lock().await;
        let keys: Vec<u64> = control.edge.iter().map(|edge| edge.plan.key).collect();
        let place = |listener: &Listener| Place { name: listener.name.clone(), bind: listener.bind };
        let front = Front {
            generation: control.generation,
            workers: shared.links.len(),
            sticky_key: shared.options.sticky_key.bytes(),
            listeners: control.edge.iter().map(|edge| place(&edge.listener)).collect(),
        };
        Ok((front, shared.duplicates(&keys).await?))
    }

    /// The doors, likewise.
    pub async fn doors(&self) -> io::Result<(Vec<OpenDoor>, Vec<OwnedFd>)> {
        let shared = self.shared();
        let control = shared.control.lock().await;
        let keys: Vec<u64> = control.doors.values().map(|plan| plan.key).collect();
        let protocols = shared.inherited.protocols.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let door = |(service, port): &(ServiceName, u16)| OpenDoor {
            service: service.clone(),
            port: *port,
            protocol: protocols.get(&(service.clone(), *port)).copied().unwrap_or_default(),
        };
        let doors = control.doors.keys().map(door).collect();
        Ok((doors, shared.duplicates(&keys).await?))
    }

    /// Opens doors with the sockets of another process.
    pub async fn adopt_doors(&self, doors: Vec<OpenDoor>, sockets: Vec<OwnedFd>) -> Result<(), ApplyError> {
        let shared = self.shared();
        let short = |source| ApplyError::Start { what: "the doors".to_owned(), source };
        for (door, sockets) in portions(doors.into_iter(), sockets, shared.links.len()).map_err(short)? {
            shared.open(&door.service, door.port, door.protocol, Some(sockets)).await?;
        }
        Ok(())
    }

    /// Serves the sockets that were taken over. There is no way back.
    pub fn open_gates(&self) {
        self.shared().inherited.gate.send_replace(true);
    }

    /// Waits until every worker knows a view of the catalog that is at least as new.
    pub async fn knows(&self, view: u64) {
        let mut snapshots = self.shared().snapshots.subscribe();
        let generation = match snapshots.wait_for(|snapshot| snapshot.view.generation >= view).await {
            Ok(snapshot) => snapshot.generation,
            Err(_) => return,
        };
        self.shared().all_adopted(generation).await;
    }

    /// Makes the sockets for HTTP/3 that are still missing because another process had the addresses. Whether none is missing any more.
    pub async fn bind_http3(&self) -> bool {
        self.shared().bind_missing_http3().await
    }
}

impl Shared {
    /// The sockets of listeners once more: for each listener one of each worker.
    async fn duplicates(&self, keys: &[u64]) -> io::Result<Vec<OwnedFd>> {
        let gone = || io::Error::other("a worker is gone");
        let mut workers = Vec::new();
        for link in &self.links {
            let (done, answer) = oneshot::channel();
            link.send(Command::Duplicate { done }).await.map_err(|_| gone())?;
            workers.push(answer.await.map_err(|_| gone())??);
        }
        let missing = || io::Error::other("a listener has no socket");
        let mut sockets = Vec::new();
        for key in keys {
            for worker in &mut workers {
                sockets.push(worker.remove(key).ok_or_else(missing)?);
            }
        }
        Ok(sockets)
    }

    /// Gives each worker its socket of a listener. Answers where it listens.
    pub(crate) async fn adopt(&self, key: u64, sockets: Vec<OwnedFd>) -> io::Result<SocketAddr> {
        let gone = || io::Error::other("a worker is gone");
        let mut address = Err(gone());
        for (link, socket) in self.links.iter().zip(sockets) {
            let (done, answer) = oneshot::channel();
            link.send(Command::Adopt { key, socket, done }).await.map_err(|_| gone())?;
            address = Ok(answer.await.map_err(|_| gone())??);
        }
        address
    }

    async fn bind_missing_http3(&self) -> bool {
        let mut control = self.control.lock().await;
        let missing = std::mem::take(&mut control.http3_missing);
        let mut bound = false;
        for key in missing {
            let edge = control.edge.iter().find(|edge| edge.plan.key == key && edge.plan.http3);
            let Some(ListenerPlan { address, name, .. }) = edge.map(|edge| &*edge.plan) else { continue };
            match self.bind_http3(key, *address, name).await {
                Ok(()) => bound = true,
                Err(_) => control.http3_missing.push(key),
            }
        }
        if bound {
            self.publish(&mut control);
        }
        control.http3_missing.is_empty()
    }
}
