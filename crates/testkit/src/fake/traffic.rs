//! Doors that lead nowhere, and traffic that ends when a test says so.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tutti_core::{InstanceId, ServiceName};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::door::{Door, DoorError};
use tutti_ports::traffic::Traffic;

/// Gives each peer and port an address of its own; nobody listens there.
#[derive(Debug, Default)]
pub struct FakeDoor {
    doors: Mutex<BTreeMap<(ServiceName, u16), SocketAddr>>,
}

#[async_trait::async_trait]
impl Door for FakeDoor {
    async fn open(
        &self,
        service: &ServiceName,
        port: u16,
        _protocol: AppProtocol,
    ) -> Result<SocketAddr, DoorError> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let next = 61_000 + u16::try_from(doors.len()).unwrap_or(0);
        Ok(*doors.entry((service.clone(), port)).or_insert((Ipv4Addr::LOCALHOST, next).into()))
    }
}

/// Instances are idle, unless a test holds them.
#[derive(Debug)]
pub struct FakeTraffic {
    held: watch::Sender<BTreeMap<InstanceId, u64>>,
}

impl Default for FakeTraffic {
    fn default() -> Self {
        Self { held: watch::channel(BTreeMap::new()).0 }
    }
}

impl FakeTraffic {
    /// So many requests are under way at the instance, until they are set to 0.
    pub fn set(&self, id: &InstanceId, requests: u64) {
        self.held.send_modify(|held| {
            held.insert(id.clone(), requests);
        });
    }
}

#[async_trait::async_trait]
impl Traffic for FakeTraffic {
    async fn drained(&self, id: &InstanceId, patience: Duration) -> u64 {
        let mut held = self.held.subscribe();
        let under_way = |held: &BTreeMap<InstanceId, u64>| held.get(id).copied().unwrap_or(0);
        // At the end of patience, what is left is told.
        let _ = tokio::time::timeout(patience, held.wait_for(|held| under_way(held) == 0)).await;
        under_way(&held.borrow())
    }
}
