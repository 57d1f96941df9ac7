//! The door: where a service reaches its peers. Each peer's port has one address there for the life of the process.

use std::net::SocketAddr;

use tutti_core::{Classify, Kind, ServiceName};

use crate::catalog::AppProtocol;

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// No listener could be made.
    #[error("cannot open a door to {service}:{port}")]
    Listen {
        /// The peer.
        service: ServiceName,
        /// Its port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    Closed,
}

impl Classify for DoorError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Opens doors to peers.
#[async_trait::async_trait]
pub trait Door: Send + Sync + 'static {
    /// The loopback address at which `port` of `service` is reached: balanced over its instances, retried where
    /// that is safe, and traced. The same peer and port give the same address each time.
    async fn open(
        &self,
        service: &ServiceName,
        port: u16,
        protocol: AppProtocol,
    ) -> Result<SocketAddr, DoorError>;
}
